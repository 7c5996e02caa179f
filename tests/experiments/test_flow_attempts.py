"""Which attempt of a flow run a process runs, told from the run's states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    Suspended,
)

from session_block.experiments.flow_attempts import FlowAttempts

BEGAN = datetime(2026, 11, 29, tzinfo=UTC)


def _history(*states: State[Any]) -> list[State[Any]]:
    """Return states with times, one second apart."""
    return [
        one.model_copy(update={"timestamp": BEGAN + timedelta(seconds=number)})
        for number, one in enumerate(states)
    ]


FIRST = (Pending(), Running())


@pytest.mark.parametrize(
    ("later", "number"),
    [
        ((AwaitingRetry(), Running(name="Retrying")), 2),
        ((Failed(), AwaitingRetry(), Pending(), Running()), 2),
        ((Completed(), Scheduled(), Pending(), Running()), 2),
        ((Suspended(), Scheduled(name="Resuming"), Pending(), Running()), 2),
        ((Paused(), Running()), 1),
        ((Crashed(), AwaitingRetry(), Pending(), Running(name="Rerunning")), 1),
        ((Cancelled(), AwaitingRetry(), Pending(), Running(name="Rerunning")), 1),
        ((Scheduled(), Pending(), Running(name="Rerunning")), 1),
        ((Crashed(), Scheduled(), Running(), AwaitingRetry(), Running(name="Retrying")), 1),
        ((AwaitingRetry(), Running(), Crashed(), Scheduled(), Pending(), Running()), 2),
    ],
)
def test_a_process_stays_in_its_attempt(later: tuple[State[Any], ...], number: int) -> None:
    """An in-process retry is its own; what begins after a crash is another process's."""
    run, attempts = uuid4(), FlowAttempts()
    assert attempts.attempt(run, _history(*FIRST)).number == 1
    states = _history(*FIRST, *later)
    found = attempts.attempt(run, states[::-1])
    assert found.number == number
    assert found.began in [one.timestamp for one in states if one.is_running()]
    sees_it_now = FlowAttempts()
    assert sees_it_now.attempt(run, states).number == found.latest


def test_a_run_without_a_beginning_is_in_its_first_attempt() -> None:
    """As one that is only pending, and one whose states are lost."""
    attempts = FlowAttempts()
    for states in ([], _history(Pending())):
        found = attempts.attempt(uuid4(), states)
        assert (found.number, found.began) == (1, None)


def test_the_beginning_that_comes_later_is_the_first() -> None:
    """A process may look before Prefect shows that its run has begun."""
    run, attempts = uuid4(), FlowAttempts()
    assert attempts.attempt(run, _history(Pending())).number == 1
    found = attempts.attempt(run, _history(*FIRST))
    assert (found.number, found.began) == (1, BEGAN + timedelta(seconds=1))


def test_only_the_latest_runs_are_remembered() -> None:
    """A process that serves flows for months does not grow."""
    attempts, first = FlowAttempts(), uuid4()
    attempts.attempt(first, _history(*FIRST))
    attempts.note_call(first, "call", uuid4())
    for _ in range(1000):
        other = uuid4()
        attempts.attempt(other, _history(*FIRST))
        attempts.note_call(other, "call", uuid4())
    assert attempts.called(first, "call") is None
    assert attempts.called(other, "call") is not None
