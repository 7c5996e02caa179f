"""Return a job's result: from the ledger, or from the platform once the job is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from qiskit.primitives.containers import PrimitiveResult
from qiskit_ibm_runtime import RuntimeJobV2

from session_block import crashpoints
from session_block.client import decoded, post_processors, raw_result, reason_of
from session_block.client.failures import code_in
from session_block.client.service import STRANGE, connecting
from session_block.environment.backoff import Backoff
from session_block.errors import (
    InvalidInputError,
    JobCancelledError,
    JobEndedInPassingError,
    JobFailedError,
    JobNotFoundError,
    LedgerError,
    SubmissionHeldError,
)
from session_block.events import EventKind
from session_block.pubs.encoding import encode_result
from session_block.pubs.registers import with_names
from session_block.records import submissions as records
from session_block.records.context import ExperimentContext
from session_block.records.keys import RawResult, Result
from session_block.records.results import as_payload, reprocessed, result_of
from session_block.records.submissions import Generation, Situation
from session_block.references import PrimitiveKind, RegisterNames
from session_block.sessions.manager import SessionManager
from session_block.submissions.decisions import Action, Answer, decide
from session_block.submissions.job_cache import JobCache
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.settle import Settler
from session_block.submissions.watch import OUTAGES, JobWatch

_PRIMITIVES = get_args(PrimitiveKind)
_RESULT_TRIES = 4
_RESULT_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class RecordedJob:
    """A job whose result is recorded."""

    job_id: str
    result: Any


def _is_what_was_asked(generation: Generation, program: str, result: Any) -> bool:
    """Whether a result is of the type that the request's jobs return; only primitives' is known."""
    if isinstance(result, PrimitiveResult):
        return True
    of_a_primitive = generation.intent.kind in _PRIMITIVES or program in _PRIMITIVES
    return result is not None and not of_a_primitive


class ResultFetcher:
    """Waits for the jobs of one experiment, fetches their results and stores them.

    Every result is read back from the ledger, even the first time, so that a first run and a replay
    return the same.

    A failing network, an expired token or a restarting platform only prolongs the wait.

    Args:
        context: The experiment.
        sessions: Its sessions.
        jobs: Its jobs.
        settler: Writes off jobs that gave no result, and holds submissions whose job is unknown.
        reconciler: Looks for twins during long waits.
        keep_raw: Whether to record also what the client makes executor jobs' results of.
    """

    def __init__(
        self,
        context: ExperimentContext,
        sessions: SessionManager,
        jobs: JobCache,
        settler: Settler,
        reconciler: Reconciler,
        *,
        keep_raw: bool = False,
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._experiment = context.uid
        self._sessions = sessions
        self._connection = sessions.connection
        self._jobs = jobs
        self._settler = settler
        self._watch = JobWatch(context, sessions, jobs, reconciler)
        self._keep_raw = keep_raw

    def recorded(self, submission: str, asked: RegisterNames | None = None) -> Any | None:
        """Return a result from the ledger alone; ``None`` if it has none.

        Args:
            submission: The submission's ID.
            asked: The names that registers are to have, where they may differ from those sent.
        """
        found = self.recorded_job(submission, asked)
        return None if found is None else found.result

    def recorded_job(
        self, submission: str, asked: RegisterNames | None = None
    ) -> RecordedJob | None:
        """Return a result, like :meth:`recorded`, and its job's ID."""
        found = self._journal.get(Result, submission)
        result = result_of(found)
        if found is None or result is None:
            return None
        return RecordedJob(found.job_id, self._named(submission, found.job_id, result, asked))

    def has_result(self, submission: str) -> bool:
        """Whether the ledger holds a result; does not read the result."""
        return self._journal.has(Result, submission)

    def status(self, generation: Generation) -> str:
        """Return the state of a generation's job, in the client's words.

        Raises:
            ConnectionFailedError: The platform does not answer.
            SubmissionHeldError: The job was sent to another instance.
        """
        job = self._job(generation)
        with connecting(f"read the state of job {generation.job_id}"):
            return self._connection.jobs.status(job)

    def result(
        self,
        submission: str,
        generation: Generation,
        timeout_seconds: float | None = None,
        asked: RegisterNames | None = None,
    ) -> Any:
        """Return a submission's result: from the ledger, or once its job is done.

        Args:
            submission: The submission's ID.
            generation: Its latest generation.
            timeout_seconds: Seconds after which the wait ends; ``None`` for no limit.
            asked: See :meth:`recorded`.

        Raises:
            JobFailedError: The job failed for a reason of its own.
            JobCancelledError: Somebody cancelled the job.
            ExperimentStoppedError: It ended because a person or the cost limit ended its session.
            JobEndedInPassingError: The job ended because its session did, or for a reason that
                passes; asking again is safe.
            JobWaitTimeoutError: The timeout has passed; the job goes on.
            SubmissionHeldError: The platform does not know the job, or does not return its result.
            ConnectionFailedError: The platform was out of reach for an hour; the job goes on.
        """
        stored = self.recorded(submission, asked)
        if stored is not None:
            return stored
        self._connection.open()
        if generation.ended is not None:
            raise self._ended(generation, generation.ended)
        answer = self._watch.until_over(submission, generation, timeout_seconds)
        match decide(Situation.JOB, answer):
            case Action.FETCH:
                result = self._fetch(submission, generation)
                self._context.publish(EventKind.JOB_DONE, generation.job_id, submission)
                return self._named(submission, str(generation.job_id), result, asked)
            case Action.END_WITH_SESSION:
                self._context.publish(
                    EventKind.JOB_FAILED, generation.job_id, records.ENDED_WITH_SESSION
                )
                self._settler.write_off(submission, generation.number, records.ENDED_WITH_SESSION)
                raise self._ended(generation, records.ENDED_WITH_SESSION)
            case Action.END_AND_STOP:
                self._context.publish(
                    EventKind.JOB_FAILED, generation.job_id, records.ENDED_WITH_SESSION
                )
                self._settler.write_off(submission, generation.number, records.ENDED_WITH_SESSION)
                self._sessions.check_not_stopped()
                raise self._ended(generation, records.ENDED_WITH_SESSION)
            case Action.WRITE_OFF:
                self._context.publish(
                    EventKind.JOB_FAILED, generation.job_id, records.FAILED_IN_PASSING
                )
                self._settler.write_off(submission, generation.number, records.FAILED_IN_PASSING)
                raise self._ended(generation, records.FAILED_IN_PASSING)
            case Action.RAISE if answer is Answer.CANCELLED:
                self._context.publish(EventKind.JOB_FAILED, generation.job_id, "it was cancelled")
                raise JobCancelledError(
                    f"Job {generation.job_id} of experiment {self._context.identity} was "
                    f"cancelled. To run it after all: {self._retry(submission)}. Or start a new "
                    f"experiment {self._context.identity.anew}.",
                    **generation.named(self._experiment),
                )
            case Action.RAISE:
                reason = reason_of(self._job(generation))
                self._context.publish(EventKind.JOB_FAILED, generation.job_id, reason)
                advice = self._connection.jobs.advice(str(generation.job_id))
                told = "" if advice is None else f" IBM's advice: {advice.rstrip('.')}."
                raise JobFailedError(
                    f"Job {generation.job_id} of experiment {self._context.identity} failed: "
                    f"{reason.rstrip('.')}.{told} To run it once more: {self._retry(submission)}.",
                    **generation.named(self._experiment),
                    code=code_in(reason),
                )
            case _:
                raise self._unknown(submission, generation)

    def reprocessed(self, submission: str) -> Any:
        """Return what the installed client makes of a recorded result's raw one; records nothing.

        Raises:
            InvalidInputError: There is no result yet.
            JobNotFoundError: The raw result is not recorded, and the platform does not know the
                job any more.
            ConnectionFailedError: The platform could not be reached.
        """
        found = self._journal.get(Result, submission)
        if found is None:
            raise InvalidInputError(
                f"Submission {submission} of experiment {self._context.identity} has no result "
                "yet, so there is nothing to process again. Fetch its result first.",
                experiment=self._experiment,
                submission=submission,
            )
        raw = self._journal.get(RawResult, submission)
        if raw is None:
            raw = self._raw_at_the_platform(submission, found.job_id)
        return reprocessed(raw)

    def _raw_at_the_platform(self, submission: str, job_id: str) -> RawResult:
        generations = records.read_submission(self._journal, submission).generations
        generation = next(one for one in generations if one.job_id == job_id)
        job = self._job(generation)
        with connecting(f"fetch the result of job {job_id}"), crashpoints.around("fetch result"):
            text = raw_result(job)
        if not text:
            raise JobNotFoundError(
                f"The platform does not return the result of job {job_id} any more; that of a "
                "private job can be read only once. The recorded result stays. With keep_raw on "
                "the Block, raw results are recorded too.",
                **generation.named(self._experiment),
            )
        program = str(job.primitive_id)
        return RawResult(
            submission=submission, job_id=job_id, program=program, payload=as_payload(text)
        )

    def _named(
        self,
        submission: str,
        job_id: str,
        result: Any,
        asked: RegisterNames | None,
    ) -> Any:
        """Return a result with the names that the asking run's registers have."""
        if asked is None:
            return result
        generations = records.read_submission(self._journal, submission).generations
        sent = next((one.intent.registers for one in generations if one.job_id == job_id), None)
        return with_names(result, asked, sent)

    def _job(self, generation: Generation) -> RuntimeJobV2:
        job = self._jobs.job(generation)
        if job is None:
            raise JobNotFoundError(
                f"Job {generation.job_id} of experiment {self._context.identity} has disappeared "
                "from the platform. Run again to look once more.",
                **generation.named(self._experiment),
            )
        return job

    def _fetch(self, submission: str, generation: Generation) -> Any:
        """Fetch a finished job's result and store it; return it as stored."""
        environment = self._context.environment
        backoff = Backoff(f"The result of job {generation.job_id} could not be read", environment)
        tries = 0
        while True:
            job = self._job(generation)
            program = str(job.primitive_id)
            raw: str | None = None
            try:
                with crashpoints.around("fetch result"):
                    raw = raw_result(job)
                result = decoded(program, raw) if raw else None
            except OUTAGES as error:
                environment.pause(backoff.failed(error))
                self._connection.renew_after(error)
                continue
            except STRANGE as error:
                result, unreadable = None, f"it cannot be read ({error!r})"
            else:
                empty = result is None or (isinstance(result, str | dict) and not result)
                unreadable = "it is empty" if empty else f"it is a {type(result).__name__}"
            if raw is not None and _is_what_was_asked(generation, program, result):
                self._jobs.forget(str(generation.job_id))
                stored = self._store(submission, generation, program, raw, result)
                self._check_session(generation)
                return stored
            tries += 1
            last = tries >= _RESULT_TRIES
            answer = Answer.STILL_UNREADABLE if last else Answer.DONE_UNREADABLE
            if decide(Situation.JOB, answer) is Action.HOLD:
                because = f"job {generation.job_id} is done, but not its result: {unreadable}"
                private = bool(self._job(generation).private)
                if private:
                    because += (
                        ". The job is private, and the result of a private job can be read only "
                        "once: if an answer was lost on its way, the result is gone"
                    )
                raise self._settler.hold(submission, generation, because, gone=private)
            environment.pause(tries * _RESULT_PAUSE_SECONDS)

    def _check_session(self, generation: Generation) -> None:
        if generation.intent.session_id is not None:
            self._sessions.check_is_used(generation.intent.session_id, str(generation.job_id))

    def _store(
        self, submission: str, generation: Generation, program: str, raw: str, result: Any
    ) -> Any:
        job_id = str(generation.job_id)
        if isinstance(result, PrimitiveResult):
            made_with = post_processors(program)
            if self._keep_raw and made_with is not None:
                kept = RawResult(submission=submission, job_id=job_id, program=program)
                self._journal.record(kept, as_payload(raw))
            found = Result(submission=submission, job_id=job_id, made_with=made_with)
            stored, _ = self._journal.record(found, encode_result(result))
        else:
            found = Result(submission=submission, job_id=job_id, program=program)
            stored, _ = self._journal.record(found, as_payload(raw))
        recorded = result_of(stored)
        if recorded is None:
            raise LedgerError(
                f"The ledger holds a result of {submission} without its content.",
                experiment=self._experiment,
                submission=submission,
            )
        return recorded

    def _ended(self, generation: Generation, because: str) -> JobEndedInPassingError:
        return JobEndedInPassingError(
            f"Job {generation.job_id} of experiment {self._context.identity} (session "
            f"{generation.intent.session_id}) gave no result: {because}. Ask for it again: it "
            "then runs once more.",
            **generation.named(self._experiment),
        )

    def _unknown(self, submission: str, generation: Generation) -> SubmissionHeldError:
        instance = generation.intent.instance
        because = f"the instance {instance} does not know its job {generation.job_id} any more"
        return self._settler.hold(submission, generation, because)

    def _retry(self, submission: str) -> str:
        return f"session-block submissions retry {self._experiment} {submission}"
