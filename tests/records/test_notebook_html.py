"""What notebooks show of experiments and reports: inert, small, from the ledger alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit
from qiskit.primitives.containers import DataBin, PrimitiveResult, PubResult
from support import Platform

from session_block import (
    Experiment,
    MaxCut,
    QAOAReport,
    QuantumSession,
    RunFacts,
    SweepChunk,
    SweepReport,
    SweepRow,
    SweepTable,
    VQEReport,
)
from session_block.display.figures import MOST_POINTS, Line, plot
from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.pubs.encoding import encode_result
from session_block.records.identity import Identity, identify
from session_block.records.journal import Journal
from session_block.records.keys import ExperimentBegan, Intent, Outcome, Result
from session_block.records.views import ExperimentView

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
ALLOWED = {"div", "p", "img", "details", "summary", "table", "thead", "tbody", "tr", "th", "td"}


class _Tags(HTMLParser):
    """Checks that HTML has only tags and attributes that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attrs} <= {"style", "src", "alt"}, attrs
        for name, value in attrs:
            assert name != "src" or str(value).startswith("data:image/svg+xml;base64,")

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def shown(thing: Any) -> str:
    """Return the text that a notebook shows of something, whose HTML must be inert."""
    parser = _Tags()
    parser.feed(thing._repr_html_())
    parser.close()
    return re.sub(r"\s+", " ", parser.text)


def _facts(name: str = EVIL) -> RunFacts:
    return RunFacts(
        experiment=name,
        number=2,
        uid="u1",
        backend="ibm_manila",
        session_ids=[],
        job_ids=["j1"],
        usage_seconds=1.5,
    )


def test_an_experiment_is_shown_from_its_beginning_to_its_end(
    block: QuantumSession, platform: Platform
) -> None:
    """New, at work, failed and finished: it never raises, and asks the platform for nothing."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    experiment = block.experiment(EVIL)
    told = shown(experiment)
    assert f"Experiment {EVIL!r}".split("<", maxsplit=1)[0] in told
    assert "unfinished" in told
    assert "backend unknown" in told
    experiment.run_estimator([(QuantumCircuit(1), "Z")], label=EVIL)
    experiment.submit_sampler([circuit], shots=8)
    before = platform.stats()["requests"]
    told = shown(experiment)
    assert "1, of 2 requests sent" in told
    assert "usage unknown" in told
    assert "data:image" in experiment._repr_html_()
    assert _of_clients(platform.stats()["requests"]) == _of_clients(before)
    with pytest.raises(ValueError, match="mine"), experiment:
        raise ValueError("mine")
    assert "failed" in shown(experiment)
    view = Experiment.load(EVIL, block.ledger())
    assert shown(view) == shown(experiment)
    with block.experiment(EVIL) as again:
        again.run_estimator([(QuantumCircuit(1), "Z")], label=EVIL)
        again.run_sampler([circuit], shots=8)
        again.report({"energy": -1.25, "reference": -1.2, EVIL: EVIL, "counts": {EVIL: 3}})
    told = shown(again)
    for text in ("finished", "best value -1.25", "reference -1.2", "until the report"):
        assert text in told


def test_what_the_program_reports_is_drawn_while_it_runs(block: QuantumSession) -> None:
    """The experiment's own progress, in the process that has it."""
    experiment = block.experiment("progress")
    assert "data:image" not in experiment._repr_html_()
    experiment.progress(-1.0, 0.1)
    experiment.progress(-1.5)
    assert "data:image" in experiment._repr_html_()


