"""One service bound to one instance."""

from __future__ import annotations

from typing import Any

from session_block import crashpoints
from session_block.account import Account
from session_block.client.backends import Backends
from session_block.client.connecting import connect, connecting
from session_block.client.jobs import Jobs
from session_block.client.sessions import Sessions
from session_block.errors import ConnectionFailedError


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
            raise ConnectionFailedError(
                "The credentials name no instance, so jobs could be sent to one and looked for in "
                f"another. Set instance to one of: {known}."
            )
        return instance
