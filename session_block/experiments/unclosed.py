"""Say at the process's normal end which sessions it leaves open, and how to close them.

A script or notebook that opens an experiment without ``with`` leaves its session open, and so does
one that ends with an error. Sessions that a Prefect run opens are left out: the run's end decides.
"""

from __future__ import annotations

import atexit
import logging
from dataclasses import dataclass

from session_block import prefect_context
from session_block.environment.forks import ForkLock, renew_after_fork
from session_block.errors import LedgerError
from session_block.events import Event, EventKind
from session_block.records.context import ExperimentContext
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.sessions import SessionRecord, read_sessions

_MOST = 100
"""How many sessions to remember; in a process that leaves more, the first ones idled out."""

_USED = (EventKind.SESSION_OPENED, EventKind.SESSION_RENEWED, EventKind.SESSION_REATTACHED)

_logger = logging.getLogger(__name__)


class Unclosed:
    """The sessions that this process uses and has not closed, of experiments that opened them.

    It keeps no experiment alive, only what the warning needs.
    """

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._left: dict[str, _Left] = {}
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget what the parent uses: a forked child does not answer for it."""
        self._left.clear()

    def watch(self, context: ExperimentContext, block: str | None) -> None:
        """Watch an experiment's sessions, unless a Prefect run opens the experiment.

        Args:
            context: The experiment.
            block: The name of its Block; ``None`` if it was never saved.
        """
        # In a named task that is called outside a run, this is for the code that called it.
        if prefect_context.outermost_run() is None:
            context.events.subscribe(_Watch(self, context.identity, context.journal, block).observe)

    def remember(self, left: _Left) -> None:
        """Keep a session that would be left open if the process ended now."""
        with self._lock:
            self._left[left.session_id] = left
            while len(self._left) > _MOST:
                del self._left[next(iter(self._left))]

    def forget(self, session_id: str) -> None:
        """Forget a session that is over."""
        with self._lock:
            self._left.pop(session_id, None)

    def tell(self) -> None:
        """Warn of each session that this process leaves open; makes no network call."""
        for left in list(self._left.values()):
            if not left.is_known_to_be_over():
                is_batch = left.record.mode == "batch"
                _logger.warning(
                    "%s %s of experiment %s was left open, and %s. An unfinished experiment "
                    "continues in it if it is run again soon. Otherwise close it now: %s (If an "
                    "experiment is opened by 'with', it closes its session when it ends without "
                    "an error.)",
                    "Batch" if is_batch else "Session",
                    left.session_id,
                    left.experiment,
                    "its jobs are billed" if is_batch else "is billed until it idles out",
                    left.command,
                )


@dataclass(frozen=True)
class _Left:
    """A session that its experiment opened and has not closed."""

    experiment: Identity
    record: SessionRecord
    journal: Journal
    block: str | None

    @property
    def session_id(self) -> str:
        return str(self.record.session_id)

    @property
    def command(self) -> str:
        """What closes the session: from a shell, or from Python if no shell can load the Block."""
        if self.block is not None:
            return f"session-block sessions close {self.session_id} --block {self.block}"
        name, uid = self.experiment.name, self.experiment.uid
        return f"block.experiment({name!r}, uid={uid!r}).close_session()"

    def is_known_to_be_over(self) -> bool:
        """Whether the ledger says that somebody else has closed it; only a local one is asked."""
        try:
            if self.journal.ledger.shared:
                return False
            known = read_sessions(self.journal)
        except LedgerError:
            return False
        return any(one.session_id == self.session_id and not one.usable for one in known)


@dataclass(frozen=True)
class _Watch:
    """Tells :class:`Unclosed` of one experiment's sessions."""

    unclosed: Unclosed
    experiment: Identity
    journal: Journal
    block: str | None

    def observe(self, event: Event) -> None:
        if event.kind is EventKind.SESSION_CLOSED:
            self.unclosed.forget(event.subject)
        elif event.kind in _USED:
            for record in read_sessions(self.journal):
                if record.session_id == event.subject and record.opened:
                    self.unclosed.remember(_Left(self.experiment, record, self.journal, self.block))


UNCLOSED = Unclosed()
"""The unclosed sessions of this process."""

# Registered early: the user's own functions, registered later, run first and may close sessions.
atexit.register(UNCLOSED.tell)
