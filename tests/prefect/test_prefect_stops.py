"""A stop in a flow: its own retries do not lift it, a person who tells Prefect to go on does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client, runtime
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed, Failed, Scheduled, State
from prefect_helpers import flow_run, rotated
from support import Platform

from session_block import QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.errors import ExperimentStoppedError
from session_block.experiments.primitives import DurableSampler
from session_block.operations.experiments import described_in_full
from session_block.operations.flow_runs import cancel_experiments
from session_block.records.identity import opened_by
from session_block.records.journal import Journal
from session_block.records.stops import resume
from session_block.sessions.stops import ASK_PREFECT_SECONDS

pytestmark = [pytest.mark.rest, pytest.mark.usefixtures("quick_flows", "prefect_server")]

ATTEMPTS: list[int] = []
ENDS: list[str] = []


class _KilledError(BaseException):
    """The process ends before Prefect hears of the failure."""


def _cancel(run_id: UUID) -> None:
    """Cancel a flow run as a person does in the UI; no worker is there to end its process."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(), force=True)


@flow
def _goes_on(
    block: str, name: str | None = None, cancelled_after: int = 1, overwritten: bool = False
) -> None:
    """Run jobs; a person cancels the flow run after some of them."""
    with load_block(block).experiment(name) as experiment:
        for number in range(4):
            if number == cancelled_after:
                _cancel(UUID(runtime.flow_run.id))
                if overwritten:
                    _set(UUID(runtime.flow_run.id), Failed())
                time.sleep(2 * ASK_PREFECT_SECONDS)
            try:
                experiment.run_sampler([_measured(number)], shots=8)
                ENDS.append("bought")
            except ExperimentStoppedError:
                ENDS.append("stopped")


def _measured(turns: int) -> Any:
    circuit = rotated(turns)
    circuit.measure_all()
    return circuit


@flow(retries=1, retry_delay_seconds=0)
def _two_jobs(block: str, platform: str, stops: bool, killed: bool = False) -> str:
    """Run a job; in the first attempt a person then closes the session; run another one."""
    from session_block.local_platform import Admin, find

    ATTEMPTS.append(1)
    with load_block(block).experiment() as experiment:
        sampler = DurableSampler(experiment)
        sampler.run([_measured(1)], shots=8).result()
        if stops and len(ATTEMPTS) == 1:
            Admin.of(find(Path(platform))).end_session(str(experiment.session_id), "close")
        try:
            sampler.run([_measured(2)], shots=8).result()
        except ExperimentStoppedError:
            if killed:
                raise _KilledError from None  # Prefect takes it for a crash
            raise
    return experiment.uid


@pytest.fixture
def saved(block: QuantumSession) -> str:
    """A saved Block."""
    name = f"t-stops-{uuid4().hex[:8]}"
    block.save(name)
    ATTEMPTS.clear()
    ENDS.clear()
    return name


def _made(saved: str, platform: Platform, *, stops: bool = True) -> tuple[UUID, dict[str, Any]]:
    parameters = {"block": saved, "platform": str(platform.info.state_dir), "stops": stops}
    with get_client(sync_client=True) as client:
        return client.create_flow_run(_two_jobs, parameters=parameters).id, parameters


def _go(run_id: UUID, parameters: dict[str, Any]) -> State[Any]:
    state: Any = run_flow(
        _two_jobs, flow_run=flow_run(run_id), parameters=parameters, return_type="state"
    )
    return state


def _set(run_id: UUID, state: State[Any]) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=True)


def _uid(block: QuantumSession, run_id: UUID) -> str:
    (identity,) = opened_by(block.ledger(), str(run_id))
    return identity.uid


@pytest.mark.parametrize("state", [AwaitingRetry, Scheduled])
def test_a_retry_by_a_person_lifts_a_stop_and_the_run_s_own_does_not(
    block: QuantumSession, platform: Platform, saved: str, state: Any
) -> None:
    """The flow's own retry buys nothing; after a retry in Prefect there are two jobs in all."""
    run_id, parameters = _made(saved, platform)
    failed = _go(run_id, parameters)
    assert failed.is_failed()
    assert "ExperimentStoppedError" in str(failed.message)
    assert len(ATTEMPTS) == 2
    uid = _uid(block, run_id)
    assert platform.jobs_of(uid) == 1
    _set(run_id, state())
    assert _go(run_id, parameters).is_completed()
    assert platform.jobs_of(uid) == 2
    (identity,) = opened_by(block.ledger(), str(run_id))
    (stop,) = described_in_full(block.ledger(), identity)["stops"]
    assert str(run_id) in stop["resumed_by"]


def test_a_crash_that_an_automation_brings_back_lifts_nothing(
    block: QuantumSession, platform: Platform, saved: str
) -> None:
    """A run that is scheduled again because it was lost says nothing about the stop."""
    run_id, parameters = _made(saved, platform)
    with pytest.raises(_KilledError):
        _go(run_id, {**parameters, "killed": True})
    uid = _uid(block, run_id)
    (identity,) = opened_by(block.ledger(), str(run_id))
    assert len(described_in_full(block.ledger(), identity)["stops"]) == 1
    _set(run_id, Crashed())
    _set(run_id, AwaitingRetry())
    assert _go(run_id, parameters).is_failed()
    assert platform.jobs_of(uid) == 1


