"""The benchmarks measure what they say, and fail where a target is missed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks.figure import draw
from benchmarks.measuring import Figure, Part, ratios
from benchmarks.phases import PHASES
from benchmarks.rig import Rig
from benchmarks.run import PARTS, main
from benchmarks.targets import TARGETS, Target, conclusion, judge
from benchmarks.work import BACKEND, new_work, place

pytestmark = pytest.mark.rest

SLOW = Target("slow", "part", "a time", 0.5)
HIGH = Target("high", "part", "a share", 0.9, "at least")


def test_a_target_is_met_up_to_its_limit_and_not_beyond() -> None:
    """Both sides of a limit, and the limit itself."""
    assert [SLOW.is_met(value) for value in (0.4, 0.5, 0.51)] == [True, True, False]
    assert [HIGH.is_met(value) for value in (0.89, 0.9, 1.0)] == [False, True, True]


def test_a_missed_target_is_a_failure() -> None:
    """The median decides, and one missed target of two gives a status that is not zero."""
    figures = {"slow": Figure.of([0.1, 0.6, 0.9]), "high": Figure.of([0.95])}
    verdicts = judge(figures, {}, ["part"], [SLOW, HIGH])
    assert [one.met for one in verdicts] == [False, True]
    assert conclusion(verdicts) == ("1 of 2 targets met", 1)
    figures["slow"] = Figure.of([0.1, 0.4, 0.9])
    assert conclusion(judge(figures, {}, ["part"], [SLOW, HIGH])) == ("2 of 2 targets met", 0)


def test_what_could_not_be_measured_is_told_and_is_neither_met_nor_missed() -> None:
    """A figure that is missing needs a reason, and counts for nothing."""
    figures = {"high": Figure.of([0.95])}
    verdicts = judge(figures, {"slow": "it could not be installed"}, ["part"], [SLOW, HIGH])
    assert conclusion(verdicts) == ("1 of 1 targets met; 1 could not be measured", 0)
    with pytest.raises(KeyError):
        judge(figures, {}, ["part"], [SLOW, HIGH])


def test_only_the_targets_of_parts_that_were_run_are_judged() -> None:
    """Another part's targets are left out."""
    other = Target("other", "another part", "something", 1)
    assert [one.target for one in judge({"slow": Figure.of([1])}, {}, ["part"], [SLOW, other])] == [
        SLOW
    ]


def test_ratios_are_those_of_pairs() -> None:
    """The spread is that of the pairs' ratios, not of the two medians."""
    found = ratios([1.0, 4.0, 9.0], [2.0, 4.0, 6.0])
    assert (found.value, found.low, found.high, found.rounds) == (1.0, 0.5, 1.5, 3)


@pytest.mark.nightly
def test_a_part_is_measured_for_real_and_its_missed_target_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It measures, writes its three files, and ends with the verdict and its status."""
    key = "large/submission"
    easy, impossible = Target(key, "large", "easy", 1000.0), Target(key, "large", "impossible", 0.0)
    arguments = ["--only", "large", "--quick", "--results", str(tmp_path)]
    assert main(arguments, [easy, impossible]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 2 targets met"
    written = json.loads((tmp_path / "results.json").read_text())
    runs = written["data"]["large"]["runs"]
    assert written["figures"][key]["value"] == pytest.approx(
        runs["library"][0]["submit"] / runs["bare"][0]["submit"]
    )
    assert "| impossible | ≤ 0 |" in (tmp_path / "table.md").read_text()


@pytest.mark.nightly
def test_each_loop_does_the_same_work_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Bare and durable loops make the jobs that the platform counts, one for each point."""
    with Rig(tmp_path, quick=True) as rig, rig.platform("loops") as platform:
        work = new_work(2)
        for number, loop in enumerate(("bare", "library"), start=1):
            spec = {**work, **place(platform), "experiment": loop}
            environment = platform.environment if loop == "bare" else {}
            done = rig.child("loops", loop, spec=spec, environment=environment)
            assert len(done["evaluations"]) == 2
            assert all(one["ended"] > one["began"] for one in done["evaluations"])
            jobs = platform.jobs()
            assert len(jobs) == 2 * number
            assert {job["backend"] for job in jobs} == {BACKEND}
            assert jobs[0]["session_id"] is not None


def test_a_run_takes_nothing_of_the_users_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the user's Prefect server nor an IBM token reaches what is timed."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "a-token")
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")
    with Rig(tmp_path, quick=True) as rig:
        assert "PREFECT_API_URL" not in rig.environment
        assert "QISKIT_IBM_TOKEN" not in rig.environment
        assert "USAGE_DATA_OPT_OUT" not in rig.environment  # the bare client is faster with it
        assert rig.environment["PREFECT_HOME"].startswith(str(rig.home))


def test_the_figure_shows_what_was_measured(tmp_path: Path) -> None:
    """It is an image with a curve for the resume, and there is none of nothing."""
    draw({}, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
    part = Part(data={"10": [{"seconds": 0.1}], "100": [{"seconds": 0.4}]})
    draw({"resume": part}, tmp_path / "one.svg")
    assert "<svg" in (tmp_path / "one.svg").read_text()


def test_each_target_has_a_part_that_is_run() -> None:
    """No target is left out because its part is called otherwise."""
    assert {target.part for target in TARGETS} <= set(PARTS)


def test_each_phase_names_functions_that_there_are() -> None:
    """One that was renamed would stop the run after a quarter of an hour."""
    for phase in (one for phases in PHASES.values() for one in phases):
        for file, function in (*phase.functions, *phase.without):
            spec = importlib.util.find_spec(file.removesuffix(".py").replace("/", "."))
            assert spec is not None, file
            assert spec.origin is not None
            assert f"def {function}(" in Path(spec.origin).read_text(), (file, function)
