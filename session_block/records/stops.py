"""Record that an experiment is stopped, and that it goes on again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from session_block.errors import InvalidInputError
from session_block.records.chapters import is_sealed, seal_settled
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import Resumed, StopCause, Stopped
from session_block.records.sessions import read_sessions
from session_block.records.submissions import FACTS, fold_all

_logger = logging.getLogger(__name__)

CANCELLED: StopCause = "cancelled"
CLOSED: StopCause = "closed"

RUN_CANCELLED = "its flow run was cancelled in Prefect"

ON_STOP = "the Block's on_stop"
"""Who lifts a stop if the Block says so."""


def read_stops(journal: Journal) -> list[tuple[Stopped, Resumed | None]]:
    """Return the stops of an experiment, oldest first, each with what lifted it.

    What lifts the latest one lifts those before it.
    """
    facts = journal.several(Stopped, Resumed)
    resumed = {one.number: one for one in facts if isinstance(one, Resumed)}
    stops = sorted((one for one in facts if isinstance(one, Stopped)), key=lambda one: one.number)
    lifted: Resumed | None = None
    found: list[tuple[Stopped, Resumed | None]] = []
    for stop in reversed(stops):
        lifted = resumed.get(stop.number, lifted)
        found.append((stop, lifted))
    return found[::-1]


def standing_stop(journal: Journal) -> Stopped | None:
    """Return the stop that nobody has lifted; ``None`` if the experiment may go on."""
    stops = read_stops(journal)
    return stops[-1][0] if stops and stops[-1][1] is None else None


def record_stop(
    journal: Journal,
    cause: StopCause,
    because: str,
    *,
    session_id: str | None = None,
    charged_seconds: float | None = None,
    anew: bool = False,
) -> Stopped:
    """Record that an experiment is stopped, unless it is; return the stop that stands.

    The end of a session stops an experiment only once, also if the stop was lifted since. A
    cancellation is recorded although another stop stands: what may lift that one, such as
    ``on_stop`` or an earlier retry in Prefect, does not lift a cancellation.

    Args:
        journal: The experiment's journal.
        cause: Who or what stopped it.
        because: The same for people.
        session_id: The session that ended, or is to be closed.
        charged_seconds: What the session had been charged.
        anew: It is recorded although another cancellation stands, since a person has just said so.
    """
    while True:
        stops = read_stops(journal)
        standing = stops[-1][0] if stops and stops[-1][1] is None else None
        if standing is not None and not (
            cause == CANCELLED and (anew or standing.cause != CANCELLED)
        ):
            return standing
        if cause not in {CANCELLED, CLOSED}:
            for one, _ in stops:
                if one.session_id == session_id and one.cause not in {CANCELLED, CLOSED}:
                    return one
        stopped, ours = journal.record(
            Stopped(
                number=stops[-1][0].number + 1 if stops else 1,
                cause=cause,
                because=because,
                session_id=session_id,
                jobs=jobs_without_result(journal),
                charged_seconds=charged_seconds,
            )
        )
        if ours:
            return stopped


def stop_for_good(journal: Journal, because: str, *, anew: bool = False) -> None:
    """Record that a person cancelled an experiment, unless it is finished; before it is done.

    Args:
        journal: The experiment's journal.
        because: Who cancelled what.
        anew: A person has just said so, and not Prefect, which may say it late and several times.
    """
    if is_sealed(journal):
        return
    usable = [one.session_id for one in read_sessions(journal) if one.opened and one.usable]
    session_id = usable[-1] if usable else None
    record_stop(journal, CANCELLED, because, session_id=session_id, anew=anew)


def seal_unless_stopped(identity: Identity, journal: Journal, *, noticed: bool = False) -> None:
    """Seal an experiment that is through, unless a stop has cut it short.

    A program may catch the error of a stop and end as if nothing had happened. It is not finished
    then: after ``resume`` it goes on. A stop that comes when everything is recorded cuts nothing.

    Args:
        identity: The experiment.
        journal: Its journal.
        noticed: Whether something was refused because of a stop.
    """
    if standing_stop(journal) is not None and (noticed or jobs_without_result(journal)):
        _logger.warning(
            "Experiment %s is not finished: it is stopped, and was refused what it still asked "
            "for, or has jobs without a recorded result. To go on: 'session-block experiments "
            "resume %s', and run its program again.",
            identity,
            identity.uid,
        )
        return
    seal_settled(identity, journal)


def jobs_without_result(journal: Journal) -> Sequence[str]:
    """Return the IDs of an experiment's latest jobs that have no recorded result."""
    submissions = fold_all(journal.several(*FACTS)).values()
    latest = (one.latest for one in submissions if not one.has_result)
    return [one.job_id for one in latest if one is not None and one.job_id is not None]


def resume(journal: Journal, identity: Identity, by: str) -> Stopped:
    """Lift the stop of an experiment; return it.

    Args:
        journal: The experiment's journal.
        identity: The experiment.
        by: Who lifts it.

    Raises:
        InvalidInputError: It is not stopped.
    """
    stop = standing_stop(journal)
    if stop is None:
        raise InvalidInputError(
            f"Experiment {identity} is not stopped, so there is nothing to resume. To go on with "
            "it, run its program again, or retry its flow run ('session-block experiments retry').",
            experiment=identity.uid,
        )
    lift(journal, stop, by)
    return stop


def lift(journal: Journal, stop: Stopped, by: str, told_at: datetime | None = None) -> None:
    """Record who lifted a stop, unless somebody did.

    Args:
        journal: The experiment's journal.
        stop: The stop.
        by: Who or what lifts it.
        told_at: When Prefect was told so, by its clock, if it was.
    """
    journal.record(
        Resumed(number=stop.number, by=by, told_at=None if told_at is None else told_at.timestamp())
    )