def test_a_cancelled_run_buys_nothing_until_it_is_retried(
    block: QuantumSession, platform: Platform, saved: str
) -> None:
    """Its hook records the stop; the run that a person retries goes on in a new session."""
    run_id, parameters = _made(saved, platform, stops=False)
    assert _go(run_id, parameters).is_completed()
    uid = _uid(block, run_id)
    assert platform.jobs_of(uid) == 2

    other, parameters = _made(saved, platform)
    ATTEMPTS.clear()
    assert _go(other, parameters).is_failed()
    run = flow_run(other)
    cancel_experiments(_two_jobs, run, Cancelled())
    (identity,) = opened_by(block.ledger(), str(other))
    with pytest.raises(ExperimentStoppedError):
        block.experiment(identity.name).run_sampler([_measured(3)], shots=8, label="more")
    _set(other, Cancelled())
    _set(other, AwaitingRetry())
    assert _go(other, parameters).is_completed()
    assert platform.jobs_of(identity.uid) == 2


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("after", [0, 2])
def test_a_cancelled_run_without_a_worker_buys_nothing_more(
    block: QuantumSession, platform: Platform, saved: str, after: int, *, named: bool
) -> None:
    """The run's own process asks Prefect, also if it opens the experiment after that."""
    name = f"cancelled-{uuid4().hex[:8]}" if named else None
    state: Any = _goes_on(saved, name, cancelled_after=after, return_state=True)
    assert ["bought"] * after + ["stopped"] * (4 - after) == ENDS
    (identity,) = opened_by(block.ledger(), str(state.state_details.flow_run_id))
    assert platform.jobs_of(identity.uid) == after
    (stop,) = described_in_full(block.ledger(), identity)["stops"]
    assert "cancelled in Prefect" in stop["because"]


def test_a_cancellation_stands_although_another_process_of_the_run_fails_after_it(
    block: QuantumSession, platform: Platform, saved: str
) -> None:
    """Prefect then shows the run as failed. It began it twice, as after a laptop's sleep."""
    state: Any = _goes_on(saved, overwritten=True, return_state=True)
    assert ["bought", *["stopped"] * 3] == ENDS
    (identity,) = opened_by(block.ledger(), str(state.state_details.flow_run_id))
    assert platform.jobs_of(identity.uid) == 1


def test_a_retried_run_that_is_cancelled_again_at_once_buys_nothing(
    block: QuantumSession, platform: Platform, saved: str
) -> None:
    """The retry lifts the first cancellation only; what comes after the retry is a new one."""
    with get_client(sync_client=True) as client:
        run_id = client.create_flow_run(_goes_on, parameters={"block": saved}).id

    def go(cancelled_after: int) -> None:
        ENDS.clear()
        parameters = {"block": saved, "cancelled_after": cancelled_after}
        run_flow(_goes_on, flow_run=flow_run(run_id), parameters=parameters, return_type="state")

    go(1)
    assert ["bought", *["stopped"] * 3] == ENDS
    for expected in (1, 4):
        _set(run_id, Cancelled())
        _set(run_id, AwaitingRetry())
        go(0 if expected == 1 else -1)
        assert ["bought"] * expected + ["stopped"] * (4 - expected) == ENDS
        assert platform.jobs_of(_uid(block, run_id)) == expected


def test_a_run_that_was_killed_and_then_cancelled_is_stopped_for_whoever_comes_next(
    block: QuantumSession, platform: Platform, saved: str
) -> None:
    """A script, or another flow run, that opens the name buys nothing until somebody resumes it."""
    name = f"killed-{uuid4().hex[:8]}"
    with pytest.raises(_KilledError):
        _one_and_killed(saved, name)
    loaded = load_block(saved)
    experiment = loaded.experiment(name)
    with get_client(sync_client=True) as client:
        run_id = next(
            one.id for one in client.read_flow_runs() if one.parameters.get("name") == name
        )
    _cancel(run_id)
    experiment.run_sampler([_measured(0)], shots=8)  # recorded
    with pytest.raises(ExperimentStoppedError, match="cancelled in Prefect"):
        experiment.run_sampler([_measured(1)], shots=8)
    assert platform.jobs_of(experiment.uid) == 1
    resume(Journal(block.ledger(), experiment.uid), experiment.identity, "a person")
    again = loaded.experiment(name)
    again.run_sampler([_measured(0)], shots=8)
    again.run_sampler([_measured(1)], shots=8)
    assert platform.jobs_of(experiment.uid) == 2


@flow
def _one_and_killed(block: str, name: str) -> None:
    with load_block(block).experiment(name) as experiment:
        experiment.run_sampler([_measured(0)], shots=8)
        raise _KilledError
