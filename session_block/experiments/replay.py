"""Find a request's submission, and decide whether this run may make it: replay or divergence."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from session_block import aio, prefect_context
from session_block.errors import (
    ExperimentDivergedError,
    ExperimentSealedError,
    LabelConflictError,
    LabelRequiredError,
)
from session_block.prefect_context import TaskAttempt
from session_block.pubs.fingerprint import fingerprint_label, submission_id
from session_block.pubs.request import Request
from session_block.records.context import ExperimentContext
from session_block.records.keys import Intent, Outcome, Result
from session_block.records.submissions import Asked
from session_block.submissions.reconcile import Reconciler

_logger = logging.getLogger(__name__)


class Occurrences:
    """Counts equal requests in one opening of an experiment.

    A task's retry gets the occurrences of its first attempt. A request that raises an error leaves
    its occurrence to the next equal request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._returned: defaultdict[str, list[int]] = defaultdict(list)
        self._calls: Counter[tuple[TaskAttempt, str]] = Counter()
        self._bound: dict[tuple[str, str, int], int] = {}
        self._holders: dict[tuple[str, int], tuple[str, str, int] | None] = {}

    def take(self, fingerprint: str, task: TaskAttempt | None = None) -> int:
        """Return the occurrence of a request with this fingerprint, counted from 1."""
        with self._lock:
            if task is None:
                return self._next(fingerprint)
            self._calls[task, fingerprint] += 1
            place = (task.task_run_id, fingerprint, self._calls[task, fingerprint])
            bound = self._bound.get(place)
            if bound is None or self._holders.get((fingerprint, bound)) != place:
                bound = self._bound[place] = self._next(fingerprint, place)
            elif bound in self._returned[fingerprint]:
                self._returned[fingerprint].remove(bound)
            return bound

    def give_back(self, fingerprint: str, occurrence: int) -> None:
        """Leave a failed request's occurrence to the next equal request."""
        with self._lock:
            known = 0 < occurrence <= self._taken[fingerprint]
            if known and occurrence not in self._returned[fingerprint]:
                self._returned[fingerprint].append(occurrence)

    def keep(self, fingerprint: str, occurrence: int) -> None:
        """Take back an occurrence that was left, unless another request has it by now."""
        with self._lock:
            if occurrence in self._returned[fingerprint]:
                self._returned[fingerprint].remove(occurrence)

    def _next(self, fingerprint: str, place: tuple[str, str, int] | None = None) -> int:
        if returned := self._returned[fingerprint]:
            returned.sort()
            occurrence = returned.pop(0)
        else:
            self._taken[fingerprint] += 1
            occurrence = self._taken[fingerprint]
        self._holders[fingerprint, occurrence] = place
        return occurrence


@dataclass(frozen=True)
class Admission:
    """A request's place in the experiment.

    Attributes:
        submission: The ID of its submission.
        asked: The request's description, for the submission's intent.
    """

    submission: str
    asked: Asked


