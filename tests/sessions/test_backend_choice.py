"""The backend of an experiment: chosen once, by name or as the least busy, and then kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from session_support import block_for, facts_of, jobs_at, measured, submit
from support import wait_until

from session_block import QuantumSession
from session_block.errors import (
    BackendNotFoundError,
    BackendRecalibratedError,
    InvalidInputError,
)
from session_block.experiments.experiment import Experiment
from session_block.local_platform import Layout, LocalPlatform

JOB_SECONDS = 60
LONG = 100_000
SMALL, MIDDLE, LARGE = "ibm_manila", "ibm_nairobi", "ibm_hanoi"
FRACTIONAL = "ibm_fez"
LAYOUT = {
    "accounts": [
        {
            "instances": [
                {"name": "usual", "backends": [SMALL, MIDDLE, LARGE]},
                {"name": "fractional", "backends": [SMALL, FRACTIONAL]},
            ]
        }
    ]
}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform with few backends, on which jobs stay in the queue until the clock is advanced."""
    layout = Layout.model_validate(LAYOUT)
    with LocalPlatform(layout=layout, time_scale=0, job_seconds=JOB_SECONDS) as platform:
        yield platform


@pytest.fixture(autouse=True)
def _idle(platform: LocalPlatform) -> Iterator[None]:
    """Every test begins with all backends up and without jobs."""
    yield
    platform.clear_faults()
    platform.advance(LONG)


def _block(platform: LocalPlatform, ledger_url: str, **fields: Any) -> QuantumSession:
    return block_for(platform.info, ledger_url, **{"backend_name": None, **fields})


def _keep_busy(platform: LocalPlatform, ledger_url: str, backend: str, jobs: int = 1) -> None:
    """Give a backend a queue of jobs that are not the experiment's."""
    block = _block(platform, ledger_url, backend_name=backend, mode="job")
    submit(block.experiment(f"others on {backend}", fresh=True), *range(jobs))


def _run(platform: LocalPlatform, experiment: Experiment, *numbers: int) -> None:
    jobs = submit(experiment, *numbers)
    platform.advance(LONG)
    for job in jobs:
        experiment.fetch_result(job)


def _backends(platform: LocalPlatform, experiment: Experiment) -> list[str]:
    return [job["backend"] for job in jobs_at(platform.info, experiment)]


def test_the_least_busy_backend_is_chosen_once(platform: LocalPlatform, ledger_url: str) -> None:
    """The shortest queue among the large enough is taken, and kept when another is shorter."""
    block = _block(platform, ledger_url, min_num_qubits=7)
    _keep_busy(platform, ledger_url, LARGE)
    _run(platform, block.experiment("e"), 0)
    _keep_busy(platform, ledger_url, MIDDLE, jobs=2)
    named = _block(platform, ledger_url, backend_name=MIDDLE)
    for number, again in enumerate((block, named), start=2):
        _run(platform, again.experiment("e"), *range(number))
    assert _backends(platform, again.experiment("e")) == [MIDDLE] * 3
    with pytest.raises(InvalidInputError, match=f"least busy backend.*{LARGE}"):
        _block(platform, ledger_url, backend_name=LARGE).experiment("e")


def test_a_backend_in_maintenance_is_not_least_busy(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """Only backends that are up are chosen from, however short a queue the others have."""
    platform.add_fault(kind="maintenance", backend=LARGE)
    _keep_busy(platform, ledger_url, MIDDLE)
    experiment = _block(platform, ledger_url, min_num_qubits=7).experiment("e")
    assert experiment.backend.name == MIDDLE


def test_no_backend_is_large_enough(platform: LocalPlatform, ledger_url: str) -> None:
    """The error names how many qubits were asked for; nothing is chosen or submitted."""
    block = _block(platform, ledger_url, min_num_qubits=1000)
    experiment = block.experiment("e")
    with pytest.raises(BackendNotFoundError, match="1000 qubits"):
        submit(experiment, 0)
    assert [fact.key for fact in facts_of(block, experiment)] == [
        "experiment",
        "attempt/000001",
    ]
    assert jobs_at(platform.info, experiment) == []


@pytest.mark.parametrize("backend", [SMALL, None])
def test_maintenance_is_waited_for(
    platform: LocalPlatform,
    ledger_url: str,
    caplog: pytest.LogCaptureFixture,
    backend: str | None,
) -> None:
    """By default an experiment that begins in maintenance waits, says so, and then goes on."""
    for one in (SMALL, MIDDLE, LARGE):
        platform.add_fault(kind="maintenance", backend=one)
    experiment = _block(platform, ledger_url, backend_name=backend).experiment("e")
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.WARNING):
        jobs = pool.submit(submit, experiment, 0)
        wait_until(
            lambda: "waits for its backend" in caplog.text, seconds=20, what="it says that it waits"
        )
        assert not jobs.done()
        platform.clear_faults()
        assert len(jobs.result(timeout=30)) == 1
    assert len(_backends(platform, experiment)) == 1


