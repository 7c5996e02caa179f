"""What happens to inherited objects when this process forks, as ``multiprocessing`` does on Linux.

A fork copies the memory and one thread. So a child inherits connections that its parent still uses:
the answer to one's request would reach the other. It also inherits locks that nobody in it will
ever release. Here, in one place, a child makes its own locks, and each part drops what it must not
share; it connects again when it is next used.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, Self
from weakref import WeakSet

_LOOK_SECONDS = 0.005
_WAIT_SECONDS = 10.0
"""How long a fork waits until nobody is at work with what must be left alone then."""


class Inherited(Protocol):
    """A part that a forked child inherits."""

    def after_fork(self) -> None:
        """Drop what belongs to the parent; called in the child, before its own code."""


class ClosedAtFork(Protocol):
    """A part with connections that even an idle child must not have."""

    def before_fork(self) -> None:
        """Close idle connections; called in the parent, which opens them again when needed."""


_inherited: WeakSet[Inherited] = WeakSet()
_closed: WeakSet[ClosedAtFork] = WeakSet()
_occupancies: WeakSet[Occupancy] = WeakSet()


def renew_after_fork(part: Inherited) -> None:
    """Call ``part.after_fork()`` in each child that this process forks, while the part lives."""
    _inherited.add(part)


def close_before_fork(part: ClosedAtFork) -> None:
    """Call ``part.before_fork()`` each time before this process forks, while the part lives."""
    _closed.add(part)


class ForkLock:
    """A lock that is free in a forked child, unless the thread that forked holds it.

    Args:
        reentrant: Whether its holder may take it again.
    """

    def __init__(self, *, reentrant: bool = False) -> None:
        self._reentrant = reentrant
        self._lock = self._new()
        self._holder: int | None = None
        self._depth = 0
        renew_after_fork(self)

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._holder = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(self, *_error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._holder = None
        self._lock.release()

    def after_fork(self) -> None:
        """Replace the lock if a thread that is not in this process holds it."""
        if self._holder != threading.get_ident():
            self._lock, self._holder, self._depth = self._new(), None, 0

    def _new(self) -> Any:
        return threading.RLock() if self._reentrant else threading.Lock()


class Occupancy:
    """Says who is at work with something; a fork waits until nobody is.

    Attributes:
        was_cut_off: Whether this process was forked while somebody was at work all the same.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forking: Counter[int] = Counter()
        self.was_cut_off = False
        _occupancies.add(self)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Be at work in a ``with`` block; it begins after a fork that is under way."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: me in self._inside or not self._forking.keys() - {me})
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                self._inside = +self._inside
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody begin, and wait for those at work; called in the thread that forks."""
        me = threading.get_ident()
        with self._changed:
            self._forking[me] += 1
            # Not for itself: it would wait in vain.
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, _WAIT_SECONDS)

    def open(self) -> None:
        """Let the others go on; called in the parent."""
        with self._changed:
            self._forking[threading.get_ident()] -= 1
            self._forking = +self._forking
            self._changed.notify_all()

    def inherit(self) -> None:
        """Begin anew in a child."""
        self.was_cut_off = self.was_cut_off or bool(self._inside)
        self._changed = threading.Condition()
        self._inside, self._forking = Counter(), Counter()


def _before() -> None:
    for occupancy in list(_occupancies):
        occupancy.close()
    for part in list(_closed):
        part.before_fork()
    _wait_for_imports()  # last: all that was waited for may have imported something


def _wait_for_imports() -> None:
    """Wait until no other thread is in the middle of an import.

    Python keeps a lock for each module that is being imported. A child inherits it taken, and hangs
    when it needs the module. This package and its libraries import much when it is first used.
    """
    me, until = threading.get_ident(), time.monotonic() + _WAIT_SECONDS
    if _imports(sys._current_frames()[me]):  # noqa: SLF001 - the only look at all threads' stacks
        return  # it would wait for itself, or for somebody who waits for it
    while time.monotonic() < until:
        others = sys._current_frames().items()  # noqa: SLF001
        if not any(_imports(stack) for thread, stack in others if thread != me):
            return
        time.sleep(_LOOK_SECONDS)


def _imports(stack: FrameType | None) -> bool:
    """Whether a thread is in an import: looks for a module, runs it, or waits for its lock."""
    while stack is not None:
        if stack.f_code.co_filename.startswith("<frozen importlib"):
            return True
        stack = stack.f_back
    return False


def _after_in_parent() -> None:
    for occupancy in list(_occupancies):
        occupancy.open()


def _after_in_child() -> None:
    for occupancy in list(_occupancies):
        occupancy.inherit()
    for part in list(_inherited):
        part.after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
