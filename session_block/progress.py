"""How far an experiment is, as its own code tells whoever watches it."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One value of an experiment's objective.

    Attributes:
        value: The value.
        error: Its standard error.
    """

    value: float
    error: float = 0.0


class Progress:
    """What the code of an experiment has told of its progress in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self.total: int | None = None

    @property
    def points(self) -> list[Point]:
        """The objective's values so far, in order."""
        with self._lock:
            return list(self._points)

    def add(self, point: Point) -> None:
        """Take note of the objective's next value."""
        with self._lock:
            self._points.append(point)
