"""What passes between tasks: frozen, JSON-able, free of secrets."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

PrimitiveKind = Literal["sampler", "estimator"]
ExecutionMode = Literal["session", "batch", "job"]
"""IBM's execution modes: an exclusive session, a batch, or single jobs."""

SessionMode = Literal["session", "batch"]
"""The two of them that are opened and closed."""

Implementation = Literal["v2", "executor"]
"""Which of the client's two families of primitives submits a job.

``v2``: ``SamplerV2`` and ``EstimatorV2``, which the platform post-processes. A seeded platform
answers them bit for bit alike. The client deprecates them since 0.50.
``executor``: ``executor_sampler.Sampler`` and ``executor_estimator.Estimator``, which the client
pre- and post-processes; their payload is randomised, so equal requests differ within error bars.
"""


class Reference(BaseModel):
    """Base of the references: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionRef(Reference):
    """A session of an experiment.

    Attributes:
        block: Name of the ``QuantumSession`` Block that opens the connection; ``None`` for a Block
            that was never saved, which no other process can load.
        experiment: The experiment's name.
        number: Which experiment of that name; ``fresh=True`` starts the next one.
        uid: The experiment's unique ID, borne by all its jobs as a tag.
        opening: Which opening of the experiment handed this out; its process may submit unlabelled.
            ``None`` for one that has joined.
        session_id: The platform's session ID. ``None`` when all that is asked for is recorded.
        borrowed: The session was opened by somebody else and is never closed by this experiment.
        sealed: The experiment is finished: recorded results are replayed, nothing new is submitted.
    """

    block: str | None
    experiment: str
    number: int
    uid: str
    opening: str | None
    session_id: str | None
    borrowed: bool = False
    sealed: bool = False


class JobRef(Reference):
    """One job of an experiment.

    Attributes:
        session: The session reference through which the job was asked for.
        submission: ID of the submission: what was asked for, and for the how-manieth time.
        generation: Which attempt at the submission this job is; 1 unless an earlier one ended
            without a result.
        job_id: The platform's job ID.
        kind: ``sampler`` or ``estimator``.
    """

    session: SessionRef
    submission: str
    generation: int
    job_id: str
    kind: PrimitiveKind


class SessionDetails(BaseModel):
    """A session's details, as the platform gives them. Times are ISO 8601, durations seconds.

    Attributes:
        id: The session's ID.
        backend_name: The backend that the session runs on.
        state: ``open``, ``active``, ``inactive``, ``closed`` (or a pending form of them).
        accepting_jobs: Whether new jobs are accepted.
        interactive_timeout: Longest idle time between jobs before the session is deactivated.
        max_time: Longest time the session can be open, counted from the start of its first job.
        active_timeout: Longest time the session can stay active.
        usage_time: Seconds that a QPU was committed to the session.
        mode: ``dedicated`` (a session) or ``batch``.
        timestamps: The state transitions, oldest first.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    backend_name: str | None = None
    state: str
    accepting_jobs: bool | None = None
    interactive_timeout: int | None = None
    max_time: int | None = None
    active_timeout: int | None = None
    last_job_started: datetime | None = None
    last_job_completed: datetime | None = None
    started_at: datetime | None = None
    closed_at: datetime | None = None
    activated_at: datetime | None = None
    mode: str | None = None
    usage_time: float | None = None
    timestamps: list[dict[str, str]] = []

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def status(self) -> str:
        """The words of the client's ``Session.status()`` for this state."""
        if self.state in {"open", "inactive"}:
            return "Pending"
        if self.state == "pending_inactive" or (self.state == "active" and self.accepting_jobs):
            return "In progress, accepting new jobs"
        if self.state in {"active", "pending_closed"}:
            return "In progress, not accepting new jobs"
        return self.state.capitalize()

    @property
    def accepts_jobs(self) -> bool:
        """Whether a job can still join. An idle session is only inactive, and does."""
        return self.state != "closed" and self.accepting_jobs is not False

    @property
    def execution_mode(self) -> SessionMode:
        """The mode as Blocks call it."""
        return "batch" if self.mode == "batch" else "session"

    @property
    def has_ended(self) -> bool:
        """Whether it is closed and none of its jobs runs any more, so that its usage is final."""
        started, completed = self.last_job_started, self.last_job_completed
        idle = started is None or (completed is not None and completed >= started)
        return self.state == "closed" and idle

    @property
    def closes_at(self) -> datetime | None:
        """When it reaches its longest time, by the platform's clock; ``None`` before its start."""
        if self.started_at is None or self.max_time is None:
            return None
        return self.started_at + timedelta(seconds=self.max_time)
