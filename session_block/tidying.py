"""Close the sessions that were left open, once nobody has gone on with them for long enough."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from session_block.attempts import last_failure
from session_block.records import SEALED_KEY
from session_block.session_operator import RecordedSession, SessionOperator
from session_block.session_records import TIDIED

if TYPE_CHECKING:
    from session_block.client import Connection
    from session_block.ledger import Ledger

_logger = logging.getLogger(__name__)


def left_open(ledger: Ledger) -> list[RecordedSession]:
    """Return the open sessions that nobody goes on with.

    They are those of failed attempts whose time is over (``keep_failed`` of their Block), and of
    experiments that were killed when they were finished already. The session of another attempt
    that was killed is none of them: the worker's death closes nothing.
    """
    return [
        session
        for session in SessionOperator(ledger).sessions()
        if session.record.opened
        and session.record.usable
        and _is_over(ledger, session.experiment.uid)
    ]


def _is_over(ledger: Ledger, experiment: str) -> bool:
    if ledger.get(experiment, SEALED_KEY) is not None:
        return True
    failure = last_failure(ledger, experiment)
    return failure is not None and failure.kept_until <= datetime.now(UTC)


def close_left_open(ledger: Ledger, connection: Connection) -> list[RecordedSession]:
    """Close those of them that belong to the connection's instance; their jobs finish.

    An attempt that begins meanwhile opens a session anew.

    Raises:
        SessionError: The platform did not close one; it may go on billing.
        ConnectionFailedError: The platform could not be reached.
    """
    closed = []
    for session in left_open(ledger):
        place = session.record.intent
        here = (connection.instance, str(connection.account.url))
        if (place["instance"], place["url"]) != here:
            continue
        session_id = str(session.record.session_id)
        if SessionOperator(ledger).close(session_id, connection, reason=TIDIED):
            _logger.info(
                "Session %s of experiment %s, which was left open, is closed.",
                session_id,
                session.experiment,
            )
            closed.append(session)
    return closed