def test_a_ledger_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The output says so, and what to do, instead of a traceback."""
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    identity = identify(ledger, EVIL)
    path.unlink()
    assert "was removed or replaced" in shown(ExperimentView(identity, ledger))


@contextmanager
def _statements(ledger: Ledger) -> Iterator[list[str]]:
    engine, seen = ledger._store.engine, []  # type: ignore[attr-defined]

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def _with_submissions(ledger: Ledger, name: str, number: int) -> Identity:
    """Record an experiment whose submissions all have results."""
    identity = identify(ledger, name)
    journal = Journal(ledger, identity.uid)
    journal.record(ExperimentBegan(name=name, number=1, backend="ibm_manila"))
    value = PrimitiveResult([PubResult(DataBin(evs=_array(-1.0), stds=_array(0.1), shape=()))])
    payload = encode_result(value)
    for one in range(number):
        submission = f"{one:024x}"
        journal.record(
            Intent(
                submission=submission,
                generation=1,
                fingerprint="f",
                occurrence=one + 1,
                label=None,
                concurrent=False,
                backend="ibm_manila",
                instance=None,
                url=None,
                session_id="s1",
                tag="t",
            )
        )
        outcome = Outcome(submission=submission, generation=1, kind="job", job_id=f"j{one}")
        journal.record(outcome)
        journal.record(Result(submission=submission, job_id=f"j{one}"), payload)
    return identity


def _array(value: float) -> Any:
    return np.asarray(value)


@pytest.mark.rest
def test_a_large_experiment_is_shown_as_fast_as_a_small_one(ledger_url: str) -> None:
    """Neither what is read nor what is shown grows with the number of submissions."""
    ledger = Ledger(ledger_url)
    read, sizes = [], []
    for number in (110, 330):
        view = ExperimentView(_with_submissions(ledger, f"of {number}", number), ledger)
        with _statements(ledger) as statements:
            told = view._repr_html_()
        read.append(len(statements))
        sizes.append(len(told))
        assert f"{number}, of {number} requests sent" in told
        assert f"Latest submissions (10 of {number})" in told
        assert f">j{number - 1}<" in told
        assert ">j0<" not in told
    assert read[0] == read[1]
    assert max(sizes) < 1.1 * min(sizes)


def test_a_vqe_is_shown_with_its_outcome() -> None:
    """Also one of ten thousand evaluations, and whatever its optimiser says."""
    evaluation = {"standard_error": 0.1, "parameters": [0.5] * 12, "restart": 0}
    report = VQEReport.model_validate(
        {
            "energy": -1.5,
            "exact": -1.6,
            "parameters": [0.5] * 12,
            "success": False,
            "message": EVIL,
            "optimizer": EVIL,
            "optima": [],
            "evaluations": [{"energy": one / 1e4, **evaluation} for one in range(10_000)],
            "run": _facts(),
        }
    )
    told = shown(report)
    for text in ("best value -1.5", "exact value -1.6", "did not converge", "(4 more)", "10 of 10"):
        assert text in told
    assert "data:image" in report._repr_html_()
    assert len(report._repr_html_()) < 300_000
    empty = report.model_copy(update={"evaluations": [], "exact": None})
    assert "exact value" not in shown(empty)
    assert len(empty.to_dataframe()) == 0


def test_a_qaoa_is_shown_with_its_best_bits() -> None:
    """Angles, best bit string and counts; an optimum that is not known is NaN in the frame."""
    report = QAOAReport.model_validate(
        {
            "problem": MaxCut(edges=[(0, 1)]),
            "reps": 1,
            "objective": "estimator",
            "alpha": 1.0,
            "gammas": [0.25],
            "betas": [0.75],
            "value": 0.9,
            "optimizer": None,
            "success": True,
            "message": "",
            "best_bitstring": "01",
            "best_nodes": [0],
            "best_value": 1.0,
            "mean": 0.9,
            "standard_error": 0.1,
            "shots": 8,
            "samples": [{"bits": "01", "value": 1.0, "count": 8}],
            "optimum": None,
            "approximation_ratio": None,
            "evaluations": [
                {"gammas": [0.25], "betas": [0.75], "value": 0.9, "standard_error": 0.1}
            ],
            "run": _facts(),
        }
    )
    told = shown(report)
    for text in ("best value 1", "best bit string 01", "gammas 0.25", "betas 0.75", "counts 01: 8"):
        assert text in told
    frame = report.to_dataframe()
    assert frame["optimum"].isna().all()
    assert list(frame.loc[1, ["gammas.0", "betas.0", "value"]]) == [0.25, 0.75, 0.9]


def _table(rows: list[SweepRow]) -> SweepTable:
    done = SweepChunk(number=1, label="l", points=len(rows), state="done", job_id="j1")
    failed = SweepChunk(number=2, label="m", points=3, state="failed", message=EVIL)
    return SweepTable(rows=rows, chunks=[done, failed])


def test_a_sweep_is_a_table_and_a_figure() -> None:
    """A column for each parameter and value; what a sweep did not measure has no column."""
    rows = [
        SweepRow(
            index=place,
            chunk=1,
            circuit=EVIL,
            repetition=1,
            parameters={"circuit": place / 2},
            values={"$Z$": 0.5},
            standard_errors={"$Z$": 0.1},
        )
        for place in (1, 0)
    ]
    table = _table(rows)
    frame = table.to_dataframe()
    assert list(frame.index) == [1, 0]
    assert list(frame["parameters.circuit"]) == [0.5, 0.0]
    assert list(frame["job_id"]) == ["j1", "j1"]
    assert "counts" not in frame
    report = SweepReport(**table.model_dump(), run=_facts())
    for one in (table, report):
        told = shown(one)
        assert "2 of 5" in told
        assert "1 of 2 done" in told
        assert "Failed chunks (1)" in told
        assert "data:image" in one._repr_html_()
    row = SweepRow(index=0, chunk=1, circuit="c", repetition=1, parameters={}, counts={"01": 4})
    counted = _table([row]).to_dataframe()
    assert list(counted["counts"]) == [{"01": 4}]
    assert not [name for name in counted if name.startswith("values")]
    assert len(_table([]).to_dataframe()) == 0
    assert "0 of 3" in shown(_table([]))


def test_a_figure_of_many_points_is_thinned_out() -> None:
    """Evenly, with the first and the last one; texts of others are shown as they are."""
    line = Line(f"$x^{EVIL}_漢", range(10_001), [float(one) for one in range(10_001)])
    thin = line.thinned()
    assert (thin.x[0], thin.x[-1]) == (0, 10_000)
    assert len(thin.x) <= MOST_POINTS + 1
    picture = plot([line, line], x_label="_a$", y_label="漢字")
    assert b"<script" not in picture
    with pytest.raises(InvalidInputError, match="nothing to draw"):
        plot([Line("empty", [], [])], x_label="x", y_label="y")


def _of_clients(requests: dict[str, int]) -> dict[str, int]:
    return {key: n for key, n in requests.items() if "_local" not in key}
