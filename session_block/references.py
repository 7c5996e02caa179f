"""References that tasks pass to each other: frozen, JSON-able, without secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from session_block.errors import InvalidInputError

PrimitiveKind = Literal["sampler", "estimator"]
ExecutionMode = Literal["session", "batch", "job"]
"""IBM's execution modes: an exclusive session, a batch, or single jobs."""

SessionMode = Literal["session", "batch"]
"""The execution modes that are opened and closed."""

RegisterNames = Sequence[Sequence[str]]
"""The names of the classical registers of each PUB's circuit, in the circuit's order."""

Implementation = Literal["v2", "executor"]
"""Which of the client's two families of primitives submits a job.

``executor``: ``executor_sampler.Sampler`` and ``executor_estimator.Estimator``, pre- and
post-processed by the client. Their payload is the same for equal requests in any process, except
for ZNE with random folding and fractional noise factors, which is drawn once and recorded [client
source].
``v2``: ``SamplerV2`` and ``EstimatorV2``, post-processed by the platform. The client has deprecated
them since 0.50.
"""

DEFAULT_IMPLEMENTATION: Implementation = "executor"
"""The family of new Blocks that name none. A Block saved before there was a choice has ``v2``."""


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:~-]{0,127}")


def checked_id(what: Literal["job", "session"], given: str) -> str:
    """Return an ID of the platform's, which becomes part of a URL.

    Raises:
        InvalidInputError: It is none, and could lead to another URL.
    """
    if not isinstance(given, str) or not _ID.fullmatch(given):
        listing = (
            "session-block sessions list" if what == "session" else "session-block submissions list"
        )
        raise InvalidInputError(
            f"{given!r} is no ID of a {what}: such IDs consist of letters, digits and hyphens. The "
            f"platform was not asked. '{listing}' shows the IDs."
        )
    return given


class Reference(BaseModel):
    """Base of the references: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionRef(Reference):
    """A session of an experiment.

    Attributes:
        block: Name of the ``QuantumSession`` Block that opens the connection; ``None`` for a Block
            that was never saved, which no other process can load.
        experiment: The experiment's name.
        number: Which experiment with that name; ``fresh=True`` starts the next one.
        uid: The experiment's unique ID; all its jobs have it as a tag.
        opening: Token of the opening that made this reference. Its process may submit without
            labels. ``None`` if the process only joined the experiment.
        session_id: The platform's session ID; ``None`` if no session was needed so far.
        borrowed: Somebody else opened the session; this experiment never closes it.
        sealed: The experiment is finished: recorded results are replayed, nothing new is submitted.

    Examples:
        >>> session_id = experiment.open_session()
        >>> reference = experiment.session_ref
        >>> reference.experiment, reference.session_id == session_id, reference.borrowed
        ('example', True, False)
        >>> SessionRef.model_validate_json(reference.model_dump_json()) == reference
        True
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
        session: The session reference with which the job was requested.
        submission: ID of the submission. It stands for the request's content and its occurrence.
        generation: The number of this job among the submission's jobs; 1 unless an earlier one
            ended without a result.
        job_id: The platform's job ID.
        kind: ``sampler``, ``estimator``, or the platform's name of another program.
        registers: The names of the classical registers of each PUB's circuit, if some are such as
            Qiskit gives to registers without a name; they differ in each attempt.
        parts: References to the jobs of a request that took several; the other fields are then
            those of the first.
        places: The places of a part's PUBs in the whole request.

    Examples:
        >>> reference = experiment.submit_sampler([circuit], shots=1000)
        >>> reference.kind, reference.generation
        ('sampler', 1)
        >>> experiment.fetch_result(reference)[0].data.meas.num_shots  # in any process
        1000
    """

    session: SessionRef
    submission: str
    generation: int
    job_id: str
    kind: str
    registers: list[list[str]] | None = None
    parts: list[JobRef] | None = None
    places: list[int] | None = None


class SessionDetails(BaseModel):
    """A session's details from the platform. Times are ISO 8601; durations are in seconds.

    Attributes:
        id: The session's ID.
        backend_name: The session's backend.
        state: ``open``, ``active``, ``inactive`` or ``closed``, or a pending form of these.
        accepting_jobs: Whether the session accepts new jobs.
        interactive_timeout: Maximum idle time between jobs before the session is deactivated.
        max_time: Maximum time the session can be open, counted from the start of its first job.
        active_timeout: Maximum time the session can stay active.
        usage_time: Seconds for which a QPU was committed to the session.
        mode: ``dedicated`` (a session) or ``batch``.
        timestamps: The state transitions, oldest first.
        state_reason: The platform's word for why it is in this state. Known of IBM [real]:
            ``session_created``, ``session_closed_early``, and
            ``session_inactivated_by_interactive_ttl``.

    Examples:
        >>> session_id = experiment.open_session()
        >>> details = experiment.session_details()
        >>> details.backend_name, details.max_time, details.accepting_jobs
        ('ibm_manila', 3600, True)
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
    state_reason: str | None = None
    created_at: datetime | None = None

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def status(self) -> str:
        """The text that the client's ``Session.status()`` gives for this state.

        Examples:
            >>> session_id = experiment.open_session()
            >>> status = experiment.session_details().status
            >>> status in {"Pending", "In progress, accepting new jobs"}
            True
        """
        if self.state in {"open", "inactive"}:
            return "Pending"
        if self.state == "pending_inactive" or (self.state == "active" and self.accepting_jobs):
            return "In progress, accepting new jobs"
        if self.state in {"active", "pending_closed"}:
            return "In progress, not accepting new jobs"
        return self.state.capitalize()

    @property
    def accepts_jobs(self) -> bool:
        """Whether a new job can still join. An idle session is inactive, and accepts jobs.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.session_details().accepts_jobs
            True
        """
        return self.state != "closed" and self.accepting_jobs is not False

    @property
    def execution_mode(self) -> SessionMode:
        """The mode in the words of Blocks: ``session`` or ``batch``.

        Examples:
            >>> session_id = experiment.open_session()
            >>> details = experiment.session_details()
            >>> details.mode, details.execution_mode
            ('dedicated', 'session')
        """
        return "batch" if self.mode == "batch" else "session"

    @property
    def has_ended(self) -> bool:
        """Whether the session is closed and runs no more jobs, so that its usage is final.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.close_session()
            True
            >>> experiment.session_details().has_ended
            True
        """
        started, completed = self.last_job_started, self.last_job_completed
        idle = started is None or (completed is not None and completed >= started)
        return self.state == "closed" and idle

    @property
    def opened_at(self) -> datetime | None:
        """When it was opened, by the platform's clock; ``None`` if the platform does not say.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.session_details().opened_at.tzname()
            'UTC'
        """
        if self.created_at is not None or not self.timestamps:
            return self.created_at
        return datetime.fromisoformat(self.timestamps[0]["timestamp"])

    @property
    def closes_at(self) -> datetime | None:
        """When ``max_time`` is reached, by the platform's clock; ``None`` before its first job.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> details = experiment.session_details()
            >>> (details.closes_at - details.started_at).total_seconds()
            3600.0
        """
        if self.started_at is None or self.max_time is None:
            return None
        return self.started_at + timedelta(seconds=self.max_time)
