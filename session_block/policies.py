"""What an experiment does where more than one thing would be right."""

from __future__ import annotations

from dataclasses import dataclass

from session_block.decisions import Policy


@dataclass(frozen=True)
class Limits:
    """What may be spent; ``None`` is no limit.

    Attributes:
        jobs: How many jobs.
        usage_seconds: How many seconds of usage, as the platform counts them.
    """

    jobs: int | None = None
    usage_seconds: float | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.usage_seconds is not None


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Policies:
    """The user's choices, from the Block.

    Attributes:
        unsettled: What becomes of a submission whose sender is gone and whose job is not to be
            seen.
        may_diverge: Whether a resumed run that diverges goes on, and is only told so.
        submissions_per_minute: A fixed limit; ``None`` to go as fast as the platform lets.
        limits: What the experiment may spend.
        block_limits: What all experiments of the Block may spend together.
        keep_failed_seconds: How long the session of an attempt that failed is kept for another
            one.
    """

    unsettled: Policy = Policy.RESUBMIT
    may_diverge: bool = False
    submissions_per_minute: int | None = None
    limits: Limits = NO_LIMITS
    block_limits: Limits = NO_LIMITS
    keep_failed_seconds: int = 15 * 60
