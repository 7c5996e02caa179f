"""Find out what became of a submission whose sender is gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import requests
from qiskit_ibm_runtime import RuntimeInvalidStateError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block import crashpoints
from session_block.account import Account
from session_block.client import Connection, ListedJob
from session_block.costs.budget import Budget
from session_block.environment.backoff import Backoff
from session_block.errors import ConnectionFailedError, SubmissionHeldError
from session_block.events import EventKind
from session_block.records.context import ExperimentContext
from session_block.records.keys import Hold, Intent, JobEnded, Outcome, Twin
from session_block.records.submissions import Generation, Situation
from session_block.settings import Policy
from session_block.submissions.decisions import Action, Answer, decide
from session_block.submissions.job_cache import JobCache
from session_block.tags import SubmissionTag, uid_tag

SETTLE_SECONDS = 30.0
"""The settle window: how long a listing may hide a job that the platform accepted.

For IBM this is a guess: its pages say nothing about it. An account whose platform has a known lag,
such as the local platform, has its own window.
"""

_LOOKS = 10
"""How often the listing is read within the window."""

_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0
_logger = logging.getLogger(__name__)


def settle_window(account: Account) -> float:
    """Return the settle window of an account's platform, in seconds."""
    return SETTLE_SECONDS if account.settle_seconds is None else account.settle_seconds


class Settler:
    """Decides the outcome of a generation from what the ledger and the platform show.

    Whoever creates the outcome first decides it for everybody; all others accept it.

    Args:
        context: The experiment.
        connection: Its instance.
        jobs: Its jobs.
        budget: Stops counting generations that made no job.
        policy: What to do with an intent that has neither a live sender nor a job.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        jobs: JobCache,
        budget: Budget,
        policy: Policy = Policy.RESUBMIT,
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._experiment = context.uid
        self._connection = connection
        self._jobs = jobs
        self._budget = budget
        self._policy = policy

    def settle(self, submission: str, generation: Generation) -> None:
        """Decide the outcome of an intent whose sender is gone, from the platform's listing.

        Raises:
            SubmissionHeldError: The policy leaves the decision to an operator, or did so before.
            ConnectionFailedError: The listing failed for too long.
        """
        self._jobs.check_instance(generation)
        situation = Situation.HELD if generation.held else Situation.INTENT_ORPHANED
        environment = self._context.environment
        window = settle_window(self._connection.account)
        backoff = Backoff(
            f"The job listing for submission {submission} could not be read", environment
        )
        began = environment.monotonic()
        while True:
            settled = environment.monotonic() - began >= window
            answer, jobs = self._look(generation, backoff, settled=settled)
            match decide(situation, answer, self._policy):
                case Action.ADOPT:
                    self.adopt(submission, generation.number, jobs)
                    return
                case Action.ABANDON:
                    self.decide(Outcome.abandoned(submission, generation.number))
                    return
                case Action.HOLD:
                    raise self.hold(
                        submission,
                        generation,
                        f"its sender is gone, and the platform shows no job with the tag "
                        f"{generation.intent.tag}",
                    )
                case _:
                    pause = max(window / _LOOKS, _SHORTEST_PAUSE_SECONDS)
                    environment.pause(min(pause, _LONGEST_PAUSE_SECONDS))

    def adopt(self, submission: str, number: int, jobs: Sequence[ListedJob]) -> None:
        """Adopt the earliest usable job for a generation; the others are twins."""
        chosen = next((job for job in jobs if job.can_give_a_result), jobs[0])
        outcome = self.decide(Outcome.of_job(submission, number, chosen.job_id, adopted=True))
        if outcome.job_id is not None:
            self._context.publish(EventKind.JOB_ADOPTED, outcome.job_id, submission)
        self.cancel_twins(submission, [job.job_id for job in jobs if job.job_id != outcome.job_id])

    def decide(self, outcome: Outcome) -> Outcome:
        """Record a generation's outcome unless there is one; return the recorded outcome."""
        stands, _ = self._journal.record(outcome)
        if not stands.made_job:
            self._budget.void(stands.submission, stands.generation)
        return stands

    def write_off(self, submission: str, number: int, because: str) -> None:
        """Record that a generation's job gave no result and never will."""
        self._journal.record(JobEnded(submission=submission, generation=number, because=because))

    def hold(
        self, submission: str, generation: Generation, because: str, *, gone: bool = False
    ) -> SubmissionHeldError:
        """Record that a generation waits for an operator; return the error that says so.

        Args:
            submission: The submission's ID.
            generation: The generation.
            because: Why.
            gone: Whether what is missing is gone, so that another look is of no use.
        """
        self._journal.record(
            Hold(
                submission=submission,
                generation=generation.number,
                because=because,
                job_id=generation.job_id,
            )
        )
        self._context.publish(EventKind.SUBMISSION_HELD, submission, because)
        place = f"{self._experiment} {submission}"
        cure = (
            f"'session-block submissions retry {place}' runs it again"
            if generation.job_id
            else f"'session-block submissions adopt {place} JOB' if you know its job, "
            f"'session-block submissions release {place}' if there is none"
        )
        again = "" if gone else "Run again to look once more. Otherwise "
        return SubmissionHeldError(
            f"Submission {submission} of experiment {self._context.identity} is held: {because}. "
            f"Nothing is submitted. {again}{cure}.",
            **generation.named(self._experiment),
        )

    def cancel_twins(self, submission: str, job_ids: Sequence[str]) -> None:
        """Cancel surplus jobs if they can still be cancelled, and record them as twins.

        Those that another owner submitted are only recorded.
        """
        for job_id in job_ids:
            _logger.warning(
                "Job %s is a twin of submission %s of experiment %s; cancelling it, unless another "
                "owner sent it.",
                job_id,
                submission,
                self._experiment,
            )
            try:
                fate = self._cancel(job_id)
            except (ConnectionFailedError, IBMError, requests.RequestException) as error:
                _logger.warning("Job %s could not be cancelled (%s).", job_id, error)
                continue
            self._journal.record(Twin(submission=submission, job_id=job_id, fate=fate))

    def _cancel(self, job_id: str) -> str:
        job = self._connection.jobs.get(job_id)
        if job is None:
            return "deleted"
        if self._context.is_anothers(job.tags, self._connection.identity):
            return "left to its owner"
        try:
            with crashpoints.around("cancel job"):
                job.cancel()
        except RuntimeInvalidStateError:
            return "too late to cancel"
        return "cancelled"

    def _jobs_of(self, intent: Intent) -> list[ListedJob]:
        """Return a generation's jobs: the experiment's jobs whose tag has the generation's core."""
        core = (self._experiment, intent.submission, intent.generation)
        return [
            job
            for job in self._connection.jobs.tagged(uid_tag(self._experiment))
            if any(tag.core == core for tag in filter(None, map(SubmissionTag.parse, job.tags)))
        ]

    def _look(
        self, generation: Generation, backoff: Backoff, *, settled: bool
    ) -> tuple[Answer, list[ListedJob]]:
        try:
            jobs = self._jobs_of(generation.intent)
        except (IBMError, requests.RequestException, KeyError, ValueError) as error:
            self._context.environment.pause(backoff.failed(error))
            self._connection.renew_after(error)
            return Answer.UNREADABLE, []
        backoff.recovered()
        match len(jobs):
            case 0:
                return (Answer.NO_JOB if settled else Answer.NO_JOB_YET), jobs
            case 1:
                return Answer.ONE_JOB, jobs
            case _:
                return Answer.SEVERAL_JOBS, jobs
