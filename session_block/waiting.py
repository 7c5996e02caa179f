"""Wait for a job, whatever happens to the network meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests
from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import crashpoints, decisions
from session_block.client import is_known_to_have_failed, reason_of
from session_block.decisions import Action, Answer, Generation, Situation, decide
from session_block.errors import (
    ConnectionFailedError,
    JobCancelledError,
    JobEndedWithSessionError,
    JobFailedError,
    JobWaitTimeoutError,
    LedgerError,
    SubmissionHeldError,
)
from session_block.ledger import Ledger
from session_block.patience import Patience
from session_block.refusals import tells_of_closed_session
from session_block.results import decode_result, encode_result
from session_block.session import SessionKeeper
from session_block.submission import Submitter

_FASTEST_POLL_SECONDS = 0.05
_SLOWEST_POLL_SECONDS = 2.0
_POLL_SHARE = 0.1
_RESULT_TRIES = 4
_NOT_FOUND = 404
_OUTAGES = (ConnectionFailedError, IBMError, requests.RequestException)


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
            ConnectionFailedError: The platform was out of reach for an hour; the job goes on.
        """
        stored = self.recorded(submission)
        if stored is not None:
            return stored
        self._keeper()
        answer = self._await_end(generation, timeout_seconds)
        match decide(Situation.JOB, answer):
            case Action.FETCH:
                return self._fetch(submission, generation)
            case Action.END_WITH_SESSION:
                self._ledger.create(
                    self._experiment, decisions.ended_key(submission, generation.number), {}
                )
                raise JobEndedWithSessionError(
                    f"Job {generation.job_id} of experiment {self._experiment} ended because its "
                    f"session {generation.intent['session_id']} did. Ask for it again: it then "
                    "runs in the session that replaces it."
                )
            case Action.RAISE if answer is Answer.CANCELLED:
                raise JobCancelledError(
                    f"Job {generation.job_id} of experiment {self._experiment} was cancelled. To "
                    "run it after all, start anew with fresh=True."
                )
            case Action.RAISE:
                reason = reason_of(self._job(generation))
                raise JobFailedError(
                    f"Job {generation.job_id} of experiment {self._experiment} failed: {reason}"
                )
            case _:
                raise self._unknown(generation)

    def _await_end(self, generation: Generation, timeout_seconds: float | None) -> Answer:
        began = time.monotonic()
        patience = Patience(f"The state of job {generation.job_id}")
        while True:
            waited = time.monotonic() - began
            pause = min(max(waited * _POLL_SHARE, _FASTEST_POLL_SECONDS), _SLOWEST_POLL_SECONDS)
            try:
                answer = self._ask(generation)
            except _OUTAGES as error:
                pause = patience.lose(error)
            else:
                patience.regain()
                if answer is not Answer.PENDING:
                    return answer
            if timeout_seconds is not None and waited >= timeout_seconds:
                raise JobWaitTimeoutError(
                    f"Job {generation.job_id} of experiment {self._experiment} is not done after "
                    f"{timeout_seconds:g} s. It goes on; ask for its result again."
                )
            time.sleep(pause)

    def _ask(self, generation: Generation) -> Answer:
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
                    return Answer.FAILED
                ours = self._closed_by_us(job)
                return Answer.CANCELLED if ours else Answer.ENDED_WITH_SESSION
            case "CANCELLED":
                with_session = self._session_ended_under(job)
                return Answer.ENDED_WITH_SESSION if with_session else Answer.CANCELLED
            case _:
                return Answer.PENDING

    def _job(self, generation: Generation) -> RuntimeJobV2:
        job = self._submitter.job(generation)
        if job is None:
            raise self._unknown(generation)
        return job

    def _session_ended_under(self, job: RuntimeJobV2) -> bool:
        """Whether a cancelled job was cancelled with its session, and not by the user."""
        if self._closed_by_us(job):
            return False
        return bool(job.session_id) and self._keeper().is_closed(job.session_id)

    def _closed_by_us(self, job: RuntimeJobV2) -> bool:
        return any(
            record.closing is not None
            for record in self._keeper().records()
            if record.session_id == job.session_id
        )

    def _fetch(self, submission: str, generation: Generation) -> PrimitiveResult:
        """Read a finished job's result and store it; what is returned is what was stored.

        One that is empty or truncated is fetched again, then held: the table's last row of a job
        that is done.
        """
        job = self._job(generation)
        patience = Patience(f"The result of job {generation.job_id}")
        unreadable: Exception | str = "it is empty"
        tries = 0
        while tries < _RESULT_TRIES:
            try:
                with crashpoints.around("fetch result"):
                    result = job.result()
            except _OUTAGES as error:
                time.sleep(patience.lose(error))
                continue
            except ValueError as error:
                unreadable = error
                result = None
            if isinstance(result, PrimitiveResult):
                self._submitter.forget(job.job_id())
                return self._store(submission, generation, result)
            time.sleep(tries * 0.5)
            tries += 1
        raise SubmissionHeldError(
            f"Job {generation.job_id} of experiment {self._experiment} is done, but the platform "
            f"gives no readable result ({unreadable}). It is not submitted again; run again to "
            "fetch it once more."
        )

    def _store(
        self, submission: str, generation: Generation, result: PrimitiveResult
    ) -> PrimitiveResult:
        key = decisions.result_key(submission)
        body = {"job_id": generation.job_id}
        fact, _ = self._ledger.create(self._experiment, key, body, encode_result(result))
        if fact.payload is None:
            raise LedgerError(f"The ledger holds a result of {submission} without its content.")
        return decode_result(fact.payload)

    def _unknown(self, generation: Generation) -> SubmissionHeldError:
        return SubmissionHeldError(
            f"The instance {generation.intent['instance']} does not know job {generation.job_id} "
            f"of experiment {self._experiment}. It was accepted, so it is not submitted again. If "
            "it was deleted, start anew with fresh=True."
        )
