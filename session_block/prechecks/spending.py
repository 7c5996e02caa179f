"""What a request may cost against what is left: it refuses only what certainly does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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


class Charge(NamedTuple):
    """What is expected to be charged, in seconds of QPU usage.

    Attributes:
        seconds: The expected charge.
        low: The lower end: less is not to be expected.
        high: The upper end.
    """

    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Spending:
    """What a request would cost, and what is left; seconds are of QPU usage.

    Attributes:
        jobs: How many jobs it takes.
        whole: The charge for all of them, with what a session is charged besides.
        longest_job: The charge for the longest job by itself.
        jobs_left: How many jobs the limits leave; ``None`` for no limit. The same holds below.
        budget_left_seconds: How much usage they leave.
        allocation_left_seconds: How much the instance has left.
        limit_seconds: The job's maximum execution time.
    """

    jobs: int
    whole: Charge
    longest_job: Charge
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
            (BUDGET, "It is", self.whole, self.budget_left_seconds, "the limits leave"),
            (ALLOCATION, "It is", self.whole, self.allocation_left_seconds, "the instance has"),
            (
                EXECUTION_TIME,
                "A job is",
                self.longest_job,
                self.limit_seconds,
                "its max_execution_time is",
            ),
        )
        for rule, what, charge, left, limit in limits:
            if left is None or max(charge) <= left:
                continue
            said = (
                f"{what} expected to take {charge.seconds:g} s ({charge.low:g} to "
                f"{charge.high:g} s), and {limit} {left:g} s."
            )
            finding = rule.finding(None, said, guessed=guessed)
            certainly = charge.low > left
            yield finding if certainly else finding.model_copy(update={"severity": "warn"})
