"""Attempts at an experiment: how they follow each other, and what those that fail leave open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from session_block.errors import CrashLoopError
from session_block.ledger.store import Ledger
from session_block.records.identity import Identity

_ATTEMPT = "attempt/"
_FAILED = "failed/"


def note_attempt(ledger: Ledger, identity: Identity, results: int, most: int | None) -> int:
    """Record that an attempt begins, and stop it after too many without progress.

    A run that crashes again and again without getting on is not tried for ever. The attempt that is
    stopped begins a new count, so that whoever retries it by hand gets as many again.

    Args:
        ledger: Where attempts are recorded.
        identity: The experiment.
        results: How many results are recorded now.
        most: How many limited attempts in a row may have begun with as many; ``None`` for one that
            has no limit, and does not count against that of others.

    Returns:
        The number of the attempt, counted from 1.

    Raises:
        CrashLoopError: This is one more.
    """
    attempts = ledger.facts(identity.uid, _ATTEMPT)
    in_vain = 0
    for fact in sorted(attempts, key=lambda one: one.key, reverse=True):
        if fact.body["stopped"] or fact.body["results"] != results:
            break
        in_vain += fact.body["limited"]
    stopped = most is not None and in_vain >= most
    body = {"results": results, "limited": most is not None, "stopped": stopped}
    number = len(attempts) + 1
    while not ledger.create(identity.uid, f"{_ATTEMPT}{number:06d}", body)[1]:
        number += 1  # of two that begin at once each has a number of its own
    if stopped:
        raise CrashLoopError(
            f"Experiment {identity} has been tried {in_vain} times in a row without a new result "
            f"({results} are recorded), so it is stopped before it is tried once more. Look into "
            "the logs why it ends, then retry the flow run: it goes on where it stopped."
        )
    return number


def note_failure(ledger: Ledger, identity: Identity, attempt: int, keep_seconds: int) -> None:
    """Record that an attempt has failed, and for how long its session is kept for another one."""
    ledger.create(identity.uid, f"{_FAILED}{attempt:06d}", {"keep_seconds": keep_seconds})


@dataclass(frozen=True)
class Failure:
    """The failed attempt with which an experiment rests.

    Attributes:
        failed_at: When it failed, by its machine's clock.
        kept_until: When the time is over for which its session is kept.
    """

    failed_at: datetime
    kept_until: datetime


def last_failure(ledger: Ledger, experiment: str) -> Failure | None:
    """Return the failure of the latest attempt at an experiment, unless that goes on or crashed.

    Args:
        ledger: Where attempts are recorded.
        experiment: The experiment's UID.
    """
    facts = {fact.key: fact for fact in ledger.facts(experiment, _ATTEMPT, _FAILED)}
    attempts = sum(key.startswith(_ATTEMPT) for key in facts)
    failed = facts.get(f"{_FAILED}{attempts:06d}")
    if failed is None:
        return None
    keep = timedelta(seconds=failed.body["keep_seconds"])
    return Failure(failed.created_at, failed.created_at + keep)
