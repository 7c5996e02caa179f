"""Ask again until an outage is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from session_block.client.failures import is_outage
from session_block.environment.backoff import Backoff
from session_block.environment.environment import Environment
from session_block.errors import ConnectionFailedError

_Answer = TypeVar("_Answer")


def through_outages(environment: Environment, failure: str, ask: Callable[[], _Answer]) -> _Answer:
    """Return the answer to a question without an effect, after any outage.

    Args:
        environment: Gives clock and pause.
        failure: What fails meanwhile, in words; see :class:`Backoff`.
        ask: Asks once.

    Raises:
        ConnectionFailedError: The platform refuses to answer, or an outage lasts too long.
    """
    backoff = Backoff(failure, environment)
    while True:
        try:
            return ask()
        except ConnectionFailedError as error:
            if not is_outage(error):
                raise
            environment.pause(backoff.failed(error))
