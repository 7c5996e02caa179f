"""Orphan sessions: opened by this ledger's experiments, which never learned their IDs.

An orphan matches an unfulfilled session intent of the ledger (instance, backend, mode, max time and
time), is known to none of the ledger's experiments, and holds no foreign job. Nothing is closed
unless its ID is given.

Limits:
    Sessions have no tags. A session without jobs that a colleague opened on the same backend, in
    the same minutes and with the same max time looks the same: compare before closing. The
    colleague's jobs would finish, since closing cancels nothing.

    IBM's client may open a second session when an opening fails for a moment (it repeats the
    request after a 5xx). Once the second session is recorded, the intent is fulfilled, and the
    first session is no orphan by this definition. The platform closes it when no job starts in it.

    An intent has the time of the machine that wrote it, a session the time of the platform. They
    may disagree on a local platform with a scaled, stopped or advanced clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from session_block.client import Connection, ListedJob, ListedSession
from session_block.environment.environment import Environment
from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.operations.sessions import note
from session_block.records.identity import Identity, known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import SessionOutcome
from session_block.records.sender import may_be_alive
from session_block.records.sessions import SessionRecord, read_sessions
from session_block.references import SessionDetails
from session_block.sessions.opening import OPEN_DEADLINE_SECONDS
from session_block.tags import uid_tag

CLOCK_SKEW = timedelta(seconds=60)
"""How far this machine's clock and the platform's may differ."""

OPENING_TIME = timedelta(seconds=OPEN_DEADLINE_SECONDS)
"""How long after its intent a session may still be opened.

After this time other openers give the intent up. The client itself may wait longer for an answer; a
session that it opens later is left to the platform, for the sake of colleagues' sessions.
"""


@dataclass(frozen=True)
class Opening:
    """An opening without a session ID in the ledger.

    Attributes:
        under_way: Its sender may still be at work, so its session is no orphan yet.
    """

    experiment: Identity
    record: SessionRecord
    under_way: bool = False

    @property
    def mode(self) -> Literal["session", "batch"]:
        """What was to be opened; the oldest intents do not say, and meant sessions."""
        return "batch" if self.record.mode == "batch" else "session"

    @property
    def backend(self) -> str:
        """The backend that it was meant for."""
        return self.record.backend

    @property
    def max_time_seconds(self) -> int | None:
        """The max time that was requested, or ``None`` for the platform's default."""
        return self.record.intent.max_time_seconds

    @property
    def earliest(self) -> datetime:
        """The earliest time its session can have been opened, by the platform's clock."""
        return self.record.intended_at - CLOCK_SKEW

    @property
    def latest(self) -> datetime:
        """The latest time its session can have been opened, by the platform's clock."""
        return self.record.intended_at + OPENING_TIME + CLOCK_SKEW

    def may_have_made(self, session: ListedSession) -> bool:
        """Whether mode, backend and time of a session fit this opening."""
        place = (session.mode, session.backend)
        in_time = self.earliest <= session.created <= self.latest
        return place == (self.mode, self.backend) and in_time


@dataclass(frozen=True)
class Found:
    """A session at the platform: its entry in the listing, its details and its jobs."""

    listed: ListedSession
    details: SessionDetails
    jobs: tuple[ListedJob, ...] = ()


@dataclass(frozen=True)
class Orphan:
    """A session that its experiment does not know.

    Attributes:
        session: What the platform shows.
        openings: The openings that may have opened it, oldest first; one or more.

    Examples:
        >>> from session_block.client import Connection
        >>> found = OrphanFinder(ledger, Connection(block.credentials)).find()
        >>> [(orphan.session_id, len(orphan.openings)) for orphan in found]
        []
    """

    session: Found
    openings: tuple[Opening, ...]

    @property
    def session_id(self) -> str:
        """The session's ID.

        Examples:
            >>> from session_block.client import Connection
            >>> found = OrphanFinder(ledger, Connection(block.credentials)).find()
            >>> [orphan.session_id for orphan in found]
            []
        """
        return self.session.listed.session_id

    def described(self) -> dict[str, Any]:
        """Return it as JSON values.

        Examples:
            >>> from session_block.client import Connection
            >>> found = OrphanFinder(ledger, Connection(block.credentials)).find()
            >>> [orphan.described() for orphan in found]
            []
        """
        return {
            "session_id": self.session_id,
            "mode": self.session.listed.mode,
            "backend": self.session.listed.backend,
            "created": self.session.listed.created.isoformat(),
            "max_time_seconds": self.session.details.max_time,
            "state": self.session.details.state,
            "jobs": len(self.session.jobs),
            "openings": [
                {
                    "experiment": opening.experiment.name,
                    "number": opening.experiment.number,
                    "uid": opening.experiment.uid,
                    "session_number": opening.record.number,
                    "intended_at": opening.record.intended_at.isoformat(),
                }
                for opening in self.openings
            ],
        }


def openings_of(session: Found, openings: Sequence[Opening]) -> tuple[Opening, ...]:
    """Return the openings that may have opened a session; none if it is no orphan.

    Pure. A session is no orphan if it accepts no more jobs, if an opening under way may be about to
    record it, or if it holds somebody else's job. If a job has started in it but the listing shows
    no job, that job cannot be identified any more, and counts as somebody else's.

    Args:
        session: A session that no experiment of the ledger knows.
        openings: The unfulfilled openings of the ledger at the session's instance.
    """
    if not session.details.accepts_jobs:
        return ()
    if session.details.last_job_started is not None and not session.jobs:
        return ()
    possible = [
        opening
        for opening in openings
        if opening.may_have_made(session.listed)
        and opening.max_time_seconds in {None, session.details.max_time}
    ]
    if any(opening.under_way for opening in possible):
        return ()
    return tuple(
        opening
        for opening in possible
        if all(uid_tag(opening.experiment.uid) in job.tags for job in session.jobs)
    )


