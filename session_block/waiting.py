"""Wait for a job, whatever happens to the network meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import requests
from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import aio, crashpoints, rhythm
from session_block import submission_records as records
from session_block.client import is_known_to_have_failed, reason_of
from session_block.client.connecting import connecting
from session_block.decisions import Action, Answer, Situation, decide
from session_block.errors import (
    ConnectionFailedError,
    JobCancelledError,
    JobEndedInPassingError,
    JobFailedError,
    JobWaitTimeoutError,
    LedgerError,
    SubmissionHeldError,
)
from session_block.ledger import Ledger
from session_block.notices import Happening, Notices
from session_block.patience import Patience
from session_block.reconciliation import Reconciler
from session_block.refusals import tells_of_closed_session, tells_of_passing_failure
from session_block.results import decode_result, encode_result
from session_block.rhythm import Duration, Expectation, Rhythm
from session_block.session import SessionKeeper
from session_block.session_records import CANCELLED, CLOSED
from session_block.settling import Settler
from session_block.submission import Submitter
from session_block.submission_records import Generation

_ROOM_SECONDS = 0.05
"""In a pause that is as long the platform may be asked for twins."""

_SURE_SHARE = 0.05
"""The share of a job's time within which its end was seen, to be learnt from."""

_RESULT_TRIES = 4
_RESULT_PAUSE_SECONDS = 0.5
_NOT_FOUND = 404
MAX_FAILURES_IN_PASSING = 3
"""How often a submission's job may fail for a reason that passes, and be run again."""

_logger = logging.getLogger(__name__)
_OUTAGES = (ConnectionFailedError, IBMError, requests.RequestException)


@dataclass(frozen=True)
class RecordedJob:
    """A job whose result is recorded."""

    job_id: str
    result: PrimitiveResult


