"""Lost answers and refusals at the one request that must not happen twice, within one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from qiskit import QuantumCircuit
from support import Platform

from session_block import QuantumSession
from session_block.errors import SubmissionRejectedError
from session_block.local_platform import Admin

POST: dict[str, Any] = {"method": "POST", "path": "/jobs"}


@pytest.fixture
def admin(platform: Platform) -> Iterator[Admin]:
    """What scripts the faults of the tests' platform."""
    admin = Admin.of(platform.info)
    admin.clear_faults()
    yield admin
    admin.clear_faults()


@pytest.fixture
def circuit() -> QuantumCircuit:
    """A circuit that any backend takes as it is."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_connection_that_breaks_at_the_post_makes_one_job(
    platform: Platform, block: QuantumSession, admin: Admin, circuit: QuantumCircuit, effect: str
) -> None:
    """P6: a lost answer is unknown, not failed; the look-up by tag settles it, in the same call."""
    experiment = block.experiment("cut")
    admin.add_fault(kind="drop", effect=effect, **POST)
    assert experiment.run_sampler([circuit], shots=8)[0].data.c.num_shots == 8
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 1


def test_a_refusal_of_the_request_itself_is_asked_once_in_each_call(
    platform: Platform, block: QuantumSession, admin: Admin, circuit: QuantumCircuit
) -> None:
    """What the platform refused as wrong is refused again; the error says what it said."""
    admin.add_fault(kind="status", status=400, message="as the test wants", times=None, **POST)
    for _ in range(2):
        experiment = block.experiment("wrong")
        with pytest.raises(SubmissionRejectedError, match="as the test wants"):
            experiment.run_sampler([circuit], shots=8)
    experiment.cancel_session()
    (rule,) = admin.faults()
    assert rule["seen"] == 2
    assert platform.jobs_of(experiment.uid) == 0


def test_a_refusal_that_is_being_handled_says_nothing_of_the_next_submission(
    platform: Platform, block: QuantumSession, admin: Admin, circuit: QuantumCircuit
) -> None:
    """P6: a lost answer is unknown also while the caller handles an earlier 403."""
    experiment = block.experiment("handled")
    admin.add_fault(kind="status", status=403, **POST)
    admin.add_fault(kind="drop", effect="after", nth=2, **POST)
    try:
        experiment.run_sampler([circuit], shots=8)
    except SubmissionRejectedError:
        result = experiment.run_sampler([circuit], shots=8)
    assert result[0].data.c.num_shots == 8
    experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 1
