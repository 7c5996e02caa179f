"""Whatever happens while a job is waited for, the wait goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from support import BACKEND, wait_until

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.errors import ConnectionFailedError
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.references import JobRef

JOB_SECONDS = 1.0


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalPlatform]:
    """One platform for this module, on which a job takes a moment."""
    with LocalPlatform(interactive_seconds=1, job_seconds=JOB_SECONDS) as platform:
        yield platform


@pytest.fixture
def own(shared: LocalPlatform) -> LocalPlatform:
    """The platform without the faults of earlier tests."""
    shared.clear_faults()
    return shared


def submitted(platform: LocalPlatform, ledger: Path) -> tuple[Experiment, JobRef]:
    """Return an experiment with a job that has just been submitted."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=f"sqlite:///{ledger}",
    )
    experiment = block.experiment(ledger.parent.name, fresh=True)
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return experiment, experiment.submit_sampler([circuit], shots=16)


STATE = {"method": "GET", "path": "/jobs/{job_id}"}
RESULTS = {"method": "GET", "path": "/jobs/{job_id}/results"}


@pytest.mark.rest
@pytest.mark.parametrize(
    "fault",
    [
        {**STATE, "kind": "status", "status": 400, "times": 3},
        {**STATE, "kind": "status", "status": 503, "times": 8},
        {**STATE, "kind": "drop", "times": 5},
        {**STATE, "kind": "truncate", "bytes": 20, "times": 2},
        {**STATE, "kind": "delay", "seconds": 2.0},
        {**STATE, "kind": "expire_tokens"},
        {**RESULTS, "kind": "status", "status": 500, "times": 2},
        {**RESULTS, "kind": "status", "status": 204, "times": 2},
        {**RESULTS, "kind": "truncate", "bytes": 30, "times": 2},
        {**RESULTS, "kind": "expire_tokens"},
        {**RESULTS, "kind": "drop", "times": 3},
    ],
    ids=lambda fault: (
        f"{fault['path'].rpartition('/')[2]}-{fault['kind']}-{fault.get('status', '')}"
    ),
)
def test_the_wait_goes_on(own: LocalPlatform, tmp_path: Path, fault: dict[str, Any]) -> None:
    """Errors, cuts, delays and expired tokens prolong the wait, and nothing is submitted again."""
    experiment, job = submitted(own, tmp_path / "l.db")
    own.add_fault(**fault)
    result = experiment.fetch_result(job)
    assert result[0].data.c.num_shots == 16
    assert any(rule["used"] for rule in own.faults())
    assert own.stats()["jobs"]["by_tag"][f"qs-uid:{experiment.uid}"] == 1


def test_an_expired_token_does_not_stop_a_submission(own: LocalPlatform, tmp_path: Path) -> None:
    """After a wait in which the token expired, the next job is submitted with a new one."""
    experiment, job = submitted(own, tmp_path / "l.db")
    own.add_fault(**STATE, kind="expire_tokens")
    experiment.fetch_result(job)
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    experiment.run_sampler([circuit], shots=16)
    assert own.stats()["jobs"]["by_tag"][f"qs-uid:{experiment.uid}"] == 2


def test_a_token_that_expires_before_a_submission(own: LocalPlatform, tmp_path: Path) -> None:
    """A submission that is refused for its expired token is made with a new one, once."""
    experiment, job = submitted(own, tmp_path / "l.db")
    experiment.fetch_result(job)
    own.add_fault(method="POST", path="/jobs", kind="expire_tokens")
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    experiment.run_sampler([circuit], shots=16)
    assert own.stats()["jobs"]["by_tag"][f"qs-uid:{experiment.uid}"] == 2


def _in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_a_restarting_platform_prolongs_the_wait(tmp_path: Path) -> None:
    """The platform is killed and comes back while a job is waited for."""
    with LocalPlatform(job_seconds=2.0) as platform:
        experiment, job = submitted(platform, tmp_path / "l.db")
        thread, results = _in_thread(lambda: experiment.fetch_result(job))
        platform.kill()
        time.sleep(1)
        platform.restart()
        thread.join(60)
        assert results[0][0].data.c.num_shots == 16
        assert platform.stats()["jobs"]["total"] == 1


def test_an_hour_passes_while_waiting(tmp_path: Path) -> None:
    """A laptop that slept for an hour finds its job done and goes on in its session."""
    with LocalPlatform(time_scale=0, job_seconds=60) as platform:
        experiment, job = submitted(platform, tmp_path / "l.db")
        thread, results = _in_thread(lambda: experiment.fetch_result(job))
        platform.advance(3600)
        thread.join(60)
        assert results[0][0].data.c.num_shots == 16
        before = experiment.session_id
        circuit = QuantumCircuit(1, 1)
        circuit.x(0)
        circuit.measure(0, 0)
        again = experiment.submit_sampler([circuit], shots=16)
        platform.advance(60)
        experiment.fetch_result(again)
        assert experiment.session_id == before
        assert platform.stats()["sessions"]["total"] == 1


def test_whoever_comes_late_is_answered_at_once(own: LocalPlatform, tmp_path: Path) -> None:
    """A job that has ended by the time that it is asked for costs one look, and teaches nothing."""
    experiment, job = submitted(own, tmp_path / "ledger.db")
    wait_until(
        lambda: own.jobs(limit=1)[0]["state"] == "completed", seconds=30, what="the job's end"
    )
    before = own.stats()["requests"]
    experiment.fetch_result(job)
    after = own.stats()["requests"]
    asked = {name: after[name] - before.get(name, 0) for name in after if "/jobs" in name}
    # One look, and one whether the session's first job ran in it.
    assert {name: count for name, count in asked.items() if count and "_local" not in name} == {
        "GET /jobs/{job_id}": 2,
        "GET /jobs/{job_id}/results": 1,
    }
    assert experiment._parts.results._watch._unsure == {}


def test_a_cancellation_that_fails_says_so(own: LocalPlatform, tmp_path: Path) -> None:
    """What the platform answers is this package's error, also where the client's is another one."""
    experiment, job = submitted(own, tmp_path / "ledger.db")
    experiment.fetch_result(job)
    experiment.close_session()
    own.add_fault(kind="status", status=400, method="GET", path="/jobs", times=9)
    with pytest.raises(ConnectionFailedError, match="cancel the pending jobs of experiment"):
        experiment.cancel_session()
