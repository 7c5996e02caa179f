"""What a request may cost against what is left: it refuses only what certainly does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from session_block.prechecks.findings import CheckFinding
from session_block.prechecks.rules import Rule

JOBS = Rule(
    "budget-jobs",
    "more jobs than the limits of the Block and the experiment leave",
    "refuse",
    "client source",
    None,
    "Raise max_jobs (or block_max_jobs) of the Block.",
)
BUDGET = Rule(
    "budget",
    "more usage than the limits of the Block and the experiment leave",
    "refuse",
    "docs",
    None,
    "Raise max_usage (or block_max_usage) of the Block, or ask for fewer shots.",
)
ALLOCATION = Rule(
    "allocation",
    "more usage than the instance has left",
    "refuse",
    "docs",
    None,
    "Ask for fewer shots, or use another instance.",
)
EXECUTION_TIME = Rule(
    "max-execution-time",
    "more usage than the job's own `max_execution_time` allows",
    "refuse",
    "real",
    1305,
    "Raise max_execution_time of the options, or ask for fewer shots.",
)
SPENDING_RULES = (JOBS, BUDGET, ALLOCATION, EXECUTION_TIME)


@dataclass(frozen=True)
class Spending:
    """What a request would cost, and what is left; seconds are of QPU usage.

    Attributes:
        jobs: How many jobs it takes.
        seconds: The expected usage.
        least_seconds: The lower end of the estimate; ``None`` if the estimate has none, so that
            usage can only warn.
        most_seconds: Its upper end; ``None`` if it has none.
        jobs_left: How many jobs the limits leave; ``None`` for no limit. The same holds below.
        budget_left_seconds: How much usage they leave.
        allocation_left_seconds: How much the instance has left.
        limit_seconds: The job's maximum execution time.
    """

    jobs: int
    seconds: float
    least_seconds: float | None
    most_seconds: float | None
    jobs_left: int | None
    budget_left_seconds: float | None
    allocation_left_seconds: float | None
    limit_seconds: float | None

    def findings(self, *, guessed: bool) -> Iterator[CheckFinding]:
        """Give what does not fit, or may not.

        Args:
            guessed: Whether the codes were never seen on jobs of this kind.
        """
        if self.jobs_left is not None and self.jobs > self.jobs_left:
            said = f"It takes {self.jobs} jobs, and the limits leave {self.jobs_left}."
            yield JOBS.finding(None, said, guessed=guessed)
        limits = (
            (BUDGET, self.budget_left_seconds, "the limits leave"),
            (ALLOCATION, self.allocation_left_seconds, "the instance has"),
            (EXECUTION_TIME, self.limit_seconds, "its max_execution_time is"),
        )
        for rule, left, what in limits:
            if left is None:
                continue
            said = f"It is expected to take {self.seconds:g} s, and {what} {left:g} s."
            finding = rule.finding(None, said, guessed=guessed)
            if self.least_seconds is not None and self.least_seconds > left:
                yield finding
            elif max(self.seconds, self.most_seconds or 0.0) > left:
                yield finding.model_copy(update={"severity": "warn"})
