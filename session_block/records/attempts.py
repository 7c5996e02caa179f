"""Record attempts at an experiment: when each begins, and how long a failed one's session stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from session_block.errors import CrashLoopError
from session_block.records.chapters import is_sealed, latest_chapter
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import AttemptBegan, AttemptFailed, AttemptLeft
from session_block.records.stops import seal_unless_stopped


@dataclass(frozen=True)
class RootAttempt:
    """An attempt of an outermost flow run: all its openings of one name are one experiment.

    Attributes:
        run: The run's ID.
        number: The attempt's number, counted from 1.
    """

    run: str
    number: int


def note_attempt(
    journal: Journal,
    identity: Identity,
    results: int,
    most: int | None,
    within: RootAttempt | None = None,
) -> int:
    """Record that an attempt begins, and stop it after too many without progress.

    So a run that crashes repeatedly without progress is not retried for ever. A stopped attempt
    starts a new count, so that a retry by hand gets the full number again. Attempts at a finished
    experiment are not stopped: it has nothing left to do, so it is not what fails.

    Args:
        journal: The experiment's journal.
        identity: The experiment.
        results: How many results are recorded now.
        most: How many limited attempts in a row may begin with the same number of results; ``None``
            if this attempt has no limit and does not count towards the limit of others.
        within: The flow run's attempt that it belongs to, if others of its tree share the
            experiment. Only the first of them counts.

    Returns:
        The number of the attempt, counted from 1.

    Raises:
        CrashLoopError: As many attempts have already begun without a new result.
    """
    attempts = journal.all(AttemptBegan)
    if within is not None and _of(within, attempts):
        most = None
    in_vain = 0
    for one in sorted(attempts, key=lambda one: one.attempt, reverse=True):
        if one.stopped or one.results != results:
            break
        in_vain += one.limited
    stopped = most is not None and in_vain >= most and not is_sealed(journal)
    number = len(attempts) + 1
    began = AttemptBegan(
        attempt=number,
        results=results,
        limited=most is not None,
        stopped=stopped,
        flow_run_id=None if within is None else within.run,
        flow_run_attempt=None if within is None else within.number,
        chapter=latest_chapter(journal),
    )
    while not journal.record(began)[1]:
        number += 1  # another attempt began at the same time and took this number
        began = replace(began, attempt=number)
    if stopped:
        raise CrashLoopError(
            f"Experiment {identity} has been tried {in_vain} times in a row without a new result "
            f"({results} are recorded), so it is stopped instead of tried once more. Find out from "
            "the logs why it ends. Then retry the flow run: it continues where it stopped.",
            experiment=identity.uid,
        )
    return number


def note_failure(journal: Journal, attempt: int, keep_seconds: int) -> None:
    """Record that an attempt has failed, and how long its session is kept for the next one."""
    journal.record(AttemptFailed(attempt=attempt, keep_seconds=keep_seconds))


def note_leaving(journal: Journal, attempt: int) -> None:
    """Record that an attempt ended without an error."""
    journal.record(AttemptLeft(attempt=attempt))


def others_are_inside(journal: Journal, within: RootAttempt) -> bool:
    """Whether an opening of this attempt of the outermost run has not ended yet.

    A killed one never ends, so the session stays open until the outermost run completes.
    """
    return any(not _has_ended(journal, one) for one in _of(within, journal.all(AttemptBegan)))


def roots_of(journal: Journal) -> dict[str, RootAttempt]:
    """Return the outermost runs that share an experiment's latest chapter, with their attempts.

    By their IDs, each with its latest attempt.
    """
    chapter = latest_chapter(journal)
    return {
        one.flow_run_id: RootAttempt(one.flow_run_id, one.flow_run_attempt or 0)
        for one in journal.all(AttemptBegan)
        if one.flow_run_id is not None and one.chapter == chapter
    }


def seal_completed(
    identity: Identity, journal: Journal, root: str, completed: RootAttempt | None = None
) -> None:
    """Seal a shared experiment whose outermost run has completed.

    Args:
        identity: The experiment.
        journal: Its journal.
        root: The ID of the run.
        completed: The attempt that completed, if that is known; by default the latest one. Prefect
            may have begun a later one beside it, whose process was then killed.
    """
    within = None if is_sealed(journal) else roots_of(journal).get(root)
    within = completed if within is not None and completed is not None else within
    # Somebody is inside if the run has not waited for a child, or has returned a reference.
    if within is not None and not others_are_inside(journal, within):
        seal_unless_stopped(identity, journal)


def _of(within: RootAttempt, attempts: list[AttemptBegan]) -> list[AttemptBegan]:
    its = (within.run, within.number)
    return [one for one in attempts if (one.flow_run_id, one.flow_run_attempt) == its]


def _has_ended(journal: Journal, began: AttemptBegan) -> bool:
    ended = (AttemptLeft, AttemptFailed)
    return began.stopped or any(journal.has(kind, began.attempt) for kind in ended)


@dataclass(frozen=True)
class Failure:
    """The failed attempt after which an experiment stopped.

    Attributes:
        failed_at: When it failed, by its machine's clock.
        kept_until: Until when its session is kept.
    """

    failed_at: datetime
    kept_until: datetime


def last_failure(journal: Journal) -> Failure | None:
    """Return the failure of the latest attempt; ``None`` if it succeeded, crashed or still runs."""
    failed = journal.get(AttemptFailed, journal.count(AttemptBegan))
    if failed is None or failed.recorded_at is None:
        return None
    latest = journal.get(AttemptBegan, failed.attempt)
    if latest is not None and latest.flow_run_id is not None:
        within = RootAttempt(latest.flow_run_id, latest.flow_run_attempt or 0)
        if others_are_inside(journal, within):
            return None
    keep = timedelta(seconds=failed.keep_seconds)
    return Failure(failed.recorded_at, failed.recorded_at + keep)
