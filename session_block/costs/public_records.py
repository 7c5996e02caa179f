"""The charges of real jobs as their owners published them; estimates are fitted to them.

The records are ``public_jobs.csv``, unchanged. Its column ``source`` says whose jobs they are:

- ``N8N``: ``TuguiDragos/n8n-nodes-ibm-quantum`` on GitHub; Open plan, Heron QPUs.
- ``GV``: ``SSIT-Q/gradvar-phoenix`` on GitHub; Flex plan, Nighthawk QPUs.

All are jobs of IBM's server-side programs (family ``v2``). Charges are whole seconds, so a job of 2
to 3 s is known to within a quarter only. What a record does not tell is taken as follows:

- Executions are shots × circuits × bases. A record that tells its observables has a basis for
  each. At resilience level 1 and above fewer than 64 shots run as 64 [real].
- An Estimator's resilience level is 1, its default [docs].
- Circuits are as short as those that users try first: 2 µs on Heron, most of it the readout; 5.4 µs
  on Nighthawk, where an execution of 11.4 µs was told. A depth and a gate's time in the notes give
  the length.
- A repetition delay that is not told is the family's: 250 µs on Heron, 1 µs on Nighthawk [real].
- ZNE has its factors from the notes, or 1, 3 and 5 at resilience level 2 [docs].
- A noise learner's one layer is measured in 9 bases at 6 depths, its defaults [client source].
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Self

from session_block.costs.work import DEFAULT_PRECISION, Runs, Work

LEAST_MITIGATED_SHOTS = 64
"""At resilience level 1 and above fewer shots run as so many [real]."""

LEARNING_RANDOMIZATIONS = 32
ZNE_FACTORS = (1.0, 3.0, 5.0)

_MICROSECOND = 1e-6
_TYPICAL = {"heron": (0.4e-6, 1.6e-6), "nighthawk": (3.2e-6, 2.2e-6)}
"""Seconds of the gates and of the readout of a circuit that a record does not tell of."""

_REP_DELAY_US = {"heron": 250.0, "nighthawk": 1.0}
_LEARNED_CIRCUITS = 9 * 6
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_GATES = re.compile(r"depth (\d+) \(\w+ gates of (\d+) ns\)")
_FACTORS = re.compile(r"\bZNE ([\d.]+(?:-[\d.]+)+)")
_OBSERVABLES = re.compile(r"\b(\w+) observables?\b")
_RANDOMIZATIONS = re.compile(r"(\d+) randomi[sz]ations? x (\d+) shots")


@dataclass(frozen=True)
class PublicRecord:
    """One published job.

    Attributes:
        source: Whose job it was.
        status: How it ended; only those that are ``Completed`` are fitted.
        code: The code of the reason if it failed.
        charged_seconds: What it was charged.
        notes: What else its owner told.
        work: What it ran, as far as the record says.
    """

    source: str
    status: str
    code: int | None
    charged_seconds: float
    notes: str
    work: Work

    @property
    def completed(self) -> bool:
        """Whether it completed; the charge of a failed job does not tell what it would cost."""
        return self.status == "Completed"

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Self:
        """Read one row of the file."""
        return cls(
            source=row["source"],
            status=row["status"],
            code=int(row["code"]) if row["code"] else None,
            charged_seconds=float(row["charged_seconds"]),
            notes=row["notes"],
            work=_work(row),
        )


def read_records(path: Path | None = None) -> list[PublicRecord]:
    """Return the records of a file in the form of ``public_jobs.csv``; that one by default."""
    text = (
        files("session_block.costs").joinpath("public_jobs.csv").read_text("utf-8")
        if path is None
        else path.read_text("utf-8")
    )
    return [PublicRecord.of(row) for row in csv.DictReader(io.StringIO(text))]


@cache
def completed_records() -> tuple[PublicRecord, ...]:
    """Return the jobs of ``public_jobs.csv`` that completed."""
    return tuple(one for one in read_records() if one.completed)


def _work(row: Mapping[str, str]) -> Work:
    program, family = row["program"], row["family"]
    level = int(row["resilience"] or 1) if program == "estimator" else 0
    gates, readout = _TYPICAL.get(family, _TYPICAL["heron"])
    if found := _GATES.search(row["notes"]):
        gates = int(found[1]) * int(found[2]) * 1e-9
    shots = _shots(row)
    return Work(
        program=program,
        family=family,
        level=level,
        rep_delay_seconds=_rep_delay_us(row) * _MICROSECOND,
        runs=[Runs(_executions(row, shots, level), gates, readout)],
        learning=Runs(LEARNING_RANDOMIZATIONS * _mitigated(shots), 0.0, readout) if level else None,
        noise_factors=_noise_factors(row["notes"], level),
    )


def _rep_delay_us(row: Mapping[str, str]) -> float:
    told = row["rep_delay_us"]
    return float(told) if told else _REP_DELAY_US.get(row["family"], _REP_DELAY_US["heron"])


def _noise_factors(notes: str, level: int) -> tuple[float, ...]:
    if found := _FACTORS.search(notes):
        return tuple(map(float, found[1].split("-")))
    return ZNE_FACTORS if level > 1 else (1.0,)


def _shots(row: Mapping[str, str]) -> int:
    """Return the shots of a circuit in one basis."""
    if row["shots"]:
        return int(row["shots"])
    precision = row["precision"]
    asked = DEFAULT_PRECISION if precision in {"", "default"} else float(precision)
    return math.ceil(1 / asked**2)


def _mitigated(shots: int) -> int:
    return max(shots, LEAST_MITIGATED_SHOTS)


def _executions(row: Mapping[str, str], shots: int, level: int) -> int:
    if found := _RANDOMIZATIONS.search(row["notes"]):
        return int(found[1]) * int(found[2]) * _LEARNED_CIRCUITS
    if row["executions"]:
        asked = int(row["executions"])
        return asked * _mitigated(shots) // shots if level else asked
    found = _OBSERVABLES.search(row["notes"])
    word = found[1] if found else "one"
    bases = int(word) if word.isdigit() else _NUMBERS.get(word, 1)
    return int(row["circuits"] or 1) * bases * (_mitigated(shots) if level else shots)
