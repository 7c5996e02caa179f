"""What a job runs on the QPU: how often, and how long each time. Charges follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625
"""The accuracy of requests without one [docs]."""


@dataclass(frozen=True)
class Runs:
    """Equal executions.

    Attributes:
        executions: How many.
        gate_seconds: How long the gates of each take.
        readout_seconds: How long the measurement of each takes, where that is known apart.
    """

    executions: int
    gate_seconds: float
    readout_seconds: float = 0.0

    @property
    def length_seconds(self) -> float:
        """How long each takes, without the delay before the next one."""
        return self.gate_seconds + self.readout_seconds


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one job runs.

    Attributes:
        program: ``sampler``, ``estimator``, ``executor`` or ``noise-learner``: what was asked for.
        family: The QPU's family in lower case, such as ``heron``; empty if it is not known.
        level: The resilience level; 0 for programs without one.
        rep_delay_seconds: The delay after each execution.
        runs: Its executions, without those that the platform adds to mitigate errors.
        learning: Executions that the platform adds to learn the readout errors; ``None`` if it
            does not mitigate them.
        noise_factors: How often ZNE at the platform repeats the gates; one factor of 1 without it.
        most_sampling: How many times more executions PEC at the platform may take.
    """

    program: str
    family: str
    level: int
    rep_delay_seconds: float
    runs: Sequence[Runs]
    learning: Runs | None = None
    noise_factors: Sequence[float] = (1.0,)
    most_sampling: float = 1.0

    @property
    def executions(self) -> int:
        """How many executions were asked for."""
        return sum(one.executions for one in self.runs)

    @property
    def amplified(self) -> Sequence[Runs]:
        """The executions that it takes with the gates repeated for ZNE."""
        return [
            Runs(one.executions, factor * one.gate_seconds, one.readout_seconds)
            for one in self.runs
            for factor in self.noise_factors
        ]

    def seconds(self, runs: Sequence[Runs], execution_overhead: float) -> float:
        """Return how long executions occupy the QPU.

        Args:
            runs: The executions.
            execution_overhead: What each takes beside its circuit and the delay, in seconds.
        """
        each = self.rep_delay_seconds + execution_overhead
        return math.fsum(one.executions * (each + one.length_seconds) for one in runs)


@dataclass(frozen=True)
class Forecast:
    """What one job is expected to be charged, in seconds.

    Attributes:
        seconds: The expected charge.
        low: The lower end: nine of ten charges lie between both ends.
        high: The upper end.
        level: The resilience level; 0 for programs without one.
        executions: How often circuits run.
        execution_seconds: How long these take, without the constant.
        model: Which model says so: ``v2`` or ``executor``.
        evidence: What the model stands on: ``public records, n=12``, ``no public record``, or
            ``this ledger, n=5``.
    """

    seconds: float
    low: float
    high: float
    level: int
    executions: int
    execution_seconds: float
    model: str
    evidence: str

    def __str__(self) -> str:
        ends = f"{self.low:.3g} to {self.high:.3g} s"
        return f"{self.seconds:.3g} s ({ends}; {self.model}, {self.evidence})"

    def recorded(self) -> dict[str, Any]:
        """Return the fields of an intent that tell it."""
        return {
            "level": self.level,
            "executions": self.executions,
            "execution_seconds": round(self.execution_seconds, 6),
            "expected_seconds": [round(one, 3) for one in (self.seconds, self.low, self.high)],
        }
