"""A Block's settings for its experiments: sessions, limits and policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from session_block.references import DEFAULT_IMPLEMENTATION, ExecutionMode, Implementation


@dataclass(frozen=True)
class Limits:
    """How much may be spent; ``None`` means no limit.

    Attributes:
        jobs: Number of jobs.
        usage_seconds: Seconds of usage, as the platform counts them.
    """

    jobs: int | None = None
    usage_seconds: float | None = None

    def __bool__(self) -> bool:
        return self.jobs is not None or self.usage_seconds is not None


NO_LIMITS = Limits()


class Policy(StrEnum):
    """What to do with a submission if its sender is gone and the platform shows no job for it."""

    RESUBMIT = "resubmit"
    HOLD = "hold"


@dataclass(frozen=True)
class Policies:
    """The user's choices, from the Block.

    Attributes:
        unsettled: What to do with a submission if its sender is gone and the platform shows no
            job for it.
        may_diverge: Whether a resumed run that diverges continues, with a warning.
        limits: What the experiment may spend.
        block_limits: What all experiments of the Block may spend together.
        keep_failed_seconds: How long a failed attempt's session is kept for the next attempt.
        implementation: The family of primitives of new experiments.
        keep_raw: Whether raw results of the family ``executor`` are recorded too.
    """

    unsettled: Policy = Policy.RESUBMIT
    may_diverge: bool = False
    limits: Limits = NO_LIMITS
    block_limits: Limits = NO_LIMITS
    keep_failed_seconds: int = 15 * 60
    implementation: Implementation = DEFAULT_IMPLEMENTATION
    keep_raw: bool = False


MAX_SESSIONS = 20
"""How many sessions one experiment opens before it stops with an error, if the Block sets none."""


@dataclass(frozen=True)
class SessionPlan:
    """Where an experiment's jobs run, and what to do when a session ends.

    Attributes:
        backend_name: The backend; ``None`` for the least busy one.
        min_num_qubits: Minimum number of qubits, if the package chooses the backend.
        use_fractional_gates: Whether circuits may use the backend's fractional gates; ``None``
            for all its instructions.
        calibration_id: Which of its calibrations to use; ``None`` for the newest.
        in_maintenance: What to do if the backend is down before the first job: ``wait``, or
            ``move`` to another one.
        on_recalibration: What to do after the backend was calibrated again: ``continue``,
            ``relearn`` noise models, or ``stop``.
        mode: The execution mode.
        max_time_seconds: Maximum time of a session; ``None`` for the platform's default.
        without_sessions: What to use in mode ``session`` if the plan allows no sessions.
        on_expiry: Whether to replace a session that ended; ``None`` replaces the experiment's
            own session, but not a borrowed one.
        on_stop: Whether the experiment goes on, once, after a person or the cost limit has ended
            its session.
        min_time_left_seconds: Replace a session before a submission if less time is left.
        max_sessions: Maximum number of sessions that the experiment opens.
        submissions_per_minute: Maximum number of jobs that one process sends per minute; ``None``
            for no limit but the platform's.
    """

    backend_name: str | None
    min_num_qubits: int | None = None
    use_fractional_gates: bool | None = False
    calibration_id: str | None = None
    in_maintenance: Literal["wait", "move"] = "wait"
    on_recalibration: Literal["continue", "relearn", "stop"] = "continue"
    mode: ExecutionMode = "session"
    max_time_seconds: int | None = None
    without_sessions: Literal["fail", "batch", "job"] = "fail"
    on_expiry: Literal["reopen", "fail"] | None = None
    on_stop: Literal["stop", "reopen"] = "stop"
    min_time_left_seconds: int = 0
    max_sessions: int = MAX_SESSIONS
    submissions_per_minute: int | None = None

    def reopens(self, *, borrowed: bool) -> bool:
        """Whether to open a new session after one has ended."""
        return self.on_expiry == "reopen" or (self.on_expiry is None and not borrowed)


@dataclass(frozen=True)
class Source:
    """Whose sessions a Block opens. Secrets are no part of it, so a key may be replaced.

    Attributes:
        block: The saved Block, if its account, instance, mode and backend are as they were saved.
        account: The account; ``None`` if it is unknown.
        instance: The instance, as the Block names it.
        owner: Whose its experiments are; ``None`` for the account's identity.
    """

    block: str | None = None
    account: str | None = None
    instance: str | None = None
    owner: str | None = None


@dataclass(frozen=True)
class Settings:
    """All settings that experiments take from their Block.

    Attributes:
        plan: Where jobs run, and how sessions are opened and replaced.
        policies: The user's other choices.
        block: The name with which other processes load the Block; ``None`` if it was never saved.
        source: Whose sessions the Block opens.
    """

    plan: SessionPlan
    policies: Policies = field(default_factory=Policies)
    block: str | None = None
    source: Source = field(default_factory=Source)
