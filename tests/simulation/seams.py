"""What of the product is replaced in simulated worlds: what would wait for something real.

A lock waits in virtual time, a thread is a turn of the schedule, and what a real process has once
each simulated process has for itself. Prefect's client is the world's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from session_block import aio, prefect_context
from session_block.environment import forks
from session_block.experiments import (
    experiment,
    flow_attempts,
    flow_places,
    openings,
    replay,
    run_end,
    task_tries,
    unclosed,
)
from session_block.sessions import stops
from session_block.submissions import polling, rate_limit, reconcile

from .schedule import Killed
from .wire import be, of_this_thread
from .world import Process


def get_ident() -> int:
    """Return which of the world's threads runs; real IDs are given again as chance has it."""
    return of_this_thread().world.schedule.current.number


LOCK_SECONDS = 0.02
"""How soon a thread that waits for a lock or for another thread looks again, at first."""


def _look_again(since: float) -> None:
    """Let virtual time pass in a wait; the longer it lasts, the less often it is looked."""
    process = of_this_thread()
    process.check_alive()
    schedule = process.world.schedule
    schedule.sleep(max(LOCK_SECONDS, (schedule.now - since) / 10))


class SimulatedLock:
    """A lock whose waiting takes virtual time."""

    def __init__(self) -> None:
        self._holder: int | None = None
        self._depth = 0

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        if self._depth and not self._may_enter():
            since = of_this_thread().world.schedule.now
            while self._depth:
                _look_again(since)
        self._holder = get_ident()
        self._depth += 1
        return True

    def _may_enter(self) -> bool:
        return False

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return bool(self._depth)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SimulatedRLock(SimulatedLock):
    """A lock that its holder may take again."""

    def _may_enter(self) -> bool:
        return self._holder == get_ident()


class SimulatedThread:
    """A thread of a simulated process; see :class:`threading.Thread`."""

    def __init__(
        self,
        target: Callable[..., object],
        name: str = "thread",
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        daemon: bool = True,  # noqa: ARG002 - as the real one's
    ) -> None:
        self._work = partial(target, *args, **(kwargs or {}))
        self._name = name
        self._alive = False

    def start(self) -> None:
        """Begin it: its turn comes when the thread that starts it waits."""
        process, self._alive = of_this_thread(), True

        def run() -> None:
            be(process)
            try:
                self._work()
            except Killed:
                pass
            finally:
                self._alive = False

        schedule = process.world.schedule
        schedule.begin(f"{process.name} {self._name}", run, at=schedule.now)

    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._alive

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        schedule = of_this_thread().world.schedule
        since = schedule.now
        until = float("inf") if timeout is None else since + timeout
        while self._alive and schedule.now < until:
            _look_again(since)


class OfProcess:
    """What each simulated process has once."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Process, Any] = WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        process = of_this_thread()
        if process not in self._made:
            self._made[process] = self._make()
        return getattr(self._made[process], name)


_WITH_THREADS = (
    aio,
    forks,
    openings,
    polling,
    rate_limit,
    reconcile,
    replay,
    run_end,
    stops,
    task_tries,
)


def install() -> None:
    """Replace it all, in this process, for good."""
    simulated = SimpleNamespace(
        **{
            **vars(threading),
            "Lock": SimulatedLock,
            "RLock": SimulatedRLock,
            "Thread": SimulatedThread,
            "get_ident": get_ident,
        }
    )
    for module in _WITH_THREADS:
        module.threading = simulated  # type: ignore[attr-defined]
    for cached in vars(flow_places._PrefectCaller).values():
        if isinstance(cached, cached_property):
            cached.lock = nullcontext()  # type: ignore[attr-defined]  # before Python 3.12 it locks
    ends = OfProcess(run_end.RunEnds)
    attempts = OfProcess(flow_attempts.FlowAttempts)
    replaced: list[tuple[Any, str, Any]] = [
        (openings, "OPENINGS", OfProcess(openings.Openings)),
        (flow_attempts, "FLOW_ATTEMPTS", attempts),
        (flow_places, "FLOW_ATTEMPTS", attempts),
        (experiment, "UNCLOSED", OfProcess(unclosed.Unclosed)),
        (run_end, "RUN_ENDS", ends),
        (experiment, "RUN_ENDS", ends),
        # Reports and task runs for people to look at are no part of what is simulated.
        (experiment.Experiment, "watch", lambda _: None),
        (prefect_context, "visibly", lambda _, call: call()),
        (prefect_context, "has_server_that_stays", prefect_context.inside),
        (prefect_context, "own_client", _client),
        (prefect_context, "get_client", _client),
        (flow_places, "get_client", _client),
        (prefect_context, "_root_of", _root_of),
    ]
    for owner, name, value in replaced:
        setattr(owner, name, value)


def _client(**_: Any) -> Any:
    process = of_this_thread()
    return process.world.prefect.client(process)


def _root_of(flow_run_id: Any) -> str:
    return str(of_this_thread().world.prefect.root_of(flow_run_id))
