"""A run that crashes again and again without getting on is stopped, and not tried for ever."""

from __future__ import annotations

from session_block.errors import CrashLoopError
from session_block.identity import Identity
from session_block.ledger import Ledger

_ATTEMPT = "attempt/"


def note_attempt(ledger: Ledger, identity: Identity, results: int, most: int) -> None:
    """Record that a flow run's attempt begins, and stop it after too many without progress.

    The attempt that is stopped begins a new count, so that whoever retries it by hand gets as many
    again.

    Args:
        ledger: Where attempts are recorded.
        identity: The experiment.
        results: How many results are recorded now.
        most: How many attempts in a row may have begun with as many.

    Raises:
        CrashLoopError: This is one more.
    """
    attempts = ledger.facts(identity.uid, _ATTEMPT)
    in_vain = 0
    for fact in sorted(attempts, key=lambda one: one.key, reverse=True):
        if fact.body["stopped"] or fact.body["results"] != results:
            break
        in_vain += 1
    stopped = in_vain >= most
    key = f"{_ATTEMPT}{len(attempts) + 1:06d}"
    ledger.create(identity.uid, key, {"results": results, "stopped": stopped})
    if stopped:
        raise CrashLoopError(
            f"Experiment {identity} has been tried {in_vain} times in a row without a new result "
            f"({results} are recorded), so it is stopped before it is tried once more. Look into "
            "the logs why it ends, then retry the flow run: it goes on where it stopped."
        )
