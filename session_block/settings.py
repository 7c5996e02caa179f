"""What a Block says of its experiments: their sessions, limits and policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from session_block.references import ExecutionMode


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


class Policy(StrEnum):
    """What becomes of a submission that has neither a sender nor a visible job."""

    RESUBMIT = "resubmit"
    HOLD = "hold"


@dataclass(frozen=True)
class Policies:
    """The user's choices, from the Block.

    Attributes:
        unsettled: What becomes of a submission whose sender is gone and whose job is not to be
            seen.
        may_diverge: Whether a resumed run that diverges goes on, and is only told so.
        limits: What the experiment may spend.
        block_limits: What all experiments of the Block may spend together.
        keep_failed_seconds: How long the session of an attempt that failed is kept for another
            one.
    """

    unsettled: Policy = Policy.RESUBMIT
    may_diverge: bool = False
    limits: Limits = NO_LIMITS
    block_limits: Limits = NO_LIMITS
    keep_failed_seconds: int = 15 * 60


MAX_SESSIONS = 20
"""How many sessions one experiment opens before it stops and asks, unless the Block says more."""


@dataclass(frozen=True)
class SessionPlan:
    """Where an experiment's jobs run, and what becomes of it when that place ends.

    Attributes:
        backend_name: The backend; ``None`` for the least busy one.
        min_num_qubits: How many qubits it needs at least, where it may be chosen.
        use_fractional_gates: Whether circuits may use its fractional gates; ``None`` for all its
            instructions.
        calibration_id: Which of its calibrations is used; ``None`` for the newest.
        in_maintenance: What happens if the backend is down before the first job: ``wait``, or
            ``move`` to another one.
        on_recalibration: Whether the experiment goes on after the backend was calibrated anew.
        mode: The execution mode.
        max_time_seconds: Longest time of a session; ``None`` for the platform's own.
        without_sessions: What becomes of mode ``session`` where the plan allows none.
        on_expiry: Whether a session that ended is replaced; ``None`` for the experiment's own, not
            for a borrowed one.
        min_time_left_seconds: A session with less time left is replaced before a submission.
        max_sessions: How many sessions the experiment opens at most.
        submissions_per_minute: How many jobs one process sends in a minute; ``None`` for as many as
            the platform takes.
    """

    backend_name: str | None
    min_num_qubits: int | None = None
    use_fractional_gates: bool | None = False
    calibration_id: str | None = None
    in_maintenance: Literal["wait", "move"] = "wait"
    on_recalibration: Literal["continue", "stop"] = "continue"
    mode: ExecutionMode = "session"
    max_time_seconds: int | None = None
    without_sessions: Literal["fail", "batch", "job"] = "fail"
    on_expiry: Literal["reopen", "fail"] | None = None
    min_time_left_seconds: int = 0
    max_sessions: int = MAX_SESSIONS
    submissions_per_minute: int | None = None

    def reopens(self, *, borrowed: bool) -> bool:
        """Whether a session that ended is replaced by a new one."""
        return self.on_expiry == "reopen" or (self.on_expiry is None and not borrowed)


@dataclass(frozen=True)
class Settings:
    """All that a Block says of its experiments.

    Attributes:
        plan: Where jobs run, and how sessions are opened and replaced.
        policies: The user's other choices.
        block: The Block's name, so that other processes can load it; ``None`` if it was never
            saved.
    """

    plan: SessionPlan
    policies: Policies = field(default_factory=Policies)
    block: str | None = None
