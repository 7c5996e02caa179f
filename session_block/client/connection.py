"""One service bound to one instance."""

from __future__ import annotations

from typing import Any

from session_block import crashpoints
from session_block.account import Account
from session_block.client.backends import Backends
from session_block.client.jobs import Jobs
from session_block.client.service import connect, connecting
from session_block.client.sessions import Sessions
from session_block.errors import InstanceRequiredError


class Probe:
    """Reads sessions and jobs as the platform tells them, with the fields that nobody reads too.

    All methods raise ``ConnectionFailedError`` if the platform does not tell.
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


class Connection:
    """One service bound to one instance.

    Attributes:
        service: The client's own service.
        instance: CRN of the instance to which everything goes.
        backends: Its backends.
        sessions: Its sessions and batches.
        jobs: Its jobs.

    Raises:
        ConnectionFailedError: The credentials are refused, or the platform cannot be reached.
        InstanceRequiredError: They name no instance, and there are several.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        purpose = f"connect to {account.url or account.name or 'IBM Quantum'}"
        with connecting(purpose), crashpoints.around("connect"):
            self.service = connect(account)
        self.instance = self._pinned_instance()
        self.backends = Backends(self.service, self._api, self.instance)
        self.sessions = Sessions(self._api, self.instance, self.backends)
        self.jobs = Jobs(self.service, self._api)

    def allocation(self) -> dict[str, Any]:
        """Return what the instance has used and may use, as ``service.usage()`` tells it."""
        with connecting("read the usage of the instance"):
            usage: dict[str, Any] = self.service.usage()
            return usage

    def _api(self) -> Any:
        return self.service._get_api_client(self.instance)  # noqa: SLF001

    def _pinned_instance(self) -> str:
        instance: str | None = self.service.active_instance()
        if instance is None:
            with connecting("list the account's instances"):
                known = ", ".join(one["crn"] for one in self.service.instances())
            raise InstanceRequiredError(
                "The credentials name no instance, so jobs could be sent to one and looked for in "
                f"another. Set instance to one of: {known}."
            )
        return instance
