"""Which calibration of the backend an experiment's jobs are submitted under."""

from __future__ import annotations

import time
from typing import Literal

from session_block.client import BackendChoice, Connection
from session_block.errors import BackendRecalibratedError
from session_block.ledger import Ledger

CHECK_SECONDS = 300.0
"""How often a calibration is asked for again where the experiment has not the backend to itself."""


class CalibrationWatch:
    """Knows when the backend was calibrated, and stops an experiment that wants one calibration.

    No calibration happens inside an active session; the backend is asked again with each session,
    and every five minutes of submitting. Limit: a job that waits in a queue may run under a later
    calibration than the one that its submission records.

    Args:
        ledger: Where the experiment's first calibration is recorded.
        experiment: The experiment's UID.
        policy: Whether the experiment goes on after the backend was calibrated anew.
    """

    def __init__(
        self, ledger: Ledger, experiment: str, policy: Literal["continue", "stop"]
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._stops = policy == "stop"
        self._seen: str | None = None
        self._session_id: str | None = None
        self._asked_at: float | None = None

    def look(
        self, connection: Connection, backend: BackendChoice, session_id: str | None
    ) -> str | None:
        """Return when the backend was calibrated, as ISO 8601; ``None`` if it does not tell.

        Args:
            connection: Where to ask, if that is due.
            backend: The experiment's backend.
            session_id: The session in which the next job is to run.

        Raises:
            BackendRecalibratedError: It was calibrated anew, and the experiment stops then.
            ConnectionFailedError: The platform does not tell.
        """
        if self._is_due(session_id):
            moment = connection.backends.calibrated_at(backend)
            self._seen = None if moment is None else moment.isoformat()
            self._session_id, self._asked_at = session_id, time.monotonic()
            if self._stops:
                self._compare(backend.name)
        return self._seen

    def _is_due(self, session_id: str | None) -> bool:
        return (
            self._asked_at is None
            or session_id != self._session_id
            or time.monotonic() - self._asked_at > CHECK_SECONDS
        )

    def _compare(self, backend: str) -> None:
        first, _ = self._ledger.create(
            self._experiment, "calibration", {"calibrated_at": self._seen}
        )
        began_with = first.body["calibrated_at"]
        if began_with != self._seen:
            self._asked_at = None
            raise BackendRecalibratedError(
                f"Backend {backend} was calibrated at {self._seen}, but experiment "
                f"{self._experiment} began with its calibration of {began_with}, and its Block "
                "says on_recalibration='stop'. Nothing was submitted. To go on all the same say "
                "'continue'; to begin with the new calibration, fresh=True."
            )