@pytest.mark.parametrize(
    ("named", "needed", "taken"), [(SMALL, None, LARGE), (MIDDLE, 6, LARGE), (LARGE, 7, MIDDLE)]
)
def test_maintenance_can_be_moved_away_from(
    platform: LocalPlatform,
    ledger_url: str,
    caplog: pytest.LogCaptureFixture,
    named: str,
    needed: int | None,
    taken: str,
) -> None:
    """Another backend with enough qubits is taken and logged, and keeps the experiment."""
    platform.add_fault(kind="maintenance", backend=named)
    block = _block(
        platform, ledger_url, backend_name=named, min_num_qubits=needed, in_maintenance="move"
    )
    with caplog.at_level(logging.WARNING):
        _run(platform, block.experiment("e"), 0)
    assert f"runs on {taken} instead of {named}" in caplog.text
    platform.clear_faults()
    names_it = _block(platform, ledger_url, backend_name=taken)
    for number, again in enumerate((block, names_it), start=2):
        _run(platform, again.experiment("e"), *range(number))
    assert _backends(platform, again.experiment("e")) == [taken] * 3
    (other,) = {SMALL, MIDDLE, LARGE} - {named, taken}
    with pytest.raises(InvalidInputError, match=f"began on {named}.*{other}"):
        _block(platform, ledger_url, backend_name=other).experiment("e")


