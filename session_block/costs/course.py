"""What an experiment has cost so far, beside what its jobs were expected to cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from session_block.costs.session_time import gaps_of
from session_block.records.charges import expected_cost
from session_block.records.journal import Journal
from session_block.references import ExecutionMode


class CostCourse(BaseModel):
    """What was spent, what was expected for it, and what is left, in seconds.

    Attributes:
        mode: What is charged: ``session``, ``batch`` or ``job``.
        jobs: How many jobs the experiment has made, twins included.
        spent_seconds: What it is charged with so far.
        expected_seconds: What was expected for these jobs when they were sent; in a session with
            the gaps between them. ``None`` if there was no estimate for one of them.
        low_seconds: The lower end.
        high_seconds: The upper end; in a session with its idle time at the end.
        as_batch_seconds: What was expected for the same jobs in a batch.
        left_seconds: What the instance's allocation and the limits of the Block and the experiment
            still leave, whichever is less; ``None`` for no limit.

    Examples:
        >>> print(block.experiment("planned", fresh=True).costs())
        0 jobs: 0 s spent, no job yet...
    """

    model_config = ConfigDict(frozen=True)

    mode: ExecutionMode
    jobs: int
    spent_seconds: float
    expected_seconds: float | None
    low_seconds: float | None
    high_seconds: float | None
    as_batch_seconds: float | None
    left_seconds: float | None

    def __str__(self) -> str:
        told = [f"{self.spent_seconds:.3g} s spent"]
        if self.expected_seconds is None:
            told.append("expected: unknown" if self.jobs else "no job yet")
        else:
            ends = f"{self.low_seconds:.3g} to {self.high_seconds:.3g} s"
            told.append(f"{self.expected_seconds:.3g} s expected ({ends})")
        if self.mode == "session" and self.as_batch_seconds is not None:
            told.append(f"the same as a batch: {self.as_batch_seconds:.3g} s")
        if self.left_seconds is not None:
            told.append(f"{self.left_seconds:.3g} s left")
        return f"{self.jobs} {'job' if self.jobs == 1 else 'jobs'}: {', '.join(told)}"


def cost_course(
    journal: Journal,
    mode: ExecutionMode,
    spent_seconds: float,
    idle_seconds: float,
    left_seconds: float | None = None,
) -> CostCourse:
    """Return the course of an experiment's costs.

    Args:
        journal: The experiment's journal.
        mode: What is charged.
        spent_seconds: What it is charged with so far.
        idle_seconds: How long a session stays active after its last job.
        left_seconds: What may still be spent; ``None`` for no limit.
    """
    expected = expected_cost(journal)
    seconds, low, high = expected.seconds, expected.low, expected.high
    if mode == "session":
        gaps = gaps_of(journal, idle_seconds)
        seconds += expected.jobs * gaps.seconds
        low += expected.jobs * gaps.low
        high += expected.jobs * gaps.high + idle_seconds
    known = expected.is_known
    return CostCourse(
        mode=mode,
        jobs=expected.jobs,
        spent_seconds=spent_seconds,
        expected_seconds=seconds if known else None,
        low_seconds=low if known else None,
        high_seconds=high if known else None,
        as_batch_seconds=expected.seconds if known else None,
        left_seconds=left_seconds,
    )
