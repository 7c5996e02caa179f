"""Record attempts at an experiment: when each begins, and how long a failed one's session stays."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from session_block.errors import CrashLoopError
from session_block.ledger.store import Ledger
from session_block.records.chapters import is_sealed, latest_chapter
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import NAMES, AttemptBegan, AttemptFailed, AttemptLeft, NameGiven
from session_block.records.sender import is_another_running, sender_here
from session_block.records.stops import seal_unless_stopped, standing_stop

_logger = logging.getLogger(__name__)


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

    Warn if another process has the experiment open right now.

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
        sender=sender_here(journal.environment),
    )
    while True:
        held, ours = journal.record(began)
        if ours:
            break
        attempts.append(held)
        number += 1  # another attempt began at the same time and took this number
        began = replace(began, attempt=number)
    _warn_of_others(journal, identity, attempts, within)
    if stopped:
        raise CrashLoopError(
            f"Experiment {identity} has been tried {in_vain} times in a row without a new result "
            f"({results} are recorded), so it is stopped instead of tried once more. Find out from "
            "the logs why it ends. Then retry the flow run: it continues where it stopped.",
            experiment=identity.uid,
        )
    return number


def _warn_of_others(
    journal: Journal,
    identity: Identity,
    attempts: Iterable[AttemptBegan],
    within: RootAttempt | None,
) -> None:
    """Warn if another process runs the experiment, or the one of its name before it, right now.

    Two programs that open one name at once get one experiment, also if both mean a new one. Only
    what is certain is told: an attempt of a process of this machine that runs, and has not ended
    the attempt. A retry and a subflow belong to the same flow run, so they are no others. Limit:
    processes on other machines and in other containers cannot be seen.

    Args:
        journal: The experiment's journal.
        identity: The experiment.
        attempts: Its attempts before the one that begins now, so that of two the later one warns.
        within: The flow run's attempt that the one that begins now belongs to, if others of its
            tree share the experiment.
    """
    other = _running_elsewhere(journal, attempts, within)
    if other is not None:
        _logger.warning(
            "Experiment %s is open in %s. This run joins it, because a name is one experiment: "
            "equal requests are bought once, for both, and the run that asks for something else "
            "first may stop as diverged. If you meant another experiment, end this run and choose "
            "another name, or fresh=True. If you meant to resume it, end the other process first.",
            identity,
            _described(other),
        )
    elif identity.named and identity.number > 1 and not identity.resumed:
        _warn_of_the_one_before(journal.ledger, identity, within)


def _warn_of_the_one_before(ledger: Ledger, identity: Identity, within: RootAttempt | None) -> None:
    """Warn if the experiment that a fresh one takes the name from still runs elsewhere."""
    given = Journal(ledger, NAMES).all(NameGiven, identity.name)
    before = next((one for one in given if one.number == identity.number - 1), None)
    if before is None:
        return
    journal = Journal(ledger, before.uid)
    other = _running_elsewhere(journal, journal.all(AttemptBegan), within)
    if other is not None:
        _logger.warning(
            "Experiment %s begins while number %d of that name is open in %s. Each buys its own "
            "jobs. From now on the name alone stands for number %d: to resume the other one "
            "outside its flow run, give uid=%r. If you meant one experiment, end this run.",
            identity,
            before.number,
            _described(other),
            identity.number,
            before.uid,
        )


def _running_elsewhere(
    journal: Journal, attempts: Iterable[AttemptBegan], within: RootAttempt | None
) -> AttemptBegan | None:
    """Return the latest of these attempts that another process makes now; ``None`` if none is."""
    running = [
        one
        for one in sorted(attempts, key=lambda one: one.attempt, reverse=True)
        if one.sender is not None
        and not (within is not None and one.flow_run_id == within.run)
        and is_another_running(one.sender, journal.environment)
    ]
    # The ledger is read only now: mostly there is nobody else.
    if not running or is_sealed(journal) or standing_stop(journal) is not None:
        return None
    chapter = latest_chapter(journal)
    open_now = (one for one in running if one.chapter == chapter and not _has_ended(journal, one))
    return next(open_now, None)


def _described(attempt: AttemptBegan) -> str:
    sender, began = attempt.sender, attempt.recorded_at
    host = "" if sender is None else f"process {sender.pid} on {sender.machine.partition('/')[0]}"
    run = "" if attempt.flow_run_id is None else f" (flow run {attempt.flow_run_id})"
    since = "" if began is None else f" since {began.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    return f"{host}{run}{since}"


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
