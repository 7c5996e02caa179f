"""Find a request's submission, and decide whether this run may make it: replay or divergence."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from session_block import aio, prefect_context
from session_block.errors import (
    ExperimentDivergedError,
    ExperimentSealedError,
    LabelConflictError,
    LabelRequiredError,
)
from session_block.experiments.flow_places import asker_here
from session_block.experiments.occurrences import Asking, Occurrences
from session_block.experiments.repetition import LOOK_SECONDS, Repetition
from session_block.experiments.task_tries import TaskTries
from session_block.prefect_context import TaskAttempt
from session_block.pubs.fingerprint import submission_id
from session_block.pubs.request import Request
from session_block.records.chapters import latest_chapter
from session_block.records.context import ExperimentContext
from session_block.records.keys import (
    Asker,
    AskerFound,
    Intent,
    NoiseModelTaken,
    Outcome,
    Result,
)
from session_block.records.submissions import Asked
from session_block.sessions.manager import SessionManager
from session_block.submissions.reconcile import Reconciler
from session_block.submissions.submit import OccurrenceTakenError
from session_block.tags import SubmissionTag, is_asker

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admission:
    """A request's place in the experiment.

    Attributes:
        submission: The ID of its submission.
        asked: The request's description, for the submission's intent.
    """

    submission: str
    asked: Asked


class Answering(Protocol):
    """Answers a request without a submission, such as with what another experiment has bought."""

    def known(self, submission: str) -> str | None:
        """Return the fingerprint of the request that was answered; ``None`` if none was."""

    def answer(self, submission: str, asked: Asked) -> bool:
        """Answer a new request now; return whether it was. It then costs nothing."""


class ReplayGuard:
    """Gives each request of one opening its place, and stops a run that has diverged.

    Args:
        context: The experiment, with the requests of earlier openings.
        sessions: Tell what a request must fit.
        reconciler: Restores what the ledger lost, before the first new request.
        opener: Whether this process opened the experiment, and so may count equal requests.
        may_diverge: Whether a run that diverges continues, with a warning.
        shared: Whether other flow runs of the same tree open the experiment too, by its name.
    """

    def __init__(
        self,
        context: ExperimentContext,
        sessions: SessionManager,
        reconciler: Reconciler,
        *,
        opener: bool,
        may_diverge: bool,
        shared: bool = False,
    ) -> None:
        self._context = context
        self._identity = context.identity
        self._journal = context.journal
        self._sessions = sessions
        self._reconciler = reconciler
        self._may_diverge = may_diverge
        self._asked: set[str] = set()
        self._repetition = Repetition(context.environment)
        self._places: dict[str, tuple[str, int]] = {}
        self._pid = context.environment.pid() if opener else None
        self._in_run = prefect_context.inside()
        self._lock = threading.Lock()
        self._threads: set[object] = {aio.current().asker}
        opened_in = None if shared else prefect_context.flow_attempt()
        self._opened_in = None if opened_in is None else opened_in[0]
        self._askings: dict[tuple[str, int], Asking] = {}
        self._tries = TaskTries()
        self._read_records()
        asked = {
            (str(one.fingerprint), one.occurrence): one.asker
            for one in self._recorded.values()
            if one.occurrence is not None and one.asker is not None
            if one.chapter == self._chapter  # what earlier chapters recorded is for all
        }
        asked |= {
            (one.fingerprint, one.occurrence): one.asker
            for one in self._journal.all(NoiseModelTaken)
            if one.asker is not None and one.chapter == self._chapter and not one.labelled
        }
        root = prefect_context.root_flow_run_id()
        self._occurrences = Occurrences(asked, root, _Unclaimed(self))

    @contextmanager
    def admit(self, request: Request, answering: Answering | None = None) -> Iterator[Admission]:
        """Give a request its place; if the request fails, the next equal request gets the place.

        Args:
            request: The request.
            answering: What may answer it without a submission; ``None`` if nothing does.

        Raises:
            LabelRequiredError: A retry could not recognise this process's, thread's or nested
                task's requests by counting them.
            LabelConflictError: The label already names another request.
            NotISAError: The request is new, and no backend of the experiment can run it.
            ExperimentSealedError: The experiment is finished and has no record of this request.
            ExperimentDivergedError: The run is not the one that was interrupted.
        """
        if request.label_fingerprint is not None:
            yield self._admitted(request, request.label_fingerprint, 1, answering=answering)
            return
        if self._pid != self._context.environment.pid():
            raise LabelRequiredError(
                f"Experiment {self._identity} was opened by another process, and only that process "
                "can count equal requests. Give this request its own label=.",
                experiment=self._identity.uid,
            )
        if self._in_run and not prefect_context.inside():
            raise LabelRequiredError(
                f"A thread unknown to Prefect made a request of experiment {self._identity}, which "
                "a task's retry could not recognise. Give it a label=, submit it as a task, "
                "or start the thread's work with contextvars.copy_context().run.",
                experiment=self._identity.uid,
            )
        fingerprint = self._fingerprint(request)
        task, asking = prefect_context.task_attempt(), self._asking()
        with aio.current().holding(
            lambda: self._take(fingerprint, task, asking),
            lambda taken: self._occurrences.give_back(fingerprint, taken),
        ) as occurrence:
            self._places[submission_id(fingerprint, occurrence)] = (fingerprint, occurrence)
            yield self._admitted(
                request, fingerprint, occurrence, asking.asker, task, answering=answering
            )

    def held(self, submission: str, *, unless: type[Exception]) -> AbstractContextManager[None]:
        """Hold a job's place while waiting for its result; leave the place if the wait fails.

        Args:
            submission: The job's submission.
            unless: The error after which the place is kept.
        """
        return aio.current().holding(
            lambda: self._keep(submission), lambda _: self.leave(submission), unless=(unless,)
        )

    def leave(self, submission: str) -> None:
        """Leave a job's place to the next equal request, because it gave no result."""
        if submission in self._places:
            self._occurrences.give_back(*self._places[submission])

    def has_result(self, request: Request) -> bool:
        """Whether a result is recorded under the request's label, so that it costs nothing.

        Raises:
            LabelConflictError: The label stands for another request.
        """
        if request.label_fingerprint is None:
            return False
        submission = submission_id(request.label_fingerprint, 1)
        recorded = self._record_of(submission)
        if recorded is None:
            return False
        self._check_label(str(request.label), recorded.fingerprint, self._fingerprint(request))
        return self._journal.has(Result, submission)

    def _keep(self, submission: str) -> None:
        """Take back a place that was left, unless another request has it by now."""
        if submission in self._places:
            self._occurrences.keep(*self._places[submission])

    def _asking(self) -> Asking:
        """Return who asks, if others may ask of the same experiment; Prefect is asked once."""
        attempt = prefect_context.flow_attempt()
        if attempt is None or attempt[0] == self._opened_in:
            return Asking()
        if attempt not in self._askings:
            self._askings[attempt] = Asking(asker_here(self._journal.ledger), attempt)
        return self._askings[attempt]

    def _take(self, fingerprint: str, task: TaskAttempt | None, asking: Asking) -> int:
        """Take a request's occurrence; not one that another process has taken for its own flow."""
        while True:
            occurrence = self._occurrences.take(fingerprint, task, asking)
            if asking.asker is None:
                return occurrence
            recorded = self._record_of(submission_id(fingerprint, occurrence))
            if not self.may_claim(asking.asker, fingerprint, occurrence):
                self._occurrences.disown(fingerprint, occurrence)
                continue
            recorded = self._claimed(recorded, fingerprint, asking.asker)
            known = recorded is not None and recorded.chapter == self._chapter
            theirs = recorded.asker if known and recorded is not None else None
            if theirs is None or not self._occurrences.is_anothers(theirs, asking.asker):
                return occurrence
            self._occurrences.learn(fingerprint, occurrence, theirs)
            self._occurrences.give_back(fingerprint, occurrence)

    def _claimed(
        self, recorded: Intent | None, fingerprint: str, asker: Asker | None
    ) -> Intent | None:
        """Record who asks for a submission whose asker was lost, so that later attempts know it."""
        if recorded is None or asker is None or not self._lacks_asker(recorded):
            return recorded
        claim = AskerFound(submission=recorded.submission, asker=asker, fingerprint=fingerprint)
        found, _ = self._journal.record(claim)
        claimed = self._recorded[recorded.submission] = self._with_asker(recorded, found)
        return claimed

    def _lacks_asker(self, recorded: Intent) -> bool:
        counted = recorded.label is None and recorded.chapter == self._chapter
        return recorded.restored and recorded.asker is None and counted

    def is_unclaimed(self, fingerprint: str, occurrence: int) -> bool:
        """Whether an occurrence is recorded, but belongs to no flow run in this chapter."""
        recorded = self._recorded.get(submission_id(fingerprint, occurrence))
        return recorded is not None and (
            recorded.asker is None or recorded.chapter != self._chapter
        )

    def may_claim(self, asker: Asker | None, fingerprint: str, occurrence: int) -> bool:
        """Whether an occurrence is no other flow run's, as far as the tag of what was found tells.

        Who asked is lost with the ledger, but for a digest.
        """
        recorded = self._recorded.get(submission_id(fingerprint, occurrence))
        return recorded is None or self._may_claim(asker, recorded)

    def _may_claim(self, asker: Asker | None, recorded: Intent) -> bool:
        if asker is None or not self._lacks_asker(recorded):
            return True
        tag = SubmissionTag.parse(recorded.tag)
        told = None if tag is None else tag.asker
        return told is None or is_asker(told, asker.run, asker.call)

    def _admitted(
        self,
        request: Request,
        identifier: str,
        occurrence: int,
        asker: Asker | None = None,
        task: TaskAttempt | None = None,
        *,
        answering: Answering | None = None,
    ) -> Admission:
        submission, label = submission_id(identifier, occurrence), request.label
        fingerprint = self._fingerprint(request)
        by = "" if task is None else task.task_run_id
        if task is not None:
            self._tries.note(task, submission, aio.current().asker)
        since: float | None = None
        while True:
            with self._lock:
                concurrent = self._concurrent or self._several_ask()
                self._note_asked(submission)
                recorded = self._record_of(submission)
                is_new = recorded is None and not (answering and answering.known(submission))
                if is_new and not self._context.sealed and self._reconciler.ensure():
                    self._read_records()
                    recorded = self._recorded.get(submission)
                    concurrent = concurrent or self._concurrent
                is_sealed = is_new and recorded is None and self._context.sealed
                if is_sealed:
                    # Whoever sealed it meanwhile may have recorded this request before.
                    recorded = self._record_of(submission)
                if label is None and not self.may_claim(asker, fingerprint, occurrence):
                    self._occurrences.disown(fingerprint, occurrence)
                    raise OccurrenceTakenError  # another flow run asked for what was found
                claimed = self._claimed(recorded, fingerprint, asker)
                if claimed is not None and claimed is not recorded:
                    recorded = claimed
                    if self._occurrences.is_anothers(claimed.asker, asker):
                        raise OccurrenceTakenError  # another flow run was faster
                asked = Asked(fingerprint, occurrence, label, concurrent, asker, self._chapter, by)
                answered = self._is_answered(
                    submission, asked, recorded, answering, is_sealed=is_sealed
                )
                # The look at the platform may have taken long, and others waited for it.
                since = self._context.environment.monotonic() if since is None else since
                may_go_on = (
                    recorded is not None
                    or answered
                    or label is not None
                    or self._repeats(request, asker, task, concurrent=concurrent, since=since)
                )
            if may_go_on:
                break
            self._context.environment.pause(LOOK_SECONDS)
        return Admission(submission, asked)

    def _is_answered(
        self,
        submission: str,
        asked: Asked,
        recorded: Intent | None,
        answering: Answering | None,
        *,
        is_sealed: bool,
    ) -> bool:
        """Check a request against what is recorded; return whether it needs no submission."""
        if recorded is not None:
            self._check_label(asked.label, recorded.fingerprint, asked.fingerprint)
            return False
        known = None if answering is None else answering.known(submission)
        if known is not None:
            self._check_label(asked.label, known, asked.fingerprint)
            return True
        if answering is not None and answering.answer(submission, asked):
            return True
        if is_sealed:
            raise ExperimentSealedError(
                f"Experiment {self._identity} is finished and has no record of this request, so "
                f"nothing was submitted. {self._identity.more}",
                experiment=self._identity.uid,
            )
        return False

    def _note_asked(self, submission: str) -> None:
        self._asked.add(submission)
        if submission in self._unasked:
            self._unasked.discard(submission)
            self._repetition.goes_on()

    def _repeats(
        self,
        request: Request,
        asker: Asker | None,
        task: TaskAttempt | None,
        *,
        concurrent: bool,
        since: float,
    ) -> bool:
        """Return whether a new request may be made now; ``False`` if it is to wait.

        Raises:
            ExperimentDivergedError: It may not, because the run does not repeat the interrupted
                one.
        """
        in_this_task = set() if task is None else self._unasked_in(task)
        others = [self._recorded[one] for one in self._unasked_by(asker)]
        unasked = self._repetition.missing(others, concurrent=concurrent)
        if in_this_task or (unasked and not concurrent):
            self._diverged(request, len(in_this_task | unasked))
            return True
        if not unasked or self._may_diverge:
            return True
        if self._repetition.may_come(self._identity, len(unasked), since=since):
            return False
        self._diverged(request, len(unasked))
        return True

    def _fingerprint(self, request: Request) -> str:
        return request.fingerprint_by(self._context.versions.fingerprint)

    def _several_ask(self) -> bool:
        """Note who makes a request; return whether several threads or live asyncio tasks do."""
        ended = {one for one in self._threads if isinstance(one, asyncio.Task) and one.done()}
        self._threads = (self._threads - ended) | {aio.current().asker}
        return len(self._threads) > 1

    def _record_of(self, submission: str) -> Intent | None:
        if submission not in self._recorded:
            intent = self._journal.get(Intent, submission, 1)
            if intent is None:
                return None
            self._recorded[submission] = self._with_asker(
                intent, self._journal.get(AskerFound, submission) if intent.restored else None
            )
        return self._recorded[submission]

    @staticmethod
    def _with_asker(intent: Intent, found: AskerFound | None) -> Intent:
        if found is None:
            return intent
        return replace(intent, asker=found.asker, fingerprint=found.fingerprint)

    def _check_label(self, label: str | None, known: str | None, asked: str) -> None:
        # If the record was lost with the ledger, there is nothing to compare: trust the label.
        if known not in (None, asked):
            raise LabelConflictError(
                f"The label {label!r} of experiment {self._identity} stands for the request "
                f"{known[:12]}, but this is {asked[:12]}. Nothing was submitted. Use another "
                "label.",
                experiment=self._identity.uid,
            )

    def _unasked_by(self, asker: Asker | None) -> set[str]:
        """Return what the interrupted run asked for and this one has not yet.

        What other subflows asked for is theirs to repeat, or Prefect kept their results.
        """
        recorded = {one: self._recorded[one] for one in self._unasked}
        return {
            key
            for key, one in recorded.items()
            if not self._occurrences.is_anothers(one.asker, asker) and self._may_claim(asker, one)
        }

    def _unasked_in(self, task: TaskAttempt) -> set[str]:
        """Return what earlier tries of the task asked for, if it was sent, and this one has not."""
        unasked = self._tries.unasked(task)
        if not unasked:
            return unasked
        return {one for one in unasked if self._record_of(one) is not None} - self._refused()

    def _diverged(self, request: Request, unasked: int) -> None:
        """Stop the run, or warn, because it makes a new request too early."""
        # A program may go on after a request that cannot be sent. It fails again, for its reason.
        self._sessions.prepared(request)
        what = (
            f"Experiment {self._identity} recorded {unasked} requests that this run has "
            "not made, but the run now makes a new one, so it does not repeat the interrupted run."
        )
        if self._may_diverge:
            _logger.warning("%s It continues, because the Block says on_divergence='warn'.", what)
            return
        lost = (
            " Its ledger was lost, with recorded draws and pinned circuits: use a persistent one "
            "(ledger_url)."
            if self._identity.lost
            else ""
        )
        raise ExperimentDivergedError(
            f"{what} Nothing was submitted.{lost} Restore the code and the inputs (random ones "
            f"belong in experiment.once), or start a new experiment {self._identity.anew}.",
            experiment=self._identity.uid,
        )

    def _refused(self) -> set[str]:
        """Return the submissions that were refused the last time they were sent."""
        latest: dict[str, int] = {}
        for one in self._journal.all(Intent):
            latest[one.submission] = max(one.generation, latest.get(one.submission, 0))
        return {
            one.submission
            for one in self._journal.all(Outcome)
            if one.kind == "rejected" and one.generation == latest.get(one.submission)
        }

    def _read_records(self) -> None:
        intents = self._journal.all(Intent)
        self._chapter = latest_chapter(self._journal)
        found = {}
        if any(one.restored for one in intents):
            found = {one.submission: one for one in self._journal.all(AskerFound)}
        self._recorded = {
            one.submission: self._with_asker(one, found.get(one.submission))
            for one in intents
            if one.generation == 1
        }
        counted = {key: one for key, one in self._recorded.items() if one.label is None}
        # An earlier chapter may be replayed or left out; only the open one must be repeated.
        its = {key for key, one in counted.items() if one.chapter == self._chapter}
        self._unasked = its - self._refused() - self._asked
        self._concurrent = any(one.concurrent for one in counted.values())


@dataclass(frozen=True)
class _Unclaimed:
    """The recorded occurrences that belong to no flow run in this chapter."""

    guard: ReplayGuard

    def has(self, fingerprint: str, occurrence: int) -> bool:
        return self.guard.is_unclaimed(fingerprint, occurrence)

    def may_go_to(self, asker: Asker | None, fingerprint: str, occurrence: int) -> bool:
        return self.guard.may_claim(asker, fingerprint, occurrence)
