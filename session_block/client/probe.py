"""What the platform answers, word for word, for the record of what it does."""

from __future__ import annotations

from typing import Any

from session_block.client.connecting import connecting
from session_block.client.connection import Connection


class Probe:
    """Reads sessions and jobs as the platform tells them, with the fields that nobody reads too.

    All methods raise :class:`ConnectionFailedError` if the platform does not tell.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def session(self, session_id: str) -> dict[str, Any]:
        """Return a session's details."""
        with connecting(f"look up session {session_id}"):
            return dict(self._api().session_details(session_id))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job, without its parameters."""
        with connecting(f"look up job {job_id}"):
            return dict(self._api().job_get(job_id))

    def metrics(self, job_id: str) -> dict[str, Any]:
        """Return a job's metrics."""
        with connecting(f"read the metrics of job {job_id}"):
            return dict(self._api().job_metadata(job_id))

    def _api(self) -> Any:
        return self._connection._api()  # noqa: SLF001 - of the same package
