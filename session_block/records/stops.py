"""Record that an experiment is stopped, and that it goes on again."""

from __future__ import annotations

from collections.abc import Sequence

from session_block.errors import InvalidInputError
from session_block.records.chapters import is_sealed
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import Resumed, StopCause, Stopped
from session_block.records.sessions import read_sessions
from session_block.records.submissions import FACTS, fold_all

CANCELLED: StopCause = "cancelled"
CLOSED: StopCause = "closed"

ON_STOP = "the Block's on_stop"
"""Who lifts a stop if the Block says so."""


def read_stops(journal: Journal) -> list[tuple[Stopped, Resumed | None]]:
    """Return the stops of an experiment, oldest first, each with what lifted it."""
    facts = journal.several(Stopped, Resumed)
    lifted = {one.number: one for one in facts if isinstance(one, Resumed)}
    stops = sorted((one for one in facts if isinstance(one, Stopped)), key=lambda one: one.number)
    return [(one, lifted.get(one.number)) for one in stops]


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
) -> Stopped:
    """Record that an experiment is stopped, unless it is; return the stop that stands.

    The end of a session stops an experiment only once, also if the stop was lifted since.

    Args:
        journal: The experiment's journal.
        cause: Who or what stopped it.
        because: The same for people.
        session_id: The session that ended, or is to be closed.
        charged_seconds: What the session had been charged.
    """
    while True:
        stops = read_stops(journal)
        if stops and stops[-1][1] is None:
            return stops[-1][0]
        if cause not in {CANCELLED, CLOSED}:
            for one, _ in stops:
                if one.session_id == session_id and one.cause not in {CANCELLED, CLOSED}:
                    return one
        stopped, ours = journal.record(
            Stopped(
                number=len(stops) + 1,
                cause=cause,
                because=because,
                session_id=session_id,
                jobs=jobs_without_result(journal),
                charged_seconds=charged_seconds,
            )
        )
        if ours:
            return stopped


def stop_for_good(journal: Journal, because: str) -> None:
    """Record that a person cancelled an experiment, unless it is finished; before it is done.

    Args:
        journal: The experiment's journal.
        because: Who cancelled what.
    """
    if is_sealed(journal):
        return
    usable = [one.session_id for one in read_sessions(journal) if one.opened and one.usable]
    record_stop(journal, CANCELLED, because, session_id=usable[-1] if usable else None)


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


def lift(journal: Journal, stop: Stopped, by: str) -> None:
    """Record who lifted a stop, unless somebody did."""
    journal.record(Resumed(number=stop.number, by=by))