def test_maintenance_after_the_first_job_moves_nothing(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """Circuits are made for the pinned backend, so a job waits in its queue until it is back."""
    block = _block(platform, ledger_url, backend_name=SMALL, in_maintenance="move")
    _run(platform, block.experiment("e"), 0)
    platform.add_fault(kind="maintenance", backend=SMALL)
    again = block.experiment("e")
    jobs = submit(again, 0, 1)
    platform.clear_faults()
    platform.advance(JOB_SECONDS)
    again.fetch_result(jobs[1])
    assert _backends(platform, again) == [SMALL] * 2


def test_a_lost_ledger_goes_on_where_the_jobs_ran(
    platform: LocalPlatform, ledger_url: str, tmp_path: Path
) -> None:
    """With a new ledger the least busy backend is still that of the jobs, and none runs twice."""
    name = "lost on the least busy"
    fields = {"min_num_qubits": 7}
    _keep_busy(platform, ledger_url, LARGE)
    first = _block(platform, ledger_url, **fields).experiment(name)
    _run(platform, first, 0)
    _keep_busy(platform, ledger_url, MIDDLE, jobs=3)
    again = _block(platform, f"sqlite:///{tmp_path / 'new.db'}", **fields).experiment(name)
    _run(platform, again, 0, 1)
    assert again.uid == first.uid
    assert _backends(platform, again) == [MIDDLE] * 2


def _fractional() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(0.3, 0)
    circuit.rzz(0.4, 0, 1)
    circuit.measure_all()
    return circuit


def test_fractional_gates_are_kept_when_reattaching(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """They are in the target, circuits with them run, and a later Block's default drops none."""
    fields = {"backend_name": FRACTIONAL, "instance": "fractional"}
    first = _block(platform, ledger_url, use_fractional_gates=True, **fields).experiment("e")
    without = _block(platform, ledger_url, **fields)
    assert not {"rx", "rzz"} & without.experiment("plain").backend.target.operation_names
    for experiment in (first, without.experiment("e")):
        assert {"rx", "rzz"} <= experiment.backend.target.operation_names
        job = experiment.submit_sampler([_fractional()], shots=8)
        platform.advance(JOB_SECONDS)
        experiment.fetch_result(job)
        assert len(_backends(platform, experiment)) == 1


def test_a_named_backend_without_fractional_gates_is_said_to_have_none(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """The error is about the backend, not about credentials, and the Block can be corrected."""
    fields = {"backend_name": SMALL}
    experiment = _block(platform, ledger_url, use_fractional_gates=True, **fields).experiment("e")
    with pytest.raises(BackendNotFoundError, match="fractional"):
        submit(experiment, 0)
    _run(platform, _block(platform, ledger_url, **fields).experiment("e"), 0)


def test_the_least_busy_backend_has_what_is_wanted(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """Where fractional gates are wanted, only backends that have them are chosen from."""
    instance = "fractional"
    busy = _block(platform, ledger_url, instance=instance, backend_name=FRACTIONAL, mode="job")
    submit(busy.experiment("others"), 0)
    block = _block(platform, ledger_url, instance=instance, use_fractional_gates=True)
    assert block.experiment("e").backend.name == FRACTIONAL


def _calibration_of(experiment: Experiment, job_id: str) -> str | None:
    """Return which calibration the server has noted for a job."""
    return experiment.service._active_api_client.job_get(job_id)["calibration_id"]


def _calibrated_at(block: QuantumSession, experiment: Experiment) -> list[str]:
    """Return what the intents say of the calibration, oldest first."""
    return [fact.body["calibrated_at"] for fact in facts_of(block, experiment, "intent/")]


def test_a_chosen_calibration_reaches_every_job(platform: LocalPlatform, ledger_url: str) -> None:
    """It is named in the request, recorded with its time, and kept by a Block without it."""
    chosen = platform.calibrate(SMALL)
    platform.advance(1)
    platform.calibrate(SMALL)
    named = _block(platform, ledger_url, backend_name=SMALL, calibration_id=chosen)
    unnamed = _block(platform, ledger_url, backend_name=SMALL)
    for count, block in enumerate((named, unnamed), start=1):
        experiment = block.experiment("e")
        _run(platform, experiment, *range(count))
    ids = {_calibration_of(experiment, job["id"]) for job in jobs_at(platform.info, experiment)}
    assert ids == {chosen}
    moment = experiment.backend.properties().last_update_date
    assert _calibrated_at(unnamed, experiment) == [moment.isoformat()] * 2


def test_a_move_leaves_the_calibration_behind(platform: LocalPlatform, ledger_url: str) -> None:
    """A calibration belongs to one backend, so the one that takes its place uses its newest."""
    chosen = platform.calibrate(SMALL)
    platform.add_fault(kind="maintenance", backend=SMALL)
    fields = {"backend_name": SMALL, "calibration_id": chosen, "in_maintenance": "move"}
    experiment = _block(platform, ledger_url, **fields).experiment("e")
    _run(platform, experiment, 0)
    assert _backends(platform, experiment) == [LARGE]


def test_an_unknown_calibration_is_refused(platform: LocalPlatform, ledger_url: str) -> None:
    """A calibration that the backend does not have is named before anything is submitted."""
    block = _block(platform, ledger_url, backend_name=SMALL, calibration_id="none-such")
    experiment = block.experiment("e")
    with pytest.raises(BackendNotFoundError, match="none-such"):
        submit(experiment, 0)
    assert jobs_at(platform.info, experiment) == []


def test_each_job_records_its_calibration(platform: LocalPlatform, ledger_url: str) -> None:
    """An experiment that continues after a new calibration records its time from there on."""
    block = _block(platform, ledger_url, backend_name=SMALL)
    moments = []
    for count in (1, 2):
        experiment = block.experiment("e")
        _run(platform, experiment, *range(count))
        moments.append(experiment.backend.properties().last_update_date.isoformat())
        platform.calibrate(SMALL)
    assert _calibrated_at(block, experiment) == moments
    assert moments[0] != moments[1]


def test_an_experiment_can_stop_at_a_new_calibration(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """It stops before any intent or job, replays what is recorded, and goes on if told to."""
    fields = {"backend_name": SMALL}
    block = _block(platform, ledger_url, on_recalibration="stop", **fields)
    _run(platform, block.experiment("e"), 0)
    platform.calibrate(SMALL)
    again = block.experiment("e")
    _run(platform, again, 0)
    for _ in range(2):
        with pytest.raises(BackendRecalibratedError, match="on_recalibration='stop'"):
            again.run_sampler([measured(1)], shots=8)
    assert len(facts_of(block, again, "intent/")) == 1
    assert len(_backends(platform, again)) == 1
    _run(platform, _block(platform, ledger_url, **fields).experiment("e"), 0, 1)
    assert len(_backends(platform, again)) == 2


def test_an_experiment_that_stops_opens_no_session(
    platform: LocalPlatform, ledger_url: str
) -> None:
    """Where the calibration says to stop, no session is opened that nobody will use."""
    block = _block(platform, ledger_url, backend_name=SMALL, on_recalibration="stop")
    _run(platform, block.experiment("e"), 0)
    platform.calibrate(SMALL)
    again = block.experiment("e")
    with pytest.raises(BackendRecalibratedError):
        submit(again, 0, 1)
    assert len(again.sessions) == 1
