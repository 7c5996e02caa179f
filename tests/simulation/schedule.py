"""Virtual time, and the one thread that runs: what a seed decides happens in the same order again.

Each simulated process is a thread, because the core is written for threads. Only one of them runs
at any moment. It hands over where it waits: the thread whose turn comes next by virtual time runs.
"""

from __future__ import annotations

import heapq
import sys
import threading
import traceback
from collections.abc import Callable
from itertools import count

REAL_SECONDS = 20.0
"""How long a thread may run without handing over, in real time, before the simulation gives up."""


class Killed(BaseException):
    """The process of this thread was killed. Nothing that it still does has an effect."""


class StuckError(Exception):
    """A thread waits for something real, so virtual time cannot go on."""


class Turn:
    """One thread's share of virtual time.

    Attributes:
        name: For the story.
        number: Which of the world's threads it is.
    """

    def __init__(
        self, schedule: Schedule, name: str, number: int, work: Callable[[], None]
    ) -> None:
        self.name = name
        self.number = number
        self._schedule = schedule
        self._work = work
        self._go = threading.Lock()  # taken, until it is this thread's turn
        self._go.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.begun = False

    def begin_or_go(self) -> None:
        """Let the thread run until it hands over."""
        if self.begun:
            self._go.release()
        else:
            self.begun = True
            self._thread.start()

    def wait(self) -> None:
        """Hand over, and return when this thread's turn has come."""
        self._go.acquire()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._schedule.hand_over(None)

    def stack(self) -> str:
        """Return where the thread stands, for :class:`StuckError`."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return "" if frame is None else "".join(traceback.format_stack(frame))


class Schedule:
    """Virtual time. ``now`` is in seconds from the world's beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Turn | Callable[[], None]]] = []
        self._order = count()
        self._numbers = count(1)
        self._over = threading.Lock()  # taken, until all is over
        self._over.acquire()
        self._current: Turn | None = None
        self._failure: BaseException | None = None

    @property
    def current(self) -> Turn:
        """The thread that runs."""
        assert self._current is not None, "nothing of the simulation runs"
        return self._current

    def begin(self, name: str, work: Callable[[], None], *, at: float) -> None:
        """Run a function in a thread of its own from a moment on."""
        self._put(at, Turn(self, name, next(self._numbers), work))

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        """Call a function at a moment, between the turns of threads; it must not wait."""
        self._put(moment, happen)

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass in the calling thread, and others run meanwhile."""
        me = self.current
        self._put(self.now + max(seconds, 0.0), me)
        if self._queue[0][2] is me:  # nobody else is due before
            self.now = heapq.heappop(self._queue)[0]
            return
        self.hand_over(me)

    def hand_over(self, me: Turn | None) -> None:
        """Let the next thread run, and wait for this one's turn unless it has ended."""
        following = self._next()
        if following is me and me is not None:
            self._current = me
            return
        self._current = following
        if following is None:
            self._over.release()
        else:
            following.begin_or_go()
        if me is not None:
            me.wait()

    def run(self) -> None:
        """Run until nothing is left to do.

        Raises:
            StuckError: A thread waits for something real.
            Exception: What the world itself raised.
        """
        following = self._next()
        if following is None:
            return
        self._current = following
        following.begin_or_go()
        before = -1.0
        while not self._over.acquire(timeout=REAL_SECONDS):
            if self.now == before:
                stuck = self._current
                where = "" if stuck is None else stuck.stack()
                raise StuckError(f"{stuck and stuck.name} does not hand over:\n{where}")
            before = self.now
        if self._failure is not None:
            raise self._failure

    def _put(self, moment: float, what: Turn | Callable[[], None]) -> None:
        heapq.heappush(self._queue, (moment, next(self._order), what))

    def _next(self) -> Turn | None:
        while self._queue:
            moment, _, what = heapq.heappop(self._queue)
            self.now = max(self.now, moment)
            if isinstance(what, Turn):
                return what
            try:
                what()
            except Exception as error:  # noqa: BLE001 - the world's own fault, and no process's
                self._failure = error
                return None
        return None
