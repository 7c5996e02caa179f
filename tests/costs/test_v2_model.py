"""The estimates of server-side jobs are those that the public records give, and are that good.

Run as a program it writes the table of the page: ``python tests/costs/test_v2_model.py``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from session_block.costs import v2_model
from session_block.costs.accuracy import Judged, accuracy, leave_one_out
from session_block.costs.public_records import PublicRecord, completed_records, read_records
from session_block.costs.v2_model import COEFFICIENTS, server_forecast
from session_block.costs.work import Runs, Work

PAGE = Path(__file__).parents[2] / "docs/explanation/estimates.md"
BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
RIGHT = COVERED = 0.9


def with_table(page: str) -> str:
    """Return the page with the table of the records in its place."""
    before, _, rest = page.partition(BEGIN)
    table = accuracy(leave_one_out(completed_records()))
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def test_the_coefficients_are_those_that_fit_the_records() -> None:
    """They are data in the code, and anybody can fit them again; there are at most twelve."""
    fitted = asdict(v2_model.fit(completed_records()))
    assert fitted == pytest.approx(asdict(COEFFICIENTS), rel=1e-3)
    assert len(fitted) <= 12


def test_nine_of_ten_records_are_estimated_right_by_the_others() -> None:
    """Leave-one-out: within 30 % or 1 s; and as many charges lie in the interval."""
    judged = leave_one_out(completed_records())
    assert sum(one.is_right for one in judged) >= RIGHT * len(judged)
    assert sum(one.is_covered for one in judged) >= COVERED * len(judged)


def test_the_page_shows_the_table_of_the_records() -> None:
    """By program and family, with counts; it says so where there are fewer than three."""
    page = PAGE.read_text()
    assert with_table(page) == page
    assert "| noise-learner | Heron | 2 | no data | no data |" in page


@pytest.mark.parametrize("index", range(0, len(completed_records()), 5))
def test_records_that_were_kept_back_are_estimated_right(index: int) -> None:
    """A fifth of the records at a time is estimated from the rest."""
    records = completed_records()
    kept_back = records[index : index + 5]
    rest = [one for one in records if one not in kept_back]
    coefficients = v2_model.fit(rest)
    judged = [Judged(one, server_forecast(one.work, coefficients, rest)) for one in kept_back]
    assert sum(one.is_right for one in judged) >= len(judged) - 1


def test_an_interval_is_no_wider_than_it_need_be() -> None:
    """Where there are records, 13 s are expected to be 10 to 16 s, and 2 s to be 1 to 4 s."""
    heron = Work(
        program="sampler",
        family="heron",
        level=0,
        rep_delay_seconds=250e-6,
        runs=[Runs(40_960, 0.0, 1.6e-6)],
    )
    found = server_forecast(heron)
    assert (found.low, found.high) == (pytest.approx(10.5, abs=0.5), pytest.approx(15, abs=0.5))
    assert found.evidence == "public records, n=16"
    assert (found.model, found.executions) == ("v2", 40_960)


def test_what_no_record_tells_of_is_said() -> None:
    """Another family counts as Heron, with a wide interval; few records are counted."""
    known = _estimator("heron", 2)
    eagle = server_forecast(_estimator("eagle", 1))
    assert (
        eagle.evidence == "no public record of estimator jobs at resilience level 1 on eagle QPUs"
    )
    assert eagle.high == pytest.approx(2 * eagle.seconds)
    assert server_forecast(known).evidence == (
        "public records, n=1 of estimator jobs at resilience level 2 on heron QPUs"
    )
    assert server_forecast(known).low == pytest.approx(v2_model.seconds(known) / 2)


def test_zne_repeats_gates_and_not_delays() -> None:
    """It triples what Heron's delays take, and multiplies circuits on Nighthawk by about 5."""
    executions, plain = 100_000, _estimator("nighthawk", 1)
    amplified = _estimator("nighthawk", 2)
    learning = 32 * 4096 * (1e-6 + 2.2e-6 + COEFFICIENTS.execution)
    constant = COEFFICIENTS.nighthawk + COEFFICIENTS.nighthawk_mitigated + learning
    once = v2_model.seconds(plain) - constant
    assert once == pytest.approx(executions * (6.4e-6 + COEFFICIENTS.execution))
    assert 3 < (v2_model.seconds(amplified) - constant) / once < 5.5


def test_records_are_read_as_they_were_published() -> None:
    """The file is a copy; what its notes tell is used, and failed jobs are not fitted."""
    records = read_records()
    assert len(records) == 43
    assert [one.completed for one in records].count(True) == len(completed_records()) == 32
    deep = _only(records, "depth 20000 (x gates of 24 ns)")
    assert deep.work.runs[0].gate_seconds == pytest.approx(480e-6)
    assert _only(records, "asked 16 shots a PUB; 64 ran").work.executions == 32 * 64
    three = _only(records, "three observables in three bases (ZZ ZI XX)").work
    assert (three.executions, three.level, three.noise_factors) == (3 * 4096, 1, (1.0,))
    assert _only(records, "three observables").work.noise_factors == (1.0, 3.0, 5.0)
    assert {one.code for one in records if one.status == "Failed"} >= {1336, 1520}


def test_another_file_of_records_is_judged_alike(tmp_path: Path) -> None:
    """Somebody's own charges, in the same form, can be compared with the model."""
    path = tmp_path / "mine.csv"
    path.write_text(
        "source,program,implementation,family,circuits,shots,precision,resilience,rep_delay_us,"
        "executions,notes,status,code,charged_seconds\n"
        "me,sampler,v2,heron,4,10000,,,250,,,Completed,,12\n"
        "me,estimator,v2,nighthawk,,,0.02,0,,,4 observables; ZNE 1-2-3,Completed,,3\n"
    )
    mine, amplified = read_records(path)
    assert amplified.work.noise_factors == (1.0, 2.0, 3.0)
    assert (amplified.work.executions, amplified.work.rep_delay_seconds) == (4 * 2500, 1e-6)
    assert Judged(mine, server_forecast(mine.work)).is_right


def _only(records: list[PublicRecord], notes: str) -> PublicRecord:
    (found,) = (one for one in records if one.notes == notes)
    return found


def _estimator(family: str, level: int) -> Work:
    return Work(
        program="estimator",
        family=family,
        level=level,
        rep_delay_seconds=1e-6 if family == "nighthawk" else 250e-6,
        runs=[Runs(100_000, 3.2e-6, 2.2e-6)],
        learning=Runs(32 * 4096, 0.0, 2.2e-6) if level else None,
        noise_factors=(1.0, 3.0, 5.0) if level > 1 else (1.0,),
    )


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
