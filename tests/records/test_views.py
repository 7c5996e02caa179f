"""Experiments read from the ledger alone, also while they run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from qiskit import QuantumCircuit
from support import Platform

from session_block import Experiment, QuantumSession, compare
from session_block.algorithms.vqe import VQEReport, run_vqe
from session_block.display.figures import convergence
from session_block.errors import InvalidInputError


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def test_what_is_recorded_is_seen_while_it_runs(
    block: QuantumSession, platform: Platform, circuit: QuantumCircuit
) -> None:
    """Results, jobs still running and a refused one are told, without any request."""
    experiment = block.experiment("e")
    done = experiment.submit_sampler([circuit], shots=8, label="done")
    experiment.fetch_result(done)
    waiting = experiment.submit_sampler([circuit], shots=16)
    before = platform.stats()["requests"]
    view = Experiment.load("e", block.ledger())
    rows = view.submissions()
    assert [(row["state"], row["label"]) for row in rows] == [("result", "done"), ("job", None)]
    assert [row["job_id"] for row in rows] == [done.job_id, waiting.job_id]
    assert {row["session_id"] for row in rows} == {experiment.session_id}
    [recorded] = view.results()
    assert (recorded.label, recorded.job_id) == ("done", done.job_id)
    assert recorded.result[0].data.c.num_shots == 8
    assert view.report() is None
    after = platform.stats()["requests"]
    assert {key: n for key, n in after.items() if "_local" not in key} == {
        key: n for key, n in before.items() if "_local" not in key
    }
    experiment.cancel_session()


@pytest.mark.rest
def test_another_process_reads_it_by_name(
    block: QuantumSession, ledger_url: str, circuit: QuantumCircuit
) -> None:
    """A notebook needs the ledger and the name, and neither Block nor account."""
    experiment = block.experiment("from elsewhere")
    experiment.run_sampler([circuit], shots=8)
    experiment.close_session()
    code = (
        "import json, sys\n"
        "from session_block import Experiment\n"
        "from session_block.ledger.store import Ledger\n"
        "view = Experiment.load('from elsewhere', Ledger(sys.argv[1]))\n"
        "print(json.dumps([view.uid, [one.job_id for one in view.results()]]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, ledger_url], check=True, capture_output=True, text=True
    )
    assert json.loads(ran.stdout) == [experiment.uid, experiment.job_ids]


def test_an_experiment_is_found_by_name_number_and_uid(block: QuantumSession) -> None:
    """A name stands for its latest experiment; unknown ones are said to be unknown."""
    first = block.experiment("twice")
    second = block.experiment("twice", fresh=True)
    ledger = block.ledger()
    assert Experiment.load("twice", ledger).uid == second.uid
    assert Experiment.load("twice", ledger, number=1).uid == first.uid
    assert Experiment.load(first.uid, ledger).identity.number == 1
    for name, number in (("nobody", None), ("twice", 3)):
        with pytest.raises(InvalidInputError, match="has no experiment"):
            Experiment.load(name, ledger, number=number)


def test_frames_hold_the_jobs_and_compare_experiments(block: QuantumSession) -> None:
    """A row for each submission; and one for each experiment, with what its report says."""
    for name, maxiter in (("short", 7), ("longer", 9)):
        with block.experiment(name) as experiment:
            run_vqe(experiment, seed=1, optimizer_options={"maxiter": maxiter})
    ledger = block.ledger()
    views = [Experiment.load(name, ledger) for name in ("short", "longer")]
    frame = views[0].to_dataframe()
    assert list(frame["state"]) == ["result"] * 7
    assert (frame["done_at"] >= frame["asked_at"]).all()
    both = compare(views)
    assert list(both["experiment"]) == ["short", "longer"]
    assert list(both["results"]) == [7, 9]
    report = VQEReport.model_validate(views[1].report())
    assert both["energy"][1] == both["best"][1] == report.energy
    assert list(both["exact"]) == [report.exact] * 2
    assert both["parameters"][1] == {"parameters": report.parameters}
    assert both["usage_seconds"].isna().all()  # nobody has asked since the session closed
    assert not both["usage_complete"].any()
    energies = [one.energy for one in VQEReport.model_validate(views[0].report()).evaluations]
    assert list(frame["value"]) == energies
    assert list(frame["values"]) == [1] * 7
    assert (frame["standard_error"] > 0).all()
    assert (frame["exact"] == report.exact).all()
    assert list(frame["counts"]) == [None] * 7
    assert frame["shots"].isna().all()
    evaluations = report.to_dataframe()
    assert list(evaluations["energy"]) == [one.energy for one in report.evaluations]
    assert list(evaluations.index) == list(range(1, 10))
    points = views[1].to_dataframe()["parameters"]
    assert list(points) == [one.parameters for one in report.evaluations]
    assert list(evaluations.columns[-4:]) == [f"parameters.{place}" for place in range(4)]
    empty = Experiment.load(block.experiment("empty").uid, ledger).to_dataframe()
    assert list(empty.columns) == list(frame.columns)
    assert len(empty) == 0


def test_frames_of_samples_have_counts_and_no_values(
    block: QuantumSession, circuit: QuantumCircuit
) -> None:
    """What was not measured is not a number; a request without a result yet has nothing."""
    experiment = block.experiment("sampled")
    experiment.run_sampler([circuit], shots=8)
    experiment.submit_sampler([circuit, circuit], shots=8)
    frame = experiment.to_dataframe()
    assert list(frame["counts"]) == [{"0": 8}, None]
    assert frame["shots"][0] == 8
    assert frame["shots"].isna()[1]
    for name in ("value", "standard_error", "values", "exact", "usage_seconds"):
        assert frame[name].isna().all()
    experiment.cancel_session()


def test_a_report_s_own_names_hide_nothing(block: QuantumSession) -> None:
    """A program may call something of its own ``state``; the comparison has both."""
    with block.experiment("named") as experiment:
        experiment.report({"state": "ground", "best": 3.0, "energy": -1.0})
    row = compare([Experiment.load("named", block.ledger())]).iloc[0]
    assert (row["state"], row["report's state"]) == ("finished", "ground")
    assert (row["best"], row["report's best"]) == (-1.0, 3.0)


def test_convergence_is_drawn_for_light_and_dark(block: QuantumSession) -> None:
    """The picture is an SVG without a background; without evaluations there is none."""
    with block.experiment("drawn") as experiment:
        report = run_vqe(experiment, seed=1, optimizer_options={"maxiter": 7})
    picture = convergence(
        [one.energy for one in report.evaluations],
        [one.standard_error for one in report.evaluations],
        reference=-1.857275,
    )
    assert picture.startswith(b"<?xml")
    assert b"</svg>" in picture
    with pytest.raises(InvalidInputError, match="nothing to draw"):
        convergence([])
