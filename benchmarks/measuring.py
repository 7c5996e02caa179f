"""What all parts have in common: figures with their spread, and what a part reports."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number: the median of so many rounds, and the lowest and highest of them."""

    value: float
    low: float
    high: float
    rounds: int = 1

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """Return the figure of the values that the rounds gave."""
        taken = sorted(values)
        return cls(statistics.median(taken), taken[0], taken[-1], len(taken))

    def text(self, digits: int = 2) -> str:
        """Return the number, and in brackets its spread if there is any."""
        said = f"{self.value:,.{digits}f}"
        if self.rounds == 1:
            return said
        return f"{said} ({self.low:,.{digits}f} … {self.high:,.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Return the figure of the ratios of pairs that were measured one after the other."""
    return Figure.of(one / other for one, other in zip(ours, theirs, strict=True))


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB; its parent's is not counted."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


@dataclass(frozen=True)
class Table:
    """A table of a report. The cells are text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Part:
    """What one part of the benchmarks found.

    Attributes:
        figures: The numbers that targets are set for, by the targets' keys.
        missing: Why a number could not be measured, by the target's key.
        tables: What people read.
        data: All that was measured, as JSON.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
