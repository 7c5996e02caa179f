"""Estimate what a run will cost before anything is submitted, and between which ends.

What single jobs and batches are charged is said by the model of the jobs' family: see
:mod:`session_block.costs.v2_model` and :mod:`session_block.costs.executor_model`. A session is
charged the time that it is active: its jobs, the gaps between them, and what passes after the last
one until it is closed (see :mod:`session_block.costs.session_time`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from session_block.costs.budget import Left
from session_block.costs.session_time import Gaps
from session_block.costs.work import Forecast
from session_block.errors import InvalidInputError
from session_block.references import ExecutionMode


class Estimate(BaseModel):
    """What one request will cost, and what may be spent; ``times(n)`` scales it to n such.

    Nine of ten times the charge should lie between ``low_seconds`` and ``high_seconds``.

    Attributes:
        jobs: The number of jobs.
        executions: How often circuits run in all jobs together: shots × points × bases. Of the
            family ``executor`` all executions are counted, also those that mitigate errors.
        usage_seconds: The expected QPU usage of all jobs together. A batch is charged this.
        allocation_left_seconds: What the instance's allocation has left; ``None`` for no limit.
        budget_jobs_left: How many jobs the limits of the Block and the experiment leave; ``None``
            for no limit.
        budget_seconds_left: How much usage these limits leave; ``None`` for no limit.
        fits: Whether the jobs may fit into what is left: the lower end does not exceed it.
        mode: What is charged: ``session``, ``batch`` or ``job``.
        expected_seconds: The expected charge: in a session the time that it is active, else the
            same as ``usage_seconds``.
        low_seconds: The lower end of the charge.
        high_seconds: The upper end.
        gap_seconds: What passes between the jobs of a session, in all; 0 outside sessions.
        idle_seconds: How long a session that nobody closes stays active after its last job; 0
            outside sessions. The lower end is without it.
        model: Which model says so: ``v2`` or ``executor``.
        evidence: What the model stands on: ``public records, n=12``, ``no public record``, or
            ``this ledger, n=5``; in a session also whether the gaps were measured.
        warnings: What may be exceeded, though the jobs may fit as well.

    Examples:
        >>> estimate = experiment.estimate_sampler([circuit], shots=1000)
        >>> estimate.jobs, estimate.executions, estimate.fits, estimate.model
        (1, 1000, True, 'executor')
        >>> many = estimate.times(20)
        >>> many.low_seconds < many.expected_seconds < many.high_seconds
        True
    """

    model_config = ConfigDict(frozen=True)

    jobs: int
    executions: int
    usage_seconds: float
    allocation_left_seconds: float | None
    budget_jobs_left: int | None
    budget_seconds_left: float | None
    fits: bool
    mode: ExecutionMode
    expected_seconds: float
    low_seconds: float
    high_seconds: float
    gap_seconds: float
    idle_seconds: float
    model: str
    evidence: str
    warnings: list[str]

    def __str__(self) -> str:
        ends = f"{self.low_seconds:.3g} to {self.high_seconds:.3g} s"
        batch = ""
        if self.mode == "session":
            batch = f"; the same as a batch: {self.usage_seconds:.3g} s"
        return (
            f"{self.jobs} {'job' if self.jobs == 1 else 'jobs'}: {self.expected_seconds:.3g} s "
            f"({ends}) of {self.mode} time{batch}; {self.model}, {self.evidence}"
        )

    def times(self, jobs: int) -> Estimate:
        """Return the estimate for several such requests, one after another.

        Raises:
            InvalidInputError: It is no whole number, or negative.

        Examples:
            >>> estimate = experiment.estimate_sampler([circuit], shots=1000)
            >>> estimate.times(20).executions
            20000
        """
        try:
            jobs = operator.index(jobs)
        except TypeError:
            raise InvalidInputError(f"{jobs!r} is no number of jobs; give an integer.") from None
        if jobs < 0:
            raise InvalidInputError(f"There cannot be {jobs} jobs. Give 0 or more.")
        idle = self.idle_seconds if jobs else 0.0
        low = jobs * self.low_seconds
        high = jobs * (self.high_seconds - self.idle_seconds) + idle
        usage, gaps = jobs * self.usage_seconds, jobs * self.gap_seconds
        over = self._over(low, high)
        enough_jobs = self.budget_jobs_left is None or jobs * self.jobs <= self.budget_jobs_left
        return self.model_copy(
            update={
                "jobs": jobs * self.jobs,
                "executions": jobs * self.executions,
                "usage_seconds": usage,
                "gap_seconds": gaps,
                "idle_seconds": idle,
                "expected_seconds": usage + gaps + idle,
                "low_seconds": low,
                "high_seconds": high,
                "fits": enough_jobs and not any(surely for surely, _ in over),
                "warnings": [said for surely, said in over if not surely],
            }
        )

    def _over(self, low: float, high: float) -> list[tuple[bool, str]]:
        """Return which limits are exceeded: whether surely, and what to say if not."""
        limits = {
            "the instance's allocation": self.allocation_left_seconds,
            "the budget": self.budget_seconds_left,
        }
        expected = f"{low:.3g} to {high:.3g} s are expected"
        return [
            (low > left, f"{expected}, and {name} has {left:.3g} s left, which may be too little.")
            for name, left in limits.items()
            if left is not None and high > left
        ]


def estimate(
    forecasts: Sequence[Forecast],
    mode: ExecutionMode,
    allocation: dict[str, Any],
    left: Left,
    gaps: Gaps,
    idle_seconds: float,
) -> Estimate:
    """Return the estimate for one request.

    Args:
        forecasts: What each of its jobs is expected to be charged by itself.
        mode: Where they run.
        allocation: What the instance has left, as ``service.usage()`` returns it.
        left: What the budget leaves.
        gaps: What passes between two jobs of a session.
        idle_seconds: How long a session stays active after its last job.
    """
    jobs = len(forecasts)
    usage = math.fsum(one.seconds for one in forecasts)
    low = math.fsum(one.low for one in forecasts)
    high = math.fsum(one.high for one in forecasts)
    evidence = "; ".join(dict.fromkeys(one.evidence for one in forecasts))
    between = idle = 0.0
    if mode == "session":
        between, idle = jobs * gaps.seconds, idle_seconds
        low, high = low + jobs * gaps.low, high + jobs * gaps.high + idle
        how = f"measured, n={gaps.measured}" if gaps.measured else "assumed"
        evidence += f"; gaps between jobs {how}"
    return Estimate(
        jobs=jobs,
        executions=sum(one.executions for one in forecasts),
        usage_seconds=usage,
        allocation_left_seconds=allocation.get("usage_remaining_seconds"),
        budget_jobs_left=left.jobs,
        budget_seconds_left=left.usage_seconds,
        fits=False,
        mode=mode,
        expected_seconds=usage + between + idle,
        low_seconds=low,
        high_seconds=high,
        gap_seconds=between,
        idle_seconds=idle,
        model=forecasts[0].model,
        evidence=evidence,
        warnings=[],
    ).times(1)
