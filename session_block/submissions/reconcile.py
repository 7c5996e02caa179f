"""Reconcile ledger and platform: restore what the ledger lost, and cancel surplus jobs.

The platform's listing by the experiment's tag is the second ledger. A resumed experiment reads it
in full before it submits anything new. To find twins, it is also read during a wait for a job and
when the experiment closes: IBM's client repeats a POST after some errors, so even a submission
without a crash can have a twin.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import requests
from qiskit_ibm_runtime.exceptions import IBMError

from session_block.client import EXECUTOR, ListedJob, at_once
from session_block.environment.backoff import Backoff
from session_block.errors import ConnectionFailedError
from session_block.records import submissions as records
from session_block.records.context import ExperimentContext
from session_block.records.identity import Lost, check_is_latest, lost_among
from session_block.records.keys import Intent, Outcome, SubmissionFact, Twin
from session_block.records.sessions import restore_session
from session_block.records.submissions import Situation, Submission
from session_block.sessions.manager import SessionManager
from session_block.submissions.decisions import WITH_A_DEAD_JOB, Action, Answer, decide
from session_block.submissions.settle import Settler, settle_window
from session_block.tags import SubmissionTag, name_tag, uid_tag

TWIN_CHECK_SECONDS = 30.0
"""The pause between two checks for twins during a wait for a job."""

_logger = logging.getLogger(__name__)


class Reconciler:
    """Reconciles one experiment.

    Args:
        context: The experiment. A new one has no jobs to reconcile.
        sessions: Its session manager, which knows where its jobs are sent.
        settler: Decides outcomes and cancels twins.
    """

    def __init__(
        self, context: ExperimentContext, sessions: SessionManager, settler: Settler
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._experiment = context.uid
        self._sessions = sessions
        self._connection = sessions.connection
        self._settler = settler
        self._done = not context.identity.resumed
        self._looked_after: set[tuple[str, int]] = set()
        self._checked_at = context.environment.monotonic()
        self._lock = threading.Lock()

    def ensure(self) -> bool:
        """Read the whole listing once per opening of the experiment.

        Returns:
            Whether the listing was read now; ``False`` if it had been read before.

        Raises:
            ConnectionFailedError: The listing failed for too long, so nothing is known.
            InvalidInputError: The platform shows a later experiment of the name, which the ledger
                does not know.
        """
        with self._lock:
            if self._done:
                return False
            self._read_listing()
            self._done = True
            return True

    def ensure_after(self, recorded: Submission) -> bool:
        """Read the whole listing once after a submission's latest job has ended without a result.

        A twin of that job may give the result, or the ledger may be an older copy that does not
        know the job that came after: each is adopted, so that none is bought.

        Returns:
            Whether the listing was read now; ``False`` if it had been read for this job before.

        Raises:
            ConnectionFailedError: The listing failed for too long, so nothing is known.
            InvalidInputError: The platform shows a later experiment of the name, which the ledger
                does not know.
        """
        ended = (recorded.id, len(recorded.generations))
        with self._lock:
            if ended in self._looked_after:
                return False
            self._read_listing()
            self._done = True
            self._looked_after.add(ended)
            return True

    def _read_listing(self) -> None:
        environment = self._context.environment
        if not self._done and self._context.identity.lost:
            # Jobs submitted just before the ledger was lost may not be listed yet.
            environment.pause(settle_window(self._connection.account))
        backoff = Backoff(
            f"The job listing of experiment {self._context.identity} could not be read",
            environment,
        )
        while True:
            try:
                self._reconcile()
                newest = self._newest_of_the_name() if not self._done else []
            except (IBMError, requests.RequestException, KeyError, ValueError) as error:
                environment.pause(backoff.failed(error))
                self._connection.renew_after(error)
            else:
                check_is_latest(self._context.identity, self._journal.ledger, newest)
                return

    def _newest_of_the_name(self) -> list[Lost]:
        """Return what has newest jobs of this name, if the ledger may have lost a later one."""
        identity = self._context.identity
        if not identity.as_latest or not identity.named:
            return []
        jobs = self._connection.jobs.newest(name_tag(identity.name))
        owner = self._context.owner_digest(self._connection.identity)
        return lost_among(jobs, owner)

    def check_twins(self, *, now: bool = False) -> None:
        """Look for twins if a check is due; if the listing fails, a later check tries again.

        Args:
            now: Check even if none is due, because the experiment ends or its session is closed.
                Jobs of intents without an outcome are adopted: nobody may ask for them again.
        """
        with self._lock:
            moment = self._context.environment.monotonic()
            if not now and moment - self._checked_at < TWIN_CHECK_SECONDS:
                return
            try:
                with at_once():
                    self._reconcile_with_a_good_token(ending=now)
            except (
                ConnectionFailedError,
                IBMError,
                requests.RequestException,
                KeyError,
                ValueError,
            ) as error:
                _logger.warning(
                    "The jobs of experiment %s could not be listed (%s), so this check finds no "
                    "twins. A later check tries again.",
                    self._experiment,
                    error,
                )
            self._checked_at = self._context.environment.monotonic()

    def _reconcile_with_a_good_token(self, *, ending: bool) -> None:
        try:
            self._reconcile(ending=ending)
        except IBMError as error:
            if not self._connection.renew_after(error):
                raise
            self._reconcile(ending=ending)

    def _reconcile(self, *, ending: bool = False) -> None:
        jobs = self._connection.jobs.tagged(uid_tag(self._experiment))
        by_submission: defaultdict[str, dict[int, list[tuple[SubmissionTag, ListedJob]]]]
        by_submission = defaultdict(lambda: defaultdict(list))
        for job in jobs:
            for tag in filter(None, map(SubmissionTag.parse, job.tags)):
                if tag.uid == self._experiment:
                    by_submission[tag.submission][tag.generation].append((tag, job))
        # Read the facts after the listing, so that the ledger has at least the intent of every
        # listed job, unless it lost it.
        facts = self._facts()
        self._restore_sessions(jobs, facts)
        for submission, tagged in by_submission.items():
            pending = {job.job_id for found in tagged.values() for _, job in found if job.pending}
            for generation in sorted(tagged):
                recorded = records.fold(submission, facts[submission])
                known = {one.job_id for one in recorded.generations}
                twins = {one.job_id for one in facts[submission] if isinstance(one, Twin)}
                others = [pair for pair in tagged[generation] if pair[1].job_id not in known]
                # A twin that could not be cancelled in time may give what a dead job did not.
                situation = _situation(recorded, generation, ending=ending)
                may_adopt = situation in WITH_A_DEAD_JOB
                new = [
                    (tag, job)
                    for tag, job in others
                    if job.job_id not in twins or (may_adopt and job.can_give_a_result)
                ]
                if new:
                    self._treat(recorded, situation, new, pending)
                    facts[submission] = self._facts(submission)[submission]

    def _restore_sessions(
        self, listed: Sequence[ListedJob], facts: Mapping[str, Sequence[SubmissionFact]]
    ) -> None:
        """Record the sessions of jobs that the ledger lost, in the order of their first jobs.

        The latest one counts as the one to go on in, and its end as the one to judge.
        """
        known = {
            one.job_id
            for its_facts in facts.values()
            for one in its_facts
            if isinstance(one, Outcome | Twin)
        }
        for job in listed:
            parsed = (SubmissionTag.parse(tag) for tag in job.tags)
            tag = next((one for one in parsed if one and one.uid == self._experiment), None)
            if tag is None or job.session_id is None or job.job_id in known:
                continue
            anothers = self._context.is_anothers(job.tags, self._connection.identity)
            # Whoever takes another's experiment works in its session; its owner needs none else.
            if self._context.taken or not anothers:
                restore_session(
                    self._journal,
                    job.session_id,
                    self._sessions.place,
                    borrowed=tag.borrowed or anothers,
                )

    def _treat(
        self,
        recorded: Submission,
        situation: Situation,
        tagged: Sequence[tuple[SubmissionTag, ListedJob]],
        pending: AbstractSet[str],
    ) -> None:
        """Do what the table says about unrecorded jobs that bear a generation's tag."""
        tag, others = tagged[0][0], [job for _, job in tagged]
        several = Answer.ONE_JOB if len(others) == 1 else Answer.SEVERAL_JOBS
        settled = situation in _WITH_A_JOB
        if situation in WITH_A_DEAD_JOB:
            settled = not any(job.can_give_a_result for job in others)
        match decide(situation, Answer.OTHER_JOBS if settled else several):
            case Action.RESTORE:
                self._make_room(recorded, pending)
                self._restore(recorded, tag, others)
            case Action.ADOPT:
                self._settler.adopt(recorded.id, tag.generation, others)
            case Action.ADOPT_AS_NEXT:
                self._adopt_as_next(recorded, others)
            case Action.CANCEL_TWINS:
                self._settler.cancel_twins(recorded.id, [job.job_id for job in others])
            case _:
                # An intent without an outcome is settled when somebody asks for the submission.
                return

    def _restore(self, recorded: Submission, tag: SubmissionTag, jobs: Sequence[ListedJob]) -> None:
        """Record a generation that the ledger lost, and all earlier ones that are missing too."""
        for number in range(len(recorded.generations) + 1, tag.generation + 1):
            self._journal.record(self._restored_intent(number, tag, jobs[0]))
            if number < tag.generation:
                self._settler.decide(Outcome.abandoned(recorded.id, number, restored=True))
        self._settler.adopt(recorded.id, tag.generation, jobs)
        _logger.warning(
            "Submission %s of experiment %s was restored from the platform: job %s.",
            recorded.id,
            self._experiment,
            jobs[0].job_id,
        )

    def _make_room(self, recorded: Submission, pending: AbstractSet[str]) -> None:
        """End the generation before a lost one, which could begin only after that end."""
        latest = recorded.latest
        if latest is None:
            return
        if latest.outcome is None:
            self._settler.decide(Outcome.abandoned(recorded.id, latest.number))
        elif latest.job_id is not None:
            self._settler.write_off(recorded.id, latest.number, records.SUPERSEDED)
            if latest.job_id in pending:
                self._settler.cancel_twins(recorded.id, [latest.job_id])

    def _adopt_as_next(self, recorded: Submission, jobs: Sequence[ListedJob]) -> None:
        latest = recorded.generations[-1]
        number = latest.number + 1
        intent = replace(latest.intent, generation=number, sender=None, adopted=True)
        if self._journal.record(intent)[1]:
            self._settler.adopt(recorded.id, number, jobs)

    def _restored_intent(self, number: int, tag: SubmissionTag, job: ListedJob) -> Intent:
        place = self._sessions.place
        return Intent(
            submission=tag.submission,
            generation=number,
            fingerprint=None,
            occurrence=tag.occurrence,
            label="?" if tag.labelled else None,
            concurrent=tag.concurrent,
            kind=tag.kind or (None if job.program == EXECUTOR else job.program),
            implementation=job.family,
            backend=place.backend,
            instance=place.instance,
            url=place.url,
            session_id=job.session_id,
            tag=str(tag),
            restored=True,
        )

    def _facts(self, submission: str | None = None) -> defaultdict[str, list[SubmissionFact]]:
        """Return the facts by submission; of one submission alone if it is given."""
        facts: defaultdict[str, list[SubmissionFact]] = defaultdict(list)
        for fact in self._journal.several(*records.FACTS, Twin, at=submission):
            if isinstance(fact, SubmissionFact):
                facts[fact.submission].append(fact)
        return facts


_WITH_A_JOB = WITH_A_DEAD_JOB | {Situation.JOB, Situation.SUPERSEDED, Situation.RESULT}


def _situation(recorded: Submission, generation: int, *, ending: bool) -> Situation:
    """Return where a generation stands, as far as a listing can change it.

    Args:
        recorded: The submission.
        generation: The number of the generation.
        ending: Whether the experiment ends.
    """
    if generation > len(recorded.generations):
        return Situation.NOTHING
    from_there_on = recorded.generations[generation - 1 :]
    if len(from_there_on) > 1:
        # If no later generation made a job either, nothing has taken its place.
        dead = all(one.outcome is not None and one.job_id is None for one in from_there_on)
        return Situation.ABANDONED if dead else Situation.SUPERSEDED
    # Reconciling leaves open intents alone; the next request finds out if the sender is alive. But
    # an intent that came after its job has none: whoever restored it was killed before the outcome,
    # and nobody may ever ask for it again. That is so for all of them once the experiment ends; a
    # sender that is at work finds the same job decided.
    settled_here = ending or from_there_on[0].intent.sender is None
    return recorded.situation(sender_alive=not settled_here)
