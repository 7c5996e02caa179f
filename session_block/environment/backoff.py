"""How long to wait during an outage."""

from __future__ import annotations

import logging

from session_block.environment.environment import Environment
from session_block.errors import ConnectionFailedError

OUTAGE_SECONDS = 3600.0
"""A longer outage ends the wait with an error. Nothing is lost: the next run continues."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_JITTER = 0.25
"""The random share of a pause, so that many processes do not try again at the same moment."""

_FIRST_LOOK_SECONDS = 0.05
_SLOWEST_LOOK_SECONDS = 2.0
_LOOK_SHARE = 0.05

_logger = logging.getLogger(__name__)


def until_looking_again(waited: float) -> float:
    """Return how many seconds to pause before looking again for what another process records.

    Soon at first; later less often, since a sender on another machine may be waited for for a
    quarter of an hour, and each look is a question to the ledger.

    Args:
        waited: Seconds waited so far.
    """
    return min(max(_FIRST_LOOK_SECONDS, _LOOK_SHARE * waited), _SLOWEST_LOOK_SECONDS)


class ExponentialPause:
    """Seconds to wait before the next attempt: doubled each time, up to half a minute.

    Args:
        environment: Gives the jitter.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._seconds = _FIRST_PAUSE_SECONDS

    def next(self) -> float:
        """Return the seconds to wait now."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, _LONGEST_PAUSE_SECONDS)
        return seconds * (1 - _JITTER * self._environment.random.random())


class Backoff:
    """Says how long to pause before the next attempt, and when to give up.

    Args:
        failure: What fails, in words, such as "The state of job d1 could not be read".
        environment: Gives clock and jitter.
    """

    def __init__(self, failure: str, environment: Environment) -> None:
        self._failure = failure
        self._environment = environment
        self._since: float | None = None
        self._pause = ExponentialPause(environment)

    def failed(self, error: Exception) -> float:
        """Note a failure, and return the seconds to pause.

        Raises:
            ConnectionFailedError: The outage has lasted too long.
        """
        now = self._environment.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > OUTAGE_SECONDS:
            raise ConnectionFailedError(
                f"{self._failure} for {OUTAGE_SECONDS:.0f} s ({error}). Nothing is lost: run again "
                "once the platform can be reached; 'session-block doctor' says what can be reached."
            ) from error
        _logger.warning("%s (%s). Trying again.", self._failure, error)
        return self._pause.next()

    def recovered(self) -> None:
        """Note that the platform answers again."""
        self._since = None
        self._pause = ExponentialPause(self._environment)
