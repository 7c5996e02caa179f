"""Wait until a job is over, even if the network fails in the meantime."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import requests
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block.client import is_known_to_have_failed, reason_of
from session_block.client.failures import tells_of_closed_session
from session_block.client.jobs import Duration
from session_block.environment.backoff import Backoff
from session_block.errors import ConnectionFailedError, JobWaitTimeoutError
from session_block.events import EventKind
from session_block.records import stops
from session_block.records.context import ExperimentContext
from session_block.records.keys import Resumed, Stopped
from session_block.records.sessions import CANCELLED, CLOSED
from session_block.records.stops import read_stops
from session_block.records.submissions import Generation, Situation, read_submission
from session_block.sessions.manager import SessionManager
from session_block.submissions import polling
from session_block.submissions.decisions import Action, Answer, decide
from session_block.submissions.job_cache import JobCache
from session_block.submissions.passing_failures import is_passing_failure
from session_block.submissions.polling import Expectation, PollSchedule
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.settle import settle_window

OUTAGES = (ConnectionFailedError, IBMError, requests.RequestException)
"""Errors that only prolong a wait."""

_ROOM_SECONDS = 0.05
"""The shortest pause in which there is time to check for twins."""

_SURE_SHARE = 0.05
"""How precisely a job's end must be seen to learn from it, as a share of the job's time."""

_NOT_FOUND = 404
_logger = logging.getLogger(__name__)


class JobWatch:
    """Watches the jobs of one experiment until they are over.

    Args:
        context: The experiment.
        sessions: Its session manager.
        jobs: Its jobs, and when they were sent.
        reconciler: Looks for twins during long waits.
    """

    def __init__(
        self,
        context: ExperimentContext,
        sessions: SessionManager,
        jobs: JobCache,
        reconciler: Reconciler,
    ) -> None:
        self._context = context
        self._environment = context.environment
        self._sessions = sessions
        self._connection = sessions.connection
        self._jobs = jobs
        self._reconciler = reconciler
        self._schedule = PollSchedule()
        self._unsure: dict[Hashable, str] = {}
        self._unknown_since: dict[str, float] = {}

    def until_over(
        self, submission: str, generation: Generation, timeout_seconds: float | None
    ) -> Answer:
        """Wait until a job has ended, and return how.

        Raises:
            JobWaitTimeoutError: The timeout has passed; the job goes on.
            ConnectionFailedError: The platform was out of reach for an hour; the job goes on.
        """
        try:
            return self._until_over(submission, generation, timeout_seconds)
        finally:
            self._context.publish(EventKind.WAIT_ENDED, generation.job_id)

    def _until_over(
        self, submission: str, generation: Generation, timeout_seconds: float | None
    ) -> Answer:
        began = self._environment.monotonic()
        sent = self._jobs.sent(str(generation.job_id))
        since = began if sent is None else sent.at
        expected = None if sent is None else self._expectation(sent.like)
        # A job that was sent long ago or by another process may be over, so look at once.
        pause = 0.0 if sent is None else polling.until_first_look(expected, began - since)
        in_time = pause > 0 and (timeout_seconds is None or pause <= timeout_seconds)
        backoff = Backoff(
            f"The state of job {generation.job_id} could not be read", self._environment
        )
        pending: list[float] = []
        published = ""
        while True:
            self._pause(pause, began, timeout_seconds)
            asked = self._environment.monotonic() - since
            try:
                answer, status = self._ask(submission, generation)
            except OUTAGES as error:
                pause = backoff.failed(error)
                self._connection.renew_after(error)
            else:
                backoff.recovered()
                if decide(Situation.JOB, answer) is not Action.WAIT:
                    if sent is not None and in_time:
                        self._learn(sent.like, generation, pending, asked)
                    return answer
                if status and status != published:
                    published = status
                    self._publish_state(generation, status)
                pending.append(asked)
                pause = polling.until_next_look(expected, self._environment.monotonic() - since)
                if pause > _ROOM_SECONDS:
                    self._reconciler.check_twins()
            if (
                timeout_seconds is not None
                and self._environment.monotonic() - began >= timeout_seconds
            ):
                raise JobWaitTimeoutError(
                    f"Job {generation.job_id} of experiment {self._context.identity} is not done "
                    f"after {timeout_seconds:g} s. The job goes on; ask for its result again.",
                    **generation.named(self._context.uid),
                )

    def _expectation(self, like: Hashable) -> Expectation | None:
        """Return when a job that was just sent may end; ``None`` if that is unknown."""
        # The new job leaves time to ask how long the last unsure one of its kind took.
        job_id = self._unsure.pop(like, None)
        if job_id is not None:
            try:
                metrics = self._connection.jobs.metrics(job_id)
            except ConnectionFailedError as error:
                _logger.info("Could not ask the platform how long job %s took: %s", job_id, error)
            else:
                if metrics.duration is not None:
                    self._schedule.learn(like, metrics.duration)
        return self._schedule.expectation(like)

    def _learn(
        self, like: Hashable, generation: Generation, pending: list[float], done: float
    ) -> None:
        """Learn from when a job was seen to end; if that is too vague, ask for its times later.

        The first job of its kind is always asked for later, because the observed time does not show
        how long the job waited for the session.
        """
        self._schedule.looked(like, len(pending))
        seen = pending and done - pending[-1] <= _SURE_SHARE * done
        if seen and self._schedule.expectation(like) is not None:
            self._schedule.learn(like, Duration(0.0, done))
        else:
            self._unsure[like] = str(generation.job_id)

    def _pause(self, seconds: float, began: float, timeout_seconds: float | None) -> None:
        if timeout_seconds is not None:
            seconds = min(seconds, began + timeout_seconds - self._environment.monotonic())
        if seconds > 0:
            self._environment.pause(seconds)

    def _ask(self, submission: str, generation: Generation) -> tuple[Answer, str]:
        """Return the job's state as an answer, and the client's word for it."""
        job = self._jobs.job(generation)
        if job is None:
            return self._unknown(str(generation.job_id)), ""
        try:
            status = self._connection.jobs.status(job)
        except RequestsApiError as error:
            # For a failed job's message the client reads its results, which may be missing.
            if not is_known_to_have_failed(job):
                if error.status_code == _NOT_FOUND:
                    return self._unknown(job.job_id()), ""
                raise
            status = "ERROR"
        match status:
            case "DONE":
                return Answer.DONE, status
            case "ERROR":
                return self._failure(submission, job), status
            case "CANCELLED":
                return self._cancelled(job), status
            case _:
                return Answer.PENDING, status

    def _unknown(self, job_id: str) -> Answer:
        """Return the answer for a job that the platform does not know: a new one may be hidden."""
        now = self._environment.monotonic()
        since = self._unknown_since.setdefault(job_id, now)
        if now - since < settle_window(self._connection.account):
            return Answer.UNKNOWN_JOB_YET
        del self._unknown_since[job_id]
        return Answer.UNKNOWN_JOB

    def _publish_state(self, generation: Generation, status: str) -> None:
        what = EventKind.JOB_RUNNING if status == "RUNNING" else EventKind.JOB_QUEUED
        self._context.publish(what, generation.job_id)

    def _failure(self, submission: str, job: RuntimeJobV2) -> Answer:
        """Return why a job failed; after too many passing failures, the next one is final."""
        reason = reason_of(job)
        if tells_of_closed_session(reason):
            ended = self._with_stop(job)
            if ended is None and self._closed_by_us(job):
                return Answer.CANCELLED
            return ended or self._with_session(job)
        failures = read_submission(self._context.journal, submission).failures_in_passing
        passing = is_passing_failure(reason, failures)
        return Answer.FAILED_IN_PASSING if passing else Answer.FAILED

    def _cancelled(self, job: RuntimeJobV2) -> Answer:
        """Return whether a cancelled job was cancelled with its session, or by itself."""
        ended = self._with_stop(job)
        if ended is not None:
            return ended
        if self._closed_by_us(job) or not job.session_id:
            return Answer.CANCELLED
        with_session = self._sessions.is_closed(job.session_id)
        return self._with_session(job) if with_session else Answer.CANCELLED

    def _with_stop(self, job: RuntimeJobV2) -> Answer | None:
        """Return the answer if a person cancelled the job with the experiment or its session."""
        for stop, lifted in read_stops(self._context.journal):
            if stop.cause not in {stops.CANCELLED, stops.CLOSED}:
                continue
            if job.job_id() in stop.jobs or self._is_over_since(stop, job, lifted=lifted):
                ended = Answer.ENDED_WITH_SESSION
                return ended if lifted is not None else Answer.STOPPED_WITH_SESSION
        return None

    def _is_over_since(self, stop: Stopped, job: RuntimeJobV2, *, lifted: Resumed | None) -> bool:
        """Whether a stop ended the job's session.

        A cancellation may leave the session open. Then jobs that are sent after it was lifted have
        nothing to do with it.
        """
        if stop.session_id is None or stop.session_id != job.session_id:
            return False
        return lifted is None or self._sessions.is_closed(stop.session_id)

    def _with_session(self, job: RuntimeJobV2) -> Answer:
        """Return whether the end of the job's session was a stop, after recording it."""
        if job.session_id:
            self._sessions.judge_end(job.session_id)
        stopped = stops.standing_stop(self._context.journal) is not None
        return Answer.STOPPED_WITH_SESSION if stopped else Answer.ENDED_WITH_SESSION

    def _closed_by_us(self, job: RuntimeJobV2) -> bool:
        return any(
            record.closing in (CANCELLED, CLOSED)
            for record in self._sessions.records()
            if record.session_id == job.session_id
        )