class OrphanFinder:
    """Finds a ledger's orphan sessions at one instance, and closes those given by ID.

    Examples:
        >>> from session_block.client import Connection
        >>> finder = OrphanFinder(ledger, Connection(block.credentials))
        >>> finder.find()
        []
    """

    def __init__(self, ledger: Ledger, connection: Connection) -> None:
        self._ledger = ledger
        self._connection = connection

    def find(self) -> list[Orphan]:
        """Return the current orphan sessions, oldest first on each backend.

        Raises:
            ConnectionFailedError: The platform did not answer everything that is needed.
            LedgerError: The ledger cannot be read or trusted.

        Examples:
            >>> from session_block.client import Connection
            >>> OrphanFinder(ledger, Connection(block.credentials)).find()
            []
        """
        openings, known = self._recorded()
        places = sorted({(opening.mode, opening.backend) for opening in openings})
        return [
            orphan
            for mode, backend in places
            for orphan in self._at(
                [one for one in openings if (one.mode, one.backend) == (mode, backend)], known
            )
        ]

    def close(self, session_ids: Sequence[str]) -> list[Orphan]:
        """Close orphans by their IDs; none of them if one of the IDs is not an orphan's.

        First the ledger gives the opening up, so that a sender that wakes up later cannot take the
        session for its own. Then each session is looked at again, right before it is closed.

        Raises:
            InvalidInputError: One of them is no orphan, or no longer one.
            SessionError: The platform did not close one; it may go on billing.
            ConnectionFailedError: The platform did not answer everything that is needed.

        Examples:
            >>> from session_block.client import Connection
            >>> session_id = experiment.open_session()
            >>> OrphanFinder(ledger, Connection(block.credentials)).close([session_id])
            Traceback (most recent call last):
            ...
            session_block.errors.InvalidInputError: ...: no orphan session of the ledger ...
        """
        closed = []
        for orphan in self._orphans(list(dict.fromkeys(session_ids))):
            for opening in orphan.openings:
                self._journal(opening).record(
                    SessionOutcome(number=opening.record.number, kind="lost")
                )
            [still] = self._orphans([orphan.session_id])
            for opening in still.openings:
                # The command's first name: ledgers keep the word, and are read for ever.
                note(self._journal(opening), still.session_id, "sweep")
            self._connection.sessions.close_seen(still.session.details, cancel_jobs=False)
            closed.append(still)
        return closed

    def _journal(self, opening: Opening) -> Journal:
        return Journal(self._ledger, opening.experiment.uid)

    def _orphans(self, session_ids: Sequence[str]) -> list[Orphan]:
        found = {orphan.session_id: orphan for orphan in self.find()}
        if others := [one for one in session_ids if one not in found]:
            raise InvalidInputError(
                f"{', '.join(others)}: no orphan session of the ledger {self._ledger.shown} at "
                f"{self._connection.instance}, so it is not closed. Only orphans that "
                "'session-block sessions orphans' lists at that moment are closed; to close a "
                "session that an experiment opened, use 'session-block sessions close ID'."
            )
        return [found[session_id] for session_id in session_ids]

    def _recorded(self) -> tuple[list[Opening], set[str]]:
        """Return the instance's unfulfilled openings, and the IDs of all sessions in the ledger."""
        openings: list[Opening] = []
        known: set[str] = set()
        for experiment in known_experiments(self._ledger):
            for record in read_sessions(Journal(self._ledger, experiment.uid)):
                ids = (record.session_id, record.intent.borrowed)
                known.update(session_id for session_id in ids if session_id is not None)
                here = record.instance == self._connection.instance
                # An intent to borrow or to restore a session opens none, and has no sender.
                if here and record.kind in {None, "lost"} and record.intent.sender is not None:
                    openings.append(
                        Opening(experiment, record, _is_under_way(record, self._ledger.environment))
                    )
        return sorted(openings, key=lambda one: one.record.intended_at), known

    def _at(self, openings: Sequence[Opening], known: set[str]) -> Iterator[Orphan]:
        """Yield the orphans of openings that share one mode and backend."""
        first = openings[0]
        for listed in self._connection.sessions.listed(first.mode, first.backend, first.earliest):
            if listed.ended or listed.session_id in known:
                continue
            if not any(opening.may_have_made(listed) for opening in openings):
                continue
            found = self._look_at(listed)
            if of := openings_of(found, openings):
                yield Orphan(found, of)

    def _look_at(self, listed: ListedSession) -> Found:
        """Return a session with its details and its jobs."""
        details = self._connection.sessions.look(listed.session_id)
        # Jobs last: they show whose session it is.
        jobs = self._connection.jobs.of_session(listed.session_id)
        return Found(listed, details, tuple(jobs))


def _is_under_way(record: SessionRecord, environment: Environment) -> bool:
    """Whether an opening's sender may still record its session.

    The sender's time is up when other openers would give the intent up too; here by the wall clock.
    """
    sender = record.intent.sender
    if record.kind is not None or sender is None:
        return False
    within_time = environment.now() - record.intended_at < OPENING_TIME + CLOCK_SKEW
    return within_time and may_be_alive(sender, environment)
