"""Which attempt of a flow run this process runs, and which calls it has made there.

Prefect may begin a flow run once more while a process still runs it: a laptop sleeps, its run
counts as crashed and is retried elsewhere, and the laptop wakes. Prefect's server then shows one
run that has begun twice, and does not say to which attempt a call belongs. But a process sees a run
for the first time in its own attempt, and the run's states tell which later attempts may be its
own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State

from session_block.environment.forks import ForkLock

_MOST_RUNS = 1000
"""How many flow runs to remember; the latest ones. A process rarely runs many at once."""

_AWAITING_RETRY = "AwaitingRetry"


@dataclass(frozen=True)
class FlowAttempt:
    """An attempt of a flow run.

    Attributes:
        number: Its number, counted from 1.
        began: When it began; ``None`` if Prefect shows no beginning.
        latest: The number of the latest attempt, which may run in another process at the same time.
    """

    number: int
    began: datetime | None
    latest: int


class FlowAttempts:
    """What this process remembers of the flow runs whose code it runs.

    Limit: a flow run that somebody sets to *Failed* by hand and retries, while its process goes on,
    is taken for one that has ended.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._numbers: dict[UUID, int] = {}
        self._called: dict[UUID, dict[str, UUID]] = {}

    def attempt(self, run: UUID, states: Sequence[State[Any]]) -> FlowAttempt:
        """Return the attempt of a flow run that this process runs.

        Args:
            run: The flow run's ID.
            states: All its states, in any order.
        """
        begun = _beginnings(states)
        with self._lock:
            number = self._numbers.pop(run, 0) or len(begun)
            while number < len(begun) and begun[number].goes_on:
                number += 1
            self._numbers[run] = number
            self._forget()
        began = begun[number - 1].at if 0 < number <= len(begun) else None
        return FlowAttempt(max(number, 1), began, len(begun))

    def note_call(self, caller: UUID, call: str, run: UUID) -> None:
        """Remember which flow run a call of this process got.

        Args:
            caller: The calling flow run.
            call: Which of its calls it is.
            run: The called flow run.
        """
        with self._lock:
            self._called.setdefault(caller, {})[call] = run
            self._forget()

    def called(self, caller: UUID, call: str) -> UUID | None:
        """Return the flow run that a call of this process got; ``None`` if it made none."""
        with self._lock:
            return self._called.get(caller, {}).get(call)

    def _forget(self) -> None:
        for known in (self._numbers, self._called):
            while len(known) > _MOST_RUNS:
                known.pop(next(iter(known)))


FLOW_ATTEMPTS = FlowAttempts()
"""This process's own."""


@dataclass(frozen=True)
class _Beginning:
    """When an attempt began, and whether the process of the attempt before may run it.

    That is certain of an in-process retry, and possible if the attempt before had ended. Otherwise
    the process before may still run its own attempt, so another one runs this.
    """

    at: datetime
    goes_on: bool


def _beginnings(states: Sequence[State[Any]]) -> list[_Beginning]:
    """Return the beginnings of attempts: each *Running*, but for the end of a pause."""
    found: list[_Beginning] = []
    before: State[Any] | None = None
    ended = False
    for one in sorted(states, key=lambda one: one.timestamp):
        if not one.is_running():
            # A crash may be reported of a process that lives, and a cancellation be ignored.
            ended = ended or one.is_failed() or one.is_completed() or one.is_paused()
        elif before is None or not before.is_paused():
            retried = before is not None and before.name == _AWAITING_RETRY
            found.append(_Beginning(one.timestamp, ended or retried))
            ended = False
        else:
            ended = False
        before = one
    return found
