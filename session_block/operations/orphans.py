"""Orphan sessions: opened by this ledger's experiments, which never learnt their IDs.

An orphan matches an unfulfilled session intent of the ledger (instance, backend, mode, max time and
time), is known to none of its experiments, and holds no foreign job. Nothing is closed unless its
ID is given.

Limits:
    Sessions bear no tags, so a session without jobs that a colleague opened on the same backend, in
    the same minutes and with the same max time cannot be told apart: compare before closing. Its
    jobs would finish, since closing cancels nothing.

    IBM's client may open a second session after an opening that failed for a moment (it sends the
    request again after a 5xx). When the second was recorded, the intent is fulfilled and the first
    one is no orphan by this definition. The platform closes it when no job starts in it.

    An intent bears the time of the machine that wrote it, a session that of the platform. On a
    local platform whose clock is scaled, stopped or advanced they need not agree.
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
"""By how much this machine's clock and the platform's may differ."""

OPENING_TIME = timedelta(seconds=OPEN_DEADLINE_SECONDS)
"""How long after its intent a session may still be made.

It is the time after which other openers give an intent up. The client itself may wait longer for an
answer; what it opens later than that is left to the platform, for the sake of colleagues' sessions.
"""


@dataclass(frozen=True)
class Opening:
    """An opening of a session of which the ledger does not tell a session ID.

    Attributes:
        under_way: Its owner may still be at it, so that its session is no orphan yet.
    """

    experiment: Identity
    record: SessionRecord
    under_way: bool = False

    @property
    def mode(self) -> Literal["session", "batch"]:
        """What was to be opened; the oldest intents do not tell, and are of sessions."""
        return "batch" if self.record.mode == "batch" else "session"

    @property
    def backend(self) -> str:
        """The backend on which it was to be opened."""
        return self.record.backend

    @property
    def max_time_seconds(self) -> int | None:
        """The longest time that was asked for, or ``None`` for the platform's own."""
        return self.record.intent.max_time_seconds

    @property
    def earliest(self) -> datetime:
        """When its session was made at the earliest, by the platform's clock."""
        return self.record.intended_at - CLOCK_SKEW

    @property
    def latest(self) -> datetime:
        """When its session was made at the latest, by the platform's clock."""
        return self.record.intended_at + OPENING_TIME + CLOCK_SKEW

    def may_have_made(self, session: ListedSession) -> bool:
        """Whether a session is where and when this opening could have made one."""
        place = (session.mode, session.backend)
        in_time = self.earliest <= session.created <= self.latest
        return place == (self.mode, self.backend) and in_time


@dataclass(frozen=True)
class Found:
    """A session that the platform shows: its place in the listing, its details and its jobs."""

    listed: ListedSession
    details: SessionDetails
    jobs: tuple[ListedJob, ...] = ()


@dataclass(frozen=True)
class Orphan:
    """A session that its experiment does not know.

    Attributes:
        session: What the platform shows of it.
        openings: The openings that may have made it, oldest first; never none.
    """

    session: Found
    openings: tuple[Opening, ...]

    @property
    def session_id(self) -> str:
        """The session's ID."""
        return self.session.listed.session_id

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
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
    """Return the openings that made a session as far as can be told; none if it is no orphan.

    Pure. It is no orphan if it takes no more jobs, if an opening that is under way may be about to
    record it, or if it holds a job of somebody else. A session in which a job has started, while
    its listing shows none, held one that cannot be told any more, and counts as foreign.

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
    """Finds the orphan sessions of a ledger at one instance, and closes those that are named."""

    def __init__(self, ledger: Ledger, connection: Connection) -> None:
        self._ledger = ledger
        self._connection = connection

    def find(self) -> list[Orphan]:
        """Return the orphan sessions there are now, oldest first on each backend.

        Raises:
            ConnectionFailedError: The platform did not tell all that is needed.
            LedgerError: The ledger cannot be read or trusted.
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
        """Close orphans by their IDs; none of them if one of the IDs is no orphan's.

        Each is looked at again right before. What was being opened is first given up in the ledger,
        so that an opener that wakes up later cannot take the session for its own any more.

        Raises:
            InvalidInputError: One of them is no orphan, or is none any more.
            SessionError: The platform did not close one; it may go on billing.
            ConnectionFailedError: The platform did not tell all that is needed.
        """
        closed = []
        for orphan in self._orphans(list(dict.fromkeys(session_ids))):
            for opening in orphan.openings:
                self._journal(opening).record(
                    SessionOutcome(number=opening.record.number, kind="lost")
                )
            [still] = self._orphans([orphan.session_id])
            for opening in still.openings:
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
                f"{', '.join(others)}: no orphan session of {self._ledger} at "
                f"{self._connection.instance}, so it is not closed. A sweep closes only what "
                "'session-block sessions sweep' lists at that moment; a session that an experiment "
                "opened is closed by 'session-block sessions close ID'."
            )
        return [found[session_id] for session_id in session_ids]

    def _recorded(self) -> tuple[list[Opening], set[str]]:
        """Return the instance's unfulfilled openings, and every session that the ledger knows."""
        openings: list[Opening] = []
        known: set[str] = set()
        for experiment in known_experiments(self._ledger):
            for record in read_sessions(Journal(self._ledger, experiment.uid)):
                ids = (record.session_id, record.intent.borrowed)
                known.update(session_id for session_id in ids if session_id is not None)
                here = record.instance == self._connection.instance
                # An intent to borrow a session, or to restore one, has no owner: it opens none.
                if here and record.kind in {None, "lost"} and record.intent.sender is not None:
                    openings.append(
                        Opening(experiment, record, _is_under_way(record, self._ledger.environment))
                    )
        return sorted(openings, key=lambda one: one.record.intended_at), known

    def _at(self, openings: Sequence[Opening], known: set[str]) -> Iterator[Orphan]:
        """Yield the orphans of openings that are all of one mode, on one backend."""
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
        """Look at a session's jobs last: they say whose it is."""
        details = self._connection.sessions.look(listed.session_id)
        jobs = self._connection.jobs.of_session(listed.session_id)
        return Found(listed, details, tuple(jobs))


def _is_under_way(record: SessionRecord, environment: Environment) -> bool:
    """Whether an opening's owner may still record its session.

    The owner's time is over when other openers would give it up too, here by the wall clock.
    """
    sender = record.intent.sender
    if record.kind is not None or sender is None:
        return False
    within_time = environment.now() - record.intended_at < OPENING_TIME + CLOCK_SKEW
    return within_time and may_be_alive(sender, environment)
