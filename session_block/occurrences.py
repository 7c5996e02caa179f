"""Pure: which of several equal requests a request is."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskAttempt:
    """The Prefect task run that makes a request, and which try of it this is.

    Attributes:
        nested: The task was called by another task.
    """

    task_run_id: str
    run_count: int
    nested: bool = False


class Occurrences:
    """Counts equal requests within one opening of an experiment.

    A task's retry asks for what its first try asked for. A request that raised leaves its
    occurrence to the next equal one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._returned: defaultdict[str, list[int]] = defaultdict(list)
        self._calls: Counter[tuple[TaskAttempt, str]] = Counter()
        self._bound: dict[tuple[str, str, int], int] = {}
        self._holders: dict[tuple[str, int], tuple[str, str, int] | None] = {}

    def take(self, fingerprint: str, task: TaskAttempt | None = None) -> int:
        """Return the occurrence, counted from 1, of a request of this fingerprint."""
        with self._lock:
            if task is None:
                return self._next(fingerprint)
            self._calls[task, fingerprint] += 1
            place = (task.task_run_id, fingerprint, self._calls[task, fingerprint])
            bound = self._bound.get(place)
            if bound is None or self._holders.get((fingerprint, bound)) != place:
                bound = self._bound[place] = self._next(fingerprint, place)
            elif bound in self._returned[fingerprint]:
                self._returned[fingerprint].remove(bound)
            return bound

    def give_back(self, fingerprint: str, occurrence: int) -> None:
        """Leave an occurrence whose request raised to the next equal request."""
        with self._lock:
            known = 0 < occurrence <= self._taken[fingerprint]
            if known and occurrence not in self._returned[fingerprint]:
                self._returned[fingerprint].append(occurrence)

    def keep(self, fingerprint: str, occurrence: int) -> None:
        """Take an occurrence back that was left, unless another request has it by now."""
        with self._lock:
            if occurrence in self._returned[fingerprint]:
                self._returned[fingerprint].remove(occurrence)

    def _next(self, fingerprint: str, place: tuple[str, str, int] | None = None) -> int:
        if returned := self._returned[fingerprint]:
            returned.sort()
            occurrence = returned.pop(0)
        else:
            self._taken[fingerprint] += 1
            occurrence = self._taken[fingerprint]
        self._holders[fingerprint, occurrence] = place
        return occurrence