class ReplayGuard:
    """Gives each request of one opening its place, and stops a run that has diverged.

    Args:
        context: The experiment, with the requests of earlier openings.
        reconciler: Restores what the ledger lost, before the first new request.
        opener: Whether this process opened the experiment, and so may count equal requests.
        may_diverge: Whether a run that diverges continues, with a warning.
    """

    def __init__(
        self,
        context: ExperimentContext,
        reconciler: Reconciler,
        *,
        opener: bool,
        may_diverge: bool,
    ) -> None:
        self._context = context
        self._identity = context.identity
        self._journal = context.journal
        self._reconciler = reconciler
        self._may_diverge = may_diverge
        self._asked: set[str] = set()
        self._places: dict[str, tuple[str, int]] = {}
        self._pid = context.environment.pid() if opener else None
        self._in_run = prefect_context.inside()
        self._lock = threading.Lock()
        self._askers: set[object] = {aio.current().asker}
        self._occurrences = Occurrences()
        self._read_records()

    @contextmanager
    def admit(self, request: Request) -> Iterator[Admission]:
        """Give a request its place; if the request fails, the next equal request gets the place.

        Raises:
            LabelRequiredError: A retry could not recognise this process's, thread's or nested
                task's requests by counting them.
            LabelConflictError: The label already names another request.
            ExperimentSealedError: The experiment is finished and has no record of this request.
            ExperimentDivergedError: The run is not the one that was interrupted.
        """
        if request.label is not None:
            yield self._admitted(request, fingerprint_label(request.label), 1)
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
        attempt = prefect_context.task_attempt()
        with aio.current().holding(
            lambda: self._occurrences.take(fingerprint, attempt),
            lambda taken: self._occurrences.give_back(fingerprint, taken),
        ) as occurrence:
            self._places[submission_id(fingerprint, occurrence)] = (fingerprint, occurrence)
            yield self._admitted(request, fingerprint, occurrence)

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
        if request.label is None:
            return False
        submission = submission_id(fingerprint_label(request.label), 1)
        recorded = self._record_of(submission)
        if recorded is None:
            return False
        self._check_label(request.label, recorded.fingerprint, self._fingerprint(request))
        return self._journal.has(Result, submission)

    def _keep(self, submission: str) -> None:
        """Take back a place that was left, unless another request has it by now."""
        if submission in self._places:
            self._occurrences.keep(*self._places[submission])

    def _admitted(self, request: Request, identifier: str, occurrence: int) -> Admission:
        submission, label = submission_id(identifier, occurrence), request.label
        fingerprint = self._fingerprint(request)
        with self._lock:
            concurrent = self._concurrent or self._several_ask()
            self._asked.add(submission)
            self._unasked.discard(submission)
            recorded = self._record_of(submission)
            if recorded is None and not self._context.sealed and self._reconciler.ensure():
                self._read_records()
                recorded = self._recorded.get(submission)
                concurrent = concurrent or self._concurrent
            if recorded is not None:
                self._check_label(label, recorded.fingerprint, fingerprint)
            else:
                self._check_new(in_turn=label is not None or concurrent)
        return Admission(submission, Asked(fingerprint, occurrence, label, concurrent))

    def _fingerprint(self, request: Request) -> str:
        return request.fingerprint_by(self._context.versions.fingerprint)

    def _several_ask(self) -> bool:
        """Note who makes a request; return whether several threads or live asyncio tasks do."""
        ended = {one for one in self._askers if isinstance(one, asyncio.Task) and one.done()}
        self._askers = (self._askers - ended) | {aio.current().asker}
        return len(self._askers) > 1

    def _record_of(self, submission: str) -> Intent | None:
        if submission not in self._recorded:
            intent = self._journal.get(Intent, submission, 1)
            if intent is None:
                return None
            self._recorded[submission] = intent
        return self._recorded[submission]

    def _check_label(self, label: str | None, known: str | None, asked: str) -> None:
        # If the record was lost with the ledger, there is nothing to compare: trust the label.
        if known not in (None, asked):
            raise LabelConflictError(
                f"The label {label!r} of experiment {self._identity} stands for the request "
                f"{known[:12]}, but this is {asked[:12]}. Nothing was submitted. Use another "
                "label.",
                experiment=self._identity.uid,
            )

    def _check_new(self, *, in_turn: bool) -> None:
        if self._context.sealed:
            raise ExperimentSealedError(
                f"Experiment {self._identity} is finished and has no record of this request, so "
                f"nothing was submitted. Start a new experiment {self._identity.anew}.",
                experiment=self._identity.uid,
            )
        if not self._unasked or in_turn:
            return
        what = (
            f"Experiment {self._identity} recorded {len(self._unasked)} requests that this run has "
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

    def _read_records(self) -> None:
        intents = self._journal.all(Intent)
        self._recorded = {one.submission: one for one in intents if one.generation == 1}
        counted = {key: one for key, one in self._recorded.items() if one.label is None}
        refused = {one.submission for one in self._journal.all(Outcome) if one.kind == "rejected"}
        self._unasked = set(counted) - refused - self._asked
        self._concurrent = any(one.concurrent for one in counted.values())
