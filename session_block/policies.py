"""What an experiment does where more than one thing would be right."""

from __future__ import annotations

from dataclasses import dataclass

from session_block.decisions import Policy


@dataclass(frozen=True)
class Policies:
    """The user's choices, from the Block.

    Attributes:
        unsettled: What becomes of a submission whose sender is gone and whose job is not to be
            seen.
        may_diverge: Whether a resumed run that diverges goes on, and is only told so.
        submissions_per_minute: A fixed limit; ``None`` to go as fast as the platform lets.
    """

    unsettled: Policy = Policy.RESUBMIT
    may_diverge: bool = False
    submissions_per_minute: int | None = None
