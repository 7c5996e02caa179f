"""Wait for a job, whatever happens to the network meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import requests
from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import decisions
from session_block.client import tells_of_closed_session
from session_block.decisions import Action, Answer, Generation, Situation, decide
from session_block.errors import (
    JobCancelledError,
    JobEndedWithSessionError,
    JobFailedError,
    JobWaitTimeoutError,
    SubmissionHeldError,
)
from session_block.ledger import Ledger
from session_block.results import decode_result, encode_result
from session_block.session import SessionKeeper
from session_block.submission import Submitter

_FASTEST_POLL_SECONDS = 0.05
_SLOWEST_POLL_SECONDS = 2.0
_POLL_SHARE = 0.1
_RESULT_TRIES = 4
_NOT_FOUND = 404
_logger = logging.getLogger(__name__)

StatusListener = Callable[[str], None]


class Waiter:
    """Waits for the jobs of one experiment and keeps their results.

    The first time as ever after, a result is what the ledger gives back.

    A failing network, an expired token or a restarting platform only prolongs the wait.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: str,
        submitter: Submitter,
        keeper: Callable[[], SessionKeeper],
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._submitter = submitter
        self._keeper = keeper

    def recorded(self, submission: str) -> PrimitiveResult | None:
        """Return a result from the ledger alone."""
        fact = self._ledger.get(self._experiment, decisions.result_key(submission))
        return None if fact is None or fact.payload is None else decode_result(fact.payload)

    def result(
        self, submission: str, generation: Generation, timeout_seconds: float | None = None
    ) -> PrimitiveResult:
        """Return a submission's result: from the ledger, else as soon as its job is done.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            JobEndedWithSessionError: The job ended because its session did; asking again is safe.
            JobWaitTimeoutError: The time is over; the job goes on.
            SubmissionHeldError: The platform does not know the job, or does not give its result.
        """
        stored = self.recorded(submission)
        if stored is not None:
            return stored
        job = self._submitter.job(generation)
        answer = Answer.UNKNOWN_JOB if job is None else self._await_end(job, timeout_seconds)
        match decide(Situation.JOB, answer):
            case Action.FETCH if job is not None:
                result = self._fetch(submission, job)
                self._submitter.forget(job.job_id())
                return result
            case Action.END_WITH_SESSION:
                self._ledger.create(
                    self._experiment, decisions.ended_key(submission, generation.number), {}
                )
                raise JobEndedWithSessionError(
                    f"Job {generation.job_id} of experiment {self._experiment} ended because its "
                    f"session {generation.intent['session_id']} did. Ask for it again: it then "
                    "runs in the session that replaces it."
                )
            case Action.RAISE if job is not None:
                raise self._ended(job, answer)
            case _:
                raise SubmissionHeldError(
                    f"The instance {generation.intent['instance']} does not know job "
                    f"{generation.job_id} of experiment {self._experiment}. It was accepted, so it "
                    "is not submitted again. If it was deleted, start anew with fresh=True."
                )

    def _await_end(self, job: RuntimeJobV2, timeout_seconds: float | None) -> Answer:
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            status = self._status(job)
            match status:
                case "DONE":
                    return Answer.DONE
                case "ERROR":
                    closed = tells_of_closed_session(job.error_message() or "")
                    return Answer.ENDED_WITH_SESSION if closed else Answer.FAILED
                case "CANCELLED":
                    with_session = self._session_ended_under(job)
                    return Answer.ENDED_WITH_SESSION if with_session else Answer.CANCELLED
                case "UNKNOWN":
                    return Answer.UNKNOWN_JOB
            if timeout_seconds is not None and waited >= timeout_seconds:
                raise JobWaitTimeoutError(
                    f"Job {job.job_id()} of experiment {self._experiment} is not done after "
                    f"{timeout_seconds:g} s. It goes on; ask for its result again."
                )
            pause = min(max(waited * _POLL_SHARE, _FASTEST_POLL_SECONDS), _SLOWEST_POLL_SECONDS)
            time.sleep(pause)

    def _status(self, job: RuntimeJobV2) -> str:
        try:
            return str(job.status())
        except RequestsApiError as error:
            if error.status_code == _NOT_FOUND:
                return "UNKNOWN"
            return self._try_later(job, error)
        except (IBMError, requests.RequestException) as error:
            return self._try_later(job, error)

    def _try_later(self, job: RuntimeJobV2, error: Exception) -> str:
        _logger.warning("The state of job %s could not be read (%s).", job.job_id(), error)
        return "UNREADABLE"

    def _session_ended_under(self, job: RuntimeJobV2) -> bool:
        """Whether a cancelled job was cancelled with its session, and not by the user."""
        records = {record.session_id: record for record in self._keeper().records()}
        record = records.get(job.session_id)
        if record is not None and record.end is not None:
            return record.end == "closed by the platform"
        return bool(job.session_id) and self._keeper().is_closed(job.session_id)

    def _fetch(self, submission: str, job: RuntimeJobV2) -> PrimitiveResult:
        error: Exception | None = None
        for attempt in range(_RESULT_TRIES):
            time.sleep(attempt * 0.5)
            try:
                result = job.result()
            except (IBMError, requests.RequestException, ValueError) as failure:
                error = failure
                continue
            if isinstance(result, PrimitiveResult):
                payload = encode_result(result)
                self._ledger.create(
                    self._experiment,
                    decisions.result_key(submission),
                    {"job_id": job.job_id()},
                    payload,
                )
                return decode_result(payload)
        raise SubmissionHeldError(
            f"Job {job.job_id()} of experiment {self._experiment} is done, but the platform gives "
            f"no readable result ({error or 'it is empty'}). It is not submitted again; run again "
            "to fetch it once more."
        )

    def _ended(self, job: RuntimeJobV2, answer: Answer) -> JobFailedError | JobCancelledError:
        if answer is Answer.CANCELLED:
            return JobCancelledError(
                f"Job {job.job_id()} of experiment {self._experiment} was cancelled. To run it "
                "after all, start anew with fresh=True."
            )
        return JobFailedError(
            f"Job {job.job_id()} of experiment {self._experiment} failed: {job.error_message()}"
        )
