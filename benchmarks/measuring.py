"""Shared by all parts: figures with their spread, and the report of a part."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number: the median of some rounds, and the lowest and highest of them."""

    value: float
    low: float
    high: float
    rounds: int = 1

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """Return the figure of one value per round."""
        taken = sorted(values)
        return cls(statistics.median(taken), taken[0], taken[-1], len(taken))

    def text(self, digits: int = 2) -> str:
        """Return the number, followed by its spread in brackets if there were several rounds."""
        said = f"{self.value:,.{digits}f}"
        if self.rounds == 1:
            return said
        return f"{said} ({self.low:,.{digits}f} … {self.high:,.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Return the figure of the ratios of pairs, each measured one after the other."""
    return Figure.of(one / other for one, other in zip(ours, theirs, strict=True))


def peak_mb() -> float:
    """Return the peak memory of this process in MB, without its parent's."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


@dataclass(frozen=True)
class Table:
    """A table of the report. Cells are text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Part:
    """The results of one part of the benchmarks.

    Attributes:
        figures: The figures that have targets, by target key.
        missing: Why a figure could not be measured, by target key.
        tables: Tables for people.
        data: All measurements, as JSON.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
