"""Read and record what the ledger says about the sessions of an experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import (
    ModeChosen,
    Place,
    SessionClosing,
    SessionClosingAgain,
    SessionEnded,
    SessionIntent,
    SessionKind,
    SessionOutcome,
)
from session_block.records.states import SessionState, session_state
from session_block.references import ExecutionMode, SessionMode
from session_block.settings import SessionPlan

CANCELLED = "cancelled by the user"
CLOSED = "closed by the experiment"
CLOSED_BY_OPERATOR = "closed by an operator"
CLOSED_BY_PLATFORM = "closed by the platform"
NEAR_ITS_END = "too near its end"
TIDIED = "closed after its run had failed"
IGNORED = "ignored by the platform, which ran its job in job mode"
STOPPED = "ended by a person or a limit"

FACTS = (SessionIntent, SessionOutcome, SessionClosing, SessionClosingAgain, SessionEnded)
"""The kinds of facts that sessions are folded from."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionRecord:
    """One session of an experiment, as recorded in the ledger.

    Attributes:
        intent: What was asked for, and where.
        kind: ``opened`` by this experiment, ``borrowed``, ``lost`` (its opening was cut off),
            ``refused`` by the platform, or ``None`` while it is being opened.
        end: Why the session is over, or ``None`` while it is in use.
        closings: Why and when this experiment set out to close it, each time.

    Examples:
        >>> session_id = experiment.open_session()
        >>> record = experiment.sessions[-1]
        >>> record.kind, record.state.value, record.end
        ('opened', 'open', None)
    """

    number: int
    intent: SessionIntent
    kind: SessionKind | None
    session_id: str | None
    end: str | None
    closings: tuple[SessionClosing, ...] = ()

    @property
    def closing(self) -> str | None:
        """Why this experiment last set out to close it, or ``None``.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.close_session()
            True
            >>> experiment.sessions[-1].closing
            'closed by the experiment'
        """
        return self.closings[-1].reason if self.closings else None

    @property
    def intended_at(self) -> datetime:
        """When it was asked for, by its machine's clock.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.sessions[-1].intended_at.tzname()
            'UTC'
        """
        return self.intent.recorded_at or _NEVER

    @property
    def backend(self) -> str:
        """The backend that the session is on.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.sessions[-1].backend
            'ibm_manila'
        """
        return self.intent.backend

    @property
    def instance(self) -> str | None:
        """The CRN of its instance; ``None`` for none.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.sessions[-1].instance
            'crn:v1:bluemix:public:quantum-computing:us-east:...'
        """
        return self.intent.instance

    @property
    def mode(self) -> SessionMode | None:
        """``session`` or ``batch``; ``None`` if the ledger had lost it.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.sessions[-1].mode
            'session'
        """
        return self.intent.mode

    @property
    def state(self) -> SessionState:
        """Where it stands, as far as the ledger knows.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.finish()
            True
            >>> experiment.sessions[-1].state is SessionState.ENDED
            True
        """
        return session_state(self.kind, ended=self.end is not None)

    @property
    def opened(self) -> bool:
        """Whether this experiment opened it, and so may close it.

        Examples:
            >>> theirs, mine = (block.experiment(name, fresh=True) for name in ("theirs", "mine"))
            >>> borrowed = mine.borrow_session(theirs.open_session())
            >>> mine.sessions[-1].opened, theirs.sessions[-1].opened
            (False, True)
            >>> theirs.finish()
            True
        """
        return self.kind == "opened"

    @property
    def usable(self) -> bool:
        """Whether the session exists and is not known to be over.

        Examples:
            >>> session_id = experiment.open_session()
            >>> experiment.sessions[-1].usable
            True
        """
        return self.session_id is not None and self.end is None


def read_sessions(journal: Journal) -> list[SessionRecord]:
    """Fold the session facts of an experiment, oldest session first."""
    facts = {fact.fact_key: fact for fact in journal.several(*FACTS)}
    records: list[SessionRecord] = []
    while True:
        number = len(records) + 1
        intent = facts.get(SessionIntent.prefix(number))
        if not isinstance(intent, SessionIntent):
            return records
        outcome = facts.get(SessionOutcome.prefix(number))
        closings = [facts.get(SessionClosing.prefix(number))]
        while closings[-1] is not None:
            closings.append(facts.get(SessionClosingAgain.prefix(number, len(closings))))
        end = facts.get(SessionEnded.prefix(number))
        records.append(
            SessionRecord(
                number=number,
                intent=intent,
                kind=outcome.kind if isinstance(outcome, SessionOutcome) else None,
                session_id=outcome.session_id if isinstance(outcome, SessionOutcome) else None,
                end=end.reason if isinstance(end, SessionEnded) else None,
                closings=tuple(one for one in closings if isinstance(one, SessionClosing)),
            )
        )


def execution_mode(journal: Journal, plan: SessionPlan) -> ExecutionMode:
    """Return an experiment's execution mode: the Block's, or the one that replaced it."""
    if plan.mode == "session" and plan.without_sessions != "fail":
        chosen = journal.get(ModeChosen)
        if chosen is not None:
            return chosen.mode
    return plan.mode


def record_closing(journal: Journal, record: SessionRecord, reason: str) -> None:
    """Record that a session will be closed, and why; called before it is closed."""
    number = record.number
    _, ours = journal.record(SessionClosing(number=number, reason=reason))
    again = 0
    while not ours:
        again += 1
        fact = SessionClosingAgain(number=number, again=again, reason=reason)
        _, ours = journal.record(fact)


def record_end(journal: Journal, record: SessionRecord, reason: str) -> None:
    """Record that a session is over, and why."""
    journal.record(SessionEnded(number=record.number, session_id=record.session_id, reason=reason))


def report_lost(experiment: Identity, number: int, backend: str) -> None:
    """Log that it is unknown whether a session was opened; sessions bear no tags to find it by."""
    _logger.warning(
        "The opening of session %d of experiment %s on %s was cut off. If the platform did "
        "open it, the session holds no job, and the platform closes it after 30 minutes; "
        "'session-block sessions orphans' lists it.",
        number,
        experiment,
        backend,
    )


def restore_session(journal: Journal, session_id: str, place: Place, *, borrowed: bool) -> None:
    """Record a session that the ledger lost; do nothing if the ledger has it."""
    while True:
        known = read_sessions(journal)
        if any(record.session_id == session_id for record in known):
            return
        number = len(known) + 1
        intent = SessionIntent(
            number=number,
            backend=place.backend,
            instance=place.instance,
            url=place.url,
            max_time_seconds=None,
            restored=True,
        )
        if journal.record(intent)[1]:
            kind: SessionKind = "borrowed" if borrowed else "opened"
            journal.record(
                SessionOutcome(number=number, kind=kind, session_id=session_id, restored=True)
            )
