"""Record attempts at an experiment: when each begins, and how long a failed one's session stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from session_block.errors import CrashLoopError
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import AttemptBegan, AttemptFailed, Sealed


def note_attempt(journal: Journal, identity: Identity, results: int, most: int | None) -> int:
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

    Returns:
        The number of the attempt, counted from 1.

    Raises:
        CrashLoopError: As many attempts have already begun without a new result.
    """
    attempts = journal.all(AttemptBegan)
    in_vain = 0
    for one in sorted(attempts, key=lambda one: one.attempt, reverse=True):
        if one.stopped or one.results != results:
            break
        in_vain += one.limited
    stopped = most is not None and in_vain >= most and not journal.has(Sealed)
    number = len(attempts) + 1
    began = AttemptBegan(attempt=number, results=results, limited=most is not None, stopped=stopped)
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
    keep = timedelta(seconds=failed.keep_seconds)
    return Failure(failed.recorded_at, failed.recorded_at + keep)
