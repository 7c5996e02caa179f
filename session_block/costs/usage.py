"""Measure what an experiment has cost, in the seconds that IBM counts as usage.

A session is charged by the wall clock, from the start of its first job until it goes inactive or is
closed. A batch, or a job outside a session or batch, is charged for the time that the QPU is locked
for its jobs. Source: IBM's page on workload usage.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from session_block.client import Connection
from session_block.records import keys
from session_block.records.charges import has_given_result, record_charge
from session_block.records.journal import Journal
from session_block.records.sessions import SessionRecord, execution_mode, read_sessions
from session_block.records.usage import SentJob, jobs_of
from session_block.references import ExecutionMode
from session_block.settings import SessionPlan


class SessionUsage(BaseModel):
    """Usage of one session or batch that the experiment opened.

    Attributes:
        session_id: The session or batch.
        mode: Its execution mode.
        seconds: Usage so far.
        final: Whether the usage can no longer grow.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> used = experiment.usage().sessions[-1]
        >>> used.mode, used.session_id == experiment.session_id
        ('session', True)
    """

    model_config = ConfigDict(frozen=True)

    session_id: str
    mode: ExecutionMode
    seconds: float
    final: bool


class JobUsage(BaseModel):
    """Usage of one job.

    Attributes:
        job_id: The job.
        submission: The submission that it was made for; a twin has that of the recorded job.
        session_id: The session that it was sent to; ``None`` in job mode.
        seconds: QPU usage; ``None`` until the platform has settled it.
        charged: Whether it is charged by itself, not with one of the experiment's own sessions.

    Examples:
        >>> job = experiment.submit_sampler([circuit])
        >>> result = experiment.fetch_result(job)
        >>> used = experiment.usage().jobs[-1]
        >>> used.job_id == job.job_id, used.charged  # it is charged with its session
        (True, False)
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    submission: str
    session_id: str | None
    seconds: float | None
    charged: bool


class ExperimentUsage(BaseModel):
    """Usage of an experiment.

    Attributes:
        seconds: What it is charged with so far: its own sessions and batches as a whole, plus each
            of its jobs in borrowed sessions or in job mode.
        sessions: The sessions and batches that it opened, oldest first.
        jobs: All its jobs, including twins.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> usage = experiment.usage()
        >>> usage.seconds == sum(one.seconds for one in usage.sessions)
        True
    """

    model_config = ConfigDict(frozen=True)

    seconds: float
    sessions: list[SessionUsage]
    jobs: list[JobUsage]


class UsageMeter:
    """Reads the usage of one experiment from the platform, and records final figures.

    Final figures are never asked for again.

    Args:
        journal: The experiment's journal, where final figures are recorded.
        connection: The connection to its instance.
        plan: What the Block says about sessions; ``None`` if another process may run the
            experiment.
    """

    def __init__(
        self, journal: Journal, connection: Connection, plan: SessionPlan | None = None
    ) -> None:
        self._journal = journal
        self._connection = connection
        self._plan = plan
        self._had_jobs_outside: bool | None = None

    def of(self, experiment: str) -> UsageMeter:
        """Return the meter of another experiment of the same instance, which may run elsewhere."""
        if experiment == self._journal.scope:
            return self
        return UsageMeter(Journal(self._journal.ledger, experiment), self._connection)

    def seconds(self) -> float:
        """Return what the experiment is charged with so far.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        records = self._sessions()
        own = sum(self._session(record).seconds for record in records if record.opened)
        if not self._may_have_jobs_outside(records):
            return own
        return own + sum(job.seconds or 0.0 for job in self._jobs(records, only_charged=True))

    def report(self) -> ExperimentUsage:
        """Return the usage of the experiment, its sessions and its jobs.

        This costs one request for each job and session without a recorded final figure.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        records = self._sessions()
        sessions = [self._session(record) for record in records if record.opened]
        jobs = list(self._jobs(records))
        charged = sum(job.seconds or 0.0 for job in jobs if job.charged)
        return ExperimentUsage(
            seconds=sum(session.seconds for session in sessions) + charged,
            sessions=sessions,
            jobs=jobs,
        )

    def learn(self, most: int = 5) -> None:
        """Record what the latest finished jobs were charged, so that estimates learn from them.

        Args:
            most: How many jobs are asked for at most, with one request each.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        known = {one.job_id for one in self._journal.all(keys.FinalJobUsage)}
        latest = list(jobs_of(self._journal))[-most:]
        for job in latest:
            if job.job_id not in known and has_given_result(self._journal, job):
                self._asked(job)

    def _sessions(self) -> list[SessionRecord]:
        # A session that the experiment returned to has several records.
        records = read_sessions(self._journal)
        return list({one.session_id: one for one in records if one.session_id}.values())

    def _session(self, record: SessionRecord) -> SessionUsage:
        session_id = str(record.session_id)
        known = self._journal.get(keys.FinalSessionUsage, record.number)
        if known is None:
            details = self._connection.sessions.look(session_id)
            seconds, final = details.usage_time or 0.0, details.has_ended
            if final:
                self._journal.record(keys.FinalSessionUsage(number=record.number, seconds=seconds))
        else:
            seconds, final = known.seconds, True
        return SessionUsage(
            session_id=session_id,
            mode=record.mode or "session",
            seconds=seconds,
            final=final,
        )

    def _may_have_jobs_outside(self, records: list[SessionRecord]) -> bool:
        """Whether any job may be charged by itself; jobs of earlier processes are checked once."""
        if self._had_jobs_outside is None:
            own = {record.session_id for record in records if record.opened}
            intents = self._journal.all(keys.Intent)
            self._had_jobs_outside = any(intent.session_id not in own for intent in intents)
        borrowed = any(not record.opened for record in records)
        in_job_mode = self._plan is None or execution_mode(self._journal, self._plan) == "job"
        return self._had_jobs_outside or borrowed or in_job_mode

    def _jobs(
        self, records: list[SessionRecord], *, only_charged: bool = False
    ) -> Iterator[JobUsage]:
        own = {record.session_id for record in records if record.opened}
        known = {one.job_id: one.seconds for one in self._journal.all(keys.FinalJobUsage)}
        for job in jobs_of(self._journal):
            charged = job.session_id not in own
            if charged or not only_charged:
                yield JobUsage(
                    job_id=job.job_id,
                    submission=job.submission,
                    session_id=job.session_id,
                    seconds=known[job.job_id] if job.job_id in known else self._asked(job),
                    charged=charged,
                )

    def _asked(self, job: SentJob) -> float | None:
        metrics = self._connection.jobs.metrics(job.job_id)
        if metrics.usage_seconds is not None:
            record_charge(
                self._journal, job, metrics.usage_seconds, metrics.running, metrics.finished
            )
        return metrics.usage_seconds
