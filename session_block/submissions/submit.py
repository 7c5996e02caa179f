"""Submit exactly once: carry out what :mod:`session_block.submissions.decisions` decides.

The intent is durable before the POST, the job's ID before the first look at the job, and the result
as soon as it is read, each in its own transaction. Limit: IBM has no idempotency key. If its
listing hides a job for longer than the settle window, the job is found too late and becomes a twin.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field

from qiskit_ibm_runtime import IBMBackend, Session

from session_block import aio, crashpoints
from session_block.client import Program
from session_block.client.failures import (
    UNAUTHORIZED,
    code_in,
    is_outage,
    refusal,
    too_many_requests,
)
from session_block.costs.budget import Budget
from session_block.costs.forecasts import Forecaster
from session_block.environment.backoff import OUTAGE_SECONDS, Backoff, until_looking_again
from session_block.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    ExperimentSealedError,
    LedgerError,
    SubmissionNotSentError,
    SubmissionRejectedError,
)
from session_block.events import EventKind
from session_block.pubs.request import Request
from session_block.records import submissions as records
from session_block.records.context import ExperimentContext
from session_block.records.keys import DrawnProgram, Intent, Outcome
from session_block.records.sender import SenderWatch, sending
from session_block.records.submissions import Asked, Generation, Situation, Submission
from session_block.sessions.manager import SessionManager, session_id_of
from session_block.submissions.decisions import BUYS, WITH_A_DEAD_JOB, Action, Answer, decide
from session_block.submissions.job_cache import JobCache
from session_block.submissions.rate_limit import RateLimiter
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.settle import Settler
from session_block.tags import SubmissionTag, asker_digest

_WITHOUT_A_JOB = frozenset(
    {
        Situation.NOTHING,
        Situation.ABANDONED,
        Situation.REJECTED,
        Situation.REJECTED_FOR_NOW,
        Situation.REJECTED_BY_CLOSED_SESSION,
    }
)
_ATTEMPTS_PER_CALL = 3
_LONG_PAUSE_SECONDS = 60.0
_logger = logging.getLogger(__name__)


class OccurrenceTakenError(Exception):
    """Another subflow has the occurrence; the request takes the next one. No user sees it."""


@dataclass
class _Call:
    """One call for a submission.

    Attributes:
        began: When, by the monotonic clock.
        refused_before: The generation that was refused before; ``None`` if the latest was not.
        tried: The generations that this call tried to send.
        failures: How many of these failed in a way that says nothing about the job.
        failure: The last of these failures.
        renewed: Whether the connection was renewed for a read.
        waits_since: Since when it waits for another sender, by the monotonic clock.
    """

    request: Request
    submission: str
    about: Asked
    began: float
    refused_before: Generation | None
    tried: set[int] = field(default_factory=set)
    failures: int = 0
    failure: Exception | None = None
    renewed: bool = False
    waits_since: float | None = None

    def until_looking_again(self, now: float) -> float:
        """Return how long to pause before looking again whether the other sender is done."""
        self.waits_since = now if self.waits_since is None else self.waits_since
        return until_looking_again(now - self.waits_since)


class Submitter:
    """Submits the requests of one experiment.

    Args:
        context: The experiment, whose tags all its jobs bear.
        sessions: Its session manager, which opens a session when the first job needs it.
        budget: Accepts or rejects each submission.
        jobs: Keeps each job that is sent.
        settler: Decides outcomes.
        reconciler: Restores what the ledger lost before anything new is submitted.

    Attributes:
        forecaster: Says what each job is expected to cost.
    """

    def __init__(
        self,
        context: ExperimentContext,
        sessions: SessionManager,
        budget: Budget,
        jobs: JobCache,
        settler: Settler,
        reconciler: Reconciler,
    ) -> None:
        self._context = context
        self.forecaster = Forecaster(context.journal.ledger, sessions.connection)
        self._environment = context.environment
        self._journal = context.journal
        self._experiment = context.uid
        self._sessions = sessions
        self._budget = budget
        self._jobs = jobs
        self._settler = settler
        self._reconciler = reconciler
        self._limiter = RateLimiter(context.environment, sessions.plan.submissions_per_minute)
        self._senders = SenderWatch(context.environment)

    def read(self, submission: str) -> Submission:
        """Return what the ledger says about a submission."""
        return records.read_submission(self._journal, submission)

    def submit(self, request: Request, submission: str, about: Asked) -> Generation:
        """Make sure that the request has exactly one job; return the generation that made it.

        Args:
            request: What to run.
            submission: The submission's ID.
            about: What the intent records of the request.

        Raises:
            SubmissionRejectedError: The platform refused the job.
            BudgetExceededError: A limit was reached, so nothing was sent.
            ExperimentStoppedError: A person or the cost limit stopped the experiment.
            ExperimentSealedError: The experiment is finished, and this submission has no result.
            SubmissionHeldError: It is unknown whether a job was made, and an operator must decide.
            OccurrenceTakenError: Another subflow has this occurrence since.
            SubmissionNotSentError: Each try failed, and the platform shows no job; the next call
                tries again.
            ConnectionFailedError: The platform could not be reached; the next call tries again.
        """
        recorded = self.read(submission)
        call = _Call(request, submission, about, self._environment.monotonic(), recorded.refusal)
        backoff = Backoff(
            f"What submission {submission} of experiment {self._context.identity} needs could not "
            "be read",
            self._environment,
        )
        while True:
            try:
                found = self._step(call, recorded)
            except ConnectionFailedError as error:
                if not self._may_pass(call, error):
                    raise
                self._environment.pause(backoff.failed(error))
            else:
                backoff.recovered()
                if found is not None:
                    return found
            recorded = self.read(submission)

    def _step(self, call: _Call, recorded: Submission) -> Generation | None:
        """Do what is next; return the generation that made the job if there is one."""
        self._check_ours(recorded, call.about)
        latest = recorded.latest
        may_try = call.failures < _ATTEMPTS_PER_CALL and not self._has_lasted(call)
        action = self._next_action(recorded, call.refused_before)
        if action in BUYS:
            self._sessions.check_not_stopped()
        match action:
            case Action.ANSWER | Action.ASK_JOB if latest is not None:
                return latest
            case Action.WAIT_FOR_SENDER:
                self._environment.pause(call.until_looking_again(self._environment.monotonic()))
            case Action.LOOK if latest is not None:
                self._settler.settle(recorded.id, latest)
            case Action.RAISE if latest is not None and latest.outcome is not None:
                raise self._rejected(recorded.id, latest.outcome)
            case Action.SUBMIT | Action.NEXT_GENERATION if may_try:
                self._attempt(call, recorded)
            case Action.NEXT_GENERATION_IN_NEW_SESSION if latest is not None:
                if not self._is_overtaken(recorded):
                    self._refuse_when_sealed(recorded)
                    self._sessions.replace(
                        str(latest.intent.session_id), asked_again=latest.number not in call.tried
                    )
                    self._attempt(call, recorded)
            case _:
                last = "" if call.failure is None else f" The last try failed: {call.failure}."
                raise SubmissionNotSentError(
                    f"Submission {recorded.id} of experiment {self._context.identity} was tried "
                    f"{len(call.tried)} times, and the platform shows no job of it. Nothing is "
                    "lost. Run again once the platform takes jobs; 'session-block doctor' says "
                    f"what can be reached.{last}",
                    experiment=self._experiment,
                    submission=recorded.id,
                ) from call.failure
        return None

    def _has_lasted(self, call: _Call) -> bool:
        return self._environment.monotonic() - call.began >= OUTAGE_SECONDS

    def _may_pass(self, call: _Call, error: ConnectionFailedError) -> bool:
        """Whether what a step needs of the platform may be asked again: nothing was sent for it."""
        if self._has_lasted(call):
            return False
        if is_outage(error):
            return True
        if call.renewed:
            return False
        call.renewed = self._sessions.connection.renew_after(error)
        return call.renewed

    def _check_ours(self, recorded: Submission, about: Asked) -> None:
        """Check that no subflow in another process has just asked for the same occurrence."""
        first = recorded.generations[0].intent if recorded.generations else None
        theirs = None if first is None or first.chapter != about.chapter else first.asker
        if theirs is None or about.asker is None or about.label is not None:
            return
        # A run with another ID, or a call with other parameters, takes up what is recorded.
        other_place = theirs.path != about.asker.path and theirs.call != about.asker.call
        if theirs.run == about.asker.run and other_place:
            raise OccurrenceTakenError(recorded.id)

    def _next_action(self, recorded: Submission, before: Generation | None) -> Action:
        """Decide from the ledger; read the platform's listing first if the ledger knows no job.

        Args:
            recorded: What the ledger says.
            before: The generation that was refused before this call, or ``None``. The cause may be
                cured since, and what an older version took for a refusal may have made a job.
        """
        situation = recorded.situation(sender_alive=self._senders.may_still_send(recorded))
        if situation in _WITHOUT_A_JOB and self._reconciler.ensure():
            return Action.WAIT_FOR_SENDER
        if situation in WITH_A_DEAD_JOB and self._reconciler.ensure_after(recorded):
            return Action.WAIT_FOR_SENDER
        match situation:
            case Situation.NOTHING:
                return decide(situation, Answer.NO_JOB)
            case Situation.REJECTED_BY_BUDGET:
                over = self._budget.why_no_more() is not None
                return decide(situation, Answer.OVER_BUDGET if over else Answer.WITHIN_BUDGET)
            case Situation.REJECTED if before is not None and recorded.latest == before:
                return decide(situation, Answer.ASKED_ANEW)
            case _:
                return decide(situation)

    def _attempt(self, call: _Call, recorded: Submission) -> None:
        """Create the next generation's intent and, if nobody else did, its outcome."""
        aio.current().end_if_abandoned()
        if self._is_overtaken(recorded):
            return
        self._refuse_when_sealed(recorded)
        sessions, request, about = self._sessions, call.request, call.about
        program = self._prepared(recorded, request)
        forecast = self.forecaster.of_sent(request, program, sessions.backend)
        # A session may end while this waits, so it is asked for afterwards.
        self._wait(recorded.id)
        mode = sessions.current()
        session_id = session_id_of(mode)
        calibrated_at = sessions.calibrated_at(session_id)
        request.check_faulty(sessions.backend)
        number = len(recorded.generations) + 1
        tag = SubmissionTag(
            self._experiment,
            recorded.id,
            number,
            borrowed=session_id is not None and sessions.is_borrowed(session_id),
            labelled=about.label is not None,
            concurrent=about.concurrent,
            number=self._context.identity.number,
            occurrence=about.occurrence,
            identity=self._context.versions.identity,
            fingerprint=self._context.versions.fingerprint,
            version=self._context.versions.tags,
            owner=self._context.owner_digest(sessions.connection.identity),
            asker=None if about.asker is None else asker_digest(about.asker.run, about.asker.call),
            kind=request.kind,
        )
        place = sessions.place
        sessions.check_not_stopped()
        with sending(self._environment) as sender:
            intent = Intent(
                submission=recorded.id,
                generation=number,
                fingerprint=about.fingerprint,
                occurrence=about.occurrence,
                label=about.label,
                concurrent=about.concurrent,
                kind=request.kind,
                implementation=request.implementation,
                backend=place.backend,
                instance=place.instance,
                url=place.url,
                session_id=session_id,
                calibrated_at=calibrated_at,
                tag=str(tag),
                sender=sender,
                registers=request.sent_registers,
                asker=about.asker,
                chapter=about.chapter,
                task_run=about.task_run,
                part=None if (of := request.part) is None else [of.index + 1, len(of.of.parts)],
                **({} if forecast is None else forecast.recorded()),
            )
            call.tried.add(number)
            if not self._journal.record(intent)[1]:
                return
            self._check_budget(recorded.id, number)
            failure = self._send(request, program, mode, tag, recorded)
        if failure is not None:
            call.failure = failure
            call.failures += 1

    def _wait(self, submission: str) -> None:
        """Wait until the platform takes the next job, and say so if that outlasts the session."""
        pause = self._limiter.pause_seconds
        left = self._sessions.seconds_left() if pause > _LONG_PAUSE_SECONDS else None
        if left is not None and left < pause:
            _logger.warning(
                "The platform takes the next submission of experiment %s in %.0f s, but its "
                "session ends in %.0f s, so the job cannot run in it. The session idles out, and "
                "the Block's on_expiry decides what follows. To stop paying now, close it: "
                "'session-block sessions list' shows it.",
                self._context.identity,
                pause,
                max(left, 0.0),
            )
        self._limiter.wait(f"Submission {submission} of experiment {self._context.identity}")

    def _prepared(self, before: Submission, request: Request) -> Program:
        """Return what is sent for a request: what an earlier try has drawn, if it is random."""
        program = self._sessions.prepared(request, is_new=not before.generations)
        if request.drawn is None:
            return program
        submission = before.id
        drawn = DrawnProgram(submission=submission, circuits=request.drawn)
        recorded, _ = self._journal.record(drawn, program.encoded)
        if recorded.payload is None:
            raise LedgerError(
                f"The ledger holds what was drawn for {submission} without its content.",
                experiment=self._experiment,
                submission=submission,
            )
        return program.with_inputs(recorded.payload)

    def _send(
        self,
        request: Request,
        program: Program,
        mode: Session | IBMBackend,
        tag: SubmissionTag,
        before: Submission,
    ) -> Exception | None:
        handled = sys.exception()
        try:
            with crashpoints.around("submit"):
                job = program.send(mode, [*self._context.identity.tags, str(tag)])
        except Exception as error:  # noqa: BLE001 - `_failed` sorts them, and loses none
            return self._failed(tag, error, handled, before)
        self._limiter.accepted()
        self._jobs.keep(job, request.like)
        outcome = self._settler.decide(Outcome.of_job(tag.submission, tag.generation, job.job_id()))
        if outcome.job_id != job.job_id():
            self._settler.cancel_twins(tag.submission, [job.job_id()])
        else:
            session_id = session_id_of(mode)
            where = f"in session {session_id}" if session_id else "in job mode"
            self._context.publish(EventKind.JOB_SUBMITTED, job.job_id(), where)
        return None

    def _failed(
        self,
        tag: SubmissionTag,
        error: Exception,
        handled: BaseException | None,
        before: Submission,
    ) -> Exception | None:
        """Record a refusal as the outcome; after any other failure the tag must be looked up.

        Returns:
            The error, if it is unknown whether the job was made; otherwise, and if there were only
            too many requests, ``None``.
        """
        refused, too_many = refusal(error, handled), too_many_requests(error, handled)
        if too_many is not None:
            self._limiter.refused(too_many.retry_after_seconds)
        if refused is None:
            _logger.warning(
                "It is unknown whether submission %s of experiment %s reached the platform (%s); "
                "looking up its tag.",
                tag.submission,
                self._experiment,
                error,
            )
            self._sessions.connection.renew_after(error)
            return error if too_many is None else None
        outcome = self._settler.decide(
            Outcome(
                submission=tag.submission,
                generation=tag.generation,
                kind="rejected",
                cause=refused.cause,
                status=refused.status,
                message=refused.message,
            )
        )
        if too_many is not None:
            return None
        if refused.status == UNAUTHORIZED and before.refused_with != UNAUTHORIZED:
            self._sessions.connection.renew()
        elif outcome.kind == "rejected" and refused.cause == "for-now":
            self._sessions.check_after_refusal()
            raise self._rejected(tag.submission, outcome) from error
        return None

    def _check_budget(self, submission: str, number: int) -> None:
        """Count the intent; if it exceeds a limit, reject it before it is sent."""
        why = self._budget.why_not(submission, number)
        if why is None:
            return
        outcome = self._settler.decide(
            Outcome(
                submission=submission,
                generation=number,
                kind="rejected",
                cause=records.BUDGET,
                message=why,
            )
        )
        raise self._rejected(submission, outcome)

    def _is_overtaken(self, recorded: Submission) -> bool:
        """Whether another process has gone on with a submission, and finished, since it was read.

        Reading the platform's listing in between may take long.
        """
        return self._context.sealed and self.read(recorded.id) != recorded

    def _refuse_when_sealed(self, recorded: Submission) -> None:
        if self._context.sealed:
            raise ExperimentSealedError(
                f"Experiment {self._context.identity} is finished, and submission {recorded.id} "
                f"has no result. Nothing is submitted. {self._context.identity.more}",
                experiment=self._experiment,
                submission=recorded.id,
            )

    def _rejected(
        self, submission: str, outcome: Outcome
    ) -> SubmissionRejectedError | BudgetExceededError:
        if outcome.cause == records.BUDGET:
            return BudgetExceededError(
                f"Submission {submission} of experiment {self._context.identity} was not sent: "
                f"{self._budget.why_no_more() or outcome.message}. What is recorded stays. "
                "Raise the limit in the Block, and run again to continue.",
                experiment=self._experiment,
                submission=submission,
            )
        if outcome.status is None:
            who, cure = "client", "Correct the request, and run again"
        elif outcome.cause == "for-now":
            who, cure = "platform", "Check credentials and limits, and run again"
        else:
            who, cure = "platform", "Correct the request or what stands in its way, and run again"
        return SubmissionRejectedError(
            f"The {who} refused submission {submission} of experiment {self._context.identity}: "
            f"{outcome.message}. No job was made. {cure}: the next run asks once more, also if "
            "only tags, limits or the plan have changed. 'session-block submissions show "
            f"{self._experiment} {submission}' tells its story.",
            experiment=self._experiment,
            submission=submission,
            code=code_in(outcome.message or ""),
        )
