"""The report for people: tables in Markdown."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import psutil

from benchmarks.measuring import Part, Table
from benchmarks.targets import Verdict

_PACKAGES = ("prefect", "qiskit", "qiskit-ibm-runtime")


def about_the_machine() -> dict[str, Any]:
    """Return the machine and the versions of the measurement."""
    return {
        "moment": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_at_the_start": psutil.getloadavg()[0],
        "system": platform.platform(terse=True),
        "python": sys.version.split()[0],
        **{name: version(name) for name in _PACKAGES},
    }


def markdown(
    parts: Mapping[str, Part], verdicts: Sequence[Verdict], machine: Mapping[str, Any]
) -> str:
    """Return all tables. Numbers are medians, with the lowest and highest round in brackets."""
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    tables = [_targets(verdicts), *(table for part in parts.values() for table in part.tables)]
    return "\n\n".join([f"Measured on {about}.", *map(_table, tables)]) + "\n"


def _targets(verdicts: Sequence[Verdict]) -> Table:
    rows = [
        [
            one.target.text,
            f"{'≤' if one.target.side == 'at most' else '≥'} {one.target.limit:.4g}",
            "not measured" if one.figure is None else one.figure.text(3),
            one.reason.splitlines()[0] if one.figure is None else "yes" if one.met else "no",
        ]
        for one in verdicts
    ]
    return Table("Targets", ["figure", "target", "measured", "met"], rows)


def _table(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([f"### {table.title}", "", *(f"| {' | '.join(line)} |" for line in cells)])