class Waiter:
    """Waits for the jobs of one experiment and keeps their results.

    The first time as ever after, a result is what the ledger gives back.

    A failing network, an expired token or a restarting platform only prolongs the wait.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: str,
        keeper: Callable[[], SessionKeeper],
        *,
        submitter: Submitter,
        settler: Settler,
        reconciler: Reconciler,
        notices: Notices,
    ) -> None:
        self._notices = notices
        self._told: dict[str, str] = {}
        self._rhythm = Rhythm()
        self._unsure: dict[Hashable, str] = {}
        self._ledger = ledger
        self._experiment = experiment
        self._submitter = submitter
        self._settler = settler
        self._reconciler = reconciler
        self._keeper = keeper

    def recorded(self, submission: str) -> PrimitiveResult | None:
        """Return a result from the ledger alone."""
        found = self.recorded_job(submission)
        return None if found is None else found.result

    def recorded_job(self, submission: str) -> RecordedJob | None:
        """Return a result from the ledger alone, and the ID of the job that gave it."""
        fact = self._ledger.get(self._experiment, records.result_key(submission))
        if fact is None or fact.payload is None:
            return None
        return RecordedJob(str(fact.body["job_id"]), decode_result(fact.payload))

    def has_result(self, submission: str) -> bool:
        """Whether the ledger holds a result, without reading it."""
        return self._ledger.count(self._experiment, records.result_key(submission)) > 0

    def status(self, generation: Generation) -> str:
        """Return the client's word for the state of a generation's job.

        Raises:
            ConnectionFailedError: The platform does not tell.
            SubmissionHeldError: The job was sent to another instance.
        """
        job = self._job(generation)
        with connecting(f"read the state of job {generation.job_id}"):
            return str(job.status())

    def result(
        self, submission: str, generation: Generation, timeout_seconds: float | None = None
    ) -> PrimitiveResult:
        """Return a submission's result: from the ledger, else as soon as its job is done.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobEndedInPassingError: The job ended because its session did, or for a reason that
                passes; asking again is safe.
            JobWaitTimeoutError: The time is over; the job goes on.
            SubmissionHeldError: The platform does not know the job, or does not give its result.
            ConnectionFailedError: The platform was out of reach for an hour; the job goes on.
        """
        stored = self.recorded(submission)
        if stored is not None:
            return stored
        self._keeper()
        if generation.ended is not None:
            raise self._ended(generation, generation.ended)
        answer = self._await_end(submission, generation, timeout_seconds)
        self._told.pop(str(generation.job_id), None)
        match decide(Situation.JOB, answer):
            case Action.FETCH:
                result = self._fetch(submission, generation)
                self._notices.tell(Happening.JOB_DONE, generation.job_id, submission)
                return result
            case Action.END_WITH_SESSION:
                self._notices.tell(
                    Happening.JOB_FAILED, generation.job_id, records.ENDED_WITH_SESSION
                )
                self._settler.write_off(submission, generation.number, records.ENDED_WITH_SESSION)
                raise self._ended(generation, records.ENDED_WITH_SESSION)
            case Action.WRITE_OFF:
                self._settler.write_off(submission, generation.number, records.FAILED_IN_PASSING)
                raise self._ended(generation, records.FAILED_IN_PASSING)
            case Action.RAISE if answer is Answer.CANCELLED:
                self._notices.tell(Happening.JOB_FAILED, generation.job_id, "it was cancelled")
                raise JobCancelledError(
                    f"Job {generation.job_id} of experiment {self._experiment} was cancelled. To "
                    f"run it after all: {self._retry(submission)}; or start anew with fresh=True."
                )
            case Action.RAISE:
                reason = reason_of(self._job(generation))
                self._notices.tell(Happening.JOB_FAILED, generation.job_id, reason)
                raise JobFailedError(
                    f"Job {generation.job_id} of experiment {self._experiment} failed: {reason}. "
                    f"To run it once more: {self._retry(submission)}."
                )
            case _:
                raise self._unknown(submission, generation)

    def _await_end(
        self, submission: str, generation: Generation, timeout_seconds: float | None
    ) -> Answer:
        began = time.monotonic()
        sent = self._submitter.sent(str(generation.job_id))
        since = began if sent is None else sent.at
        expected = None if sent is None else self._expectation(sent.like)
        patience = Patience(f"The state of job {generation.job_id}")
        pending: list[float] = []
        # One that was sent long ago, or by another process, is looked at at once.
        late = sent is None or (expected is not None and began - since > expected.earliest)
        pause = 0.0 if late else rhythm.pause(expected, began - since)
        while True:
            self._pause(pause, began, timeout_seconds)
            asked = time.monotonic() - since
            try:
                answer = self._ask(submission, generation)
            except _OUTAGES as error:
                pause = patience.lose(error)
                self._reconnect_after(error)
            else:
                patience.regain()
                if answer is not Answer.PENDING:
                    if sent is not None:
                        self._learn(sent.like, generation, pending, asked)
                    return answer
                pending.append(asked)
                pause = rhythm.pause(expected, time.monotonic() - since)
                if pause > _ROOM_SECONDS:
                    self._reconciler.check_twins()
            if timeout_seconds is not None and time.monotonic() - began >= timeout_seconds:
                raise JobWaitTimeoutError(
                    f"Job {generation.job_id} of experiment {self._experiment} is not done after "
                    f"{timeout_seconds:g} s. It goes on; ask for its result again."
                )

    def _expectation(self, like: Hashable) -> Expectation | None:
        """Return when a job may end that has just been sent; there is time to ask for it."""
        job_id = self._unsure.pop(like, None)
        if job_id is not None:
            try:
                metrics = self._keeper().connection.jobs.metrics(job_id)
            except ConnectionFailedError as error:
                _logger.info("How long job %s took could not be asked: %s", job_id, error)
            else:
                if metrics.duration is not None:
                    self._rhythm.learn(like, metrics.duration)
        return self._rhythm.expectation(like)

    def _learn(
        self, like: Hashable, generation: Generation, pending: list[float], done: float
    ) -> None:
        """Learn from when a job was seen to end; where that says little, ask for it later."""
        self._rhythm.looked(like, len(pending))
        if not pending or done - pending[-1] > _SURE_SHARE * done:
            self._unsure[like] = str(generation.job_id)
        else:
            self._rhythm.learn(like, Duration(0.0, done))

    @staticmethod
    def _pause(seconds: float, began: float, timeout_seconds: float | None) -> None:
        if timeout_seconds is not None:
            seconds = min(seconds, began + timeout_seconds - time.monotonic())
        if seconds > 0:
            aio.pause(seconds)

    def _ask(self, submission: str, generation: Generation) -> Answer:
        job = self._submitter.job(generation)
        if job is None:
            return Answer.UNKNOWN_JOB
        try:
            with crashpoints.around("ask job"):
                status = job.status()
        except RequestsApiError as error:
            # The client reads a failed job's results for its message; they may be missing.
            if not is_known_to_have_failed(job):
                if error.status_code == _NOT_FOUND:
                    return Answer.UNKNOWN_JOB
                raise
            status = "ERROR"
        match status:
            case "DONE":
                return Answer.DONE
            case "ERROR":
                if not tells_of_closed_session(reason_of(job)):
                    return self._failure(submission, reason_of(job))
                ours = self._closed_by_us(job)
                return Answer.CANCELLED if ours else Answer.ENDED_WITH_SESSION
            case "CANCELLED":
                with_session = self._session_ended_under(job)
                return Answer.ENDED_WITH_SESSION if with_session else Answer.CANCELLED
            case _:
                self._tell_state(str(generation.job_id), str(status))
                return Answer.PENDING

    def _tell_state(self, job_id: str, status: str) -> None:
        if self._told.get(job_id) != status:
            self._told[job_id] = status
            what = Happening.JOB_RUNNING if status == "RUNNING" else Happening.JOB_QUEUED
            self._notices.tell(what, job_id)

    def _failure(self, submission: str, reason: str) -> Answer:
        """A failure that passes is one only so often."""
        failures = self._submitter.read(submission).failures_in_passing
        passes = tells_of_passing_failure(reason) and failures < MAX_FAILURES_IN_PASSING
        return Answer.FAILED_IN_PASSING if passes else Answer.FAILED

    def _reconnect_after(self, error: Exception) -> None:
        if self._keeper().reconnect_after(error):
            self._submitter.forget_all()

    def _job(self, generation: Generation) -> RuntimeJobV2:
        job = self._submitter.job(generation)
        if job is None:
            raise ConnectionFailedError(
                f"Job {generation.job_id} of experiment {self._experiment} was there, and is not "
                "any more. Run again to look once more."
            )
        return job

    def _session_ended_under(self, job: RuntimeJobV2) -> bool:
        """Whether a cancelled job was cancelled with its session, and not by the user."""
        if self._closed_by_us(job):
            return False
        return bool(job.session_id) and self._keeper().is_closed(job.session_id)

    def _closed_by_us(self, job: RuntimeJobV2) -> bool:
        return any(
            record.closing in (CANCELLED, CLOSED)
            for record in self._keeper().records()
            if record.session_id == job.session_id
        )

    def _fetch(self, submission: str, generation: Generation) -> PrimitiveResult:
        """Read a finished job's result and store it; what is returned is what was stored."""
        patience = Patience(f"The result of job {generation.job_id}")
        tries = 0
        while True:
            try:
                with crashpoints.around("fetch result"):
                    result = self._job(generation).result()
            except _OUTAGES as error:
                aio.pause(patience.lose(error))
                self._reconnect_after(error)
                continue
            except ValueError as error:
                result, unreadable = None, str(error)
            else:
                unreadable = "it is empty"
            if isinstance(result, PrimitiveResult):
                self._submitter.forget(str(generation.job_id))
                stored = self._store(submission, generation, result)
                self._check_session(generation)
                return stored
            tries += 1
            last = tries >= _RESULT_TRIES
            answer = Answer.STILL_UNREADABLE if last else Answer.DONE_UNREADABLE
            if decide(Situation.JOB, answer) is Action.HOLD:
                because = f"job {generation.job_id} is done, but its result is not: {unreadable}"
                raise self._settler.hold(submission, generation, because)
            aio.pause(tries * _RESULT_PAUSE_SECONDS)

    def _check_session(self, generation: Generation) -> None:
        if generation.intent["session_id"] is not None:
            self._keeper().check_is_used(generation.intent["session_id"], str(generation.job_id))

    def _store(
        self, submission: str, generation: Generation, result: PrimitiveResult
    ) -> PrimitiveResult:
        key = records.result_key(submission)
        body = {"job_id": generation.job_id}
        fact, _ = self._ledger.create(self._experiment, key, body, encode_result(result))
        if fact.payload is None:
            raise LedgerError(f"The ledger holds a result of {submission} without its content.")
        return decode_result(fact.payload)

    def _ended(self, generation: Generation, because: str) -> JobEndedInPassingError:
        return JobEndedInPassingError(
            f"Job {generation.job_id} of experiment {self._experiment} (session "
            f"{generation.intent['session_id']}) gave no result: {because}. Ask for it again: it "
            "then runs once more."
        )

    def _unknown(self, submission: str, generation: Generation) -> SubmissionHeldError:
        instance = generation.intent["instance"]
        because = f"the instance {instance} does not know its job {generation.job_id} any more"
        return self._settler.hold(submission, generation, because)

    def _retry(self, submission: str) -> str:
        return f"session-block submissions retry {self._experiment} {submission}"
