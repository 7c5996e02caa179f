"""The connection to one instance of IBM Quantum, which renews itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

from qiskit_ibm_runtime import QiskitRuntimeService

from session_block import crashpoints
from session_block.account import Account, AccountSource
from session_block.client.backends import Backends
from session_block.client.failures import is_outage, tells_of_refused_token
from session_block.client.jobs import Jobs
from session_block.client.outages import through_outages
from session_block.client.plans import PlanCaps, read_caps
from session_block.client.service import connect, connecting, disconnect, identity_of
from session_block.client.sessions import Sessions
from session_block.environment.backoff import ExponentialPause
from session_block.environment.environment import Environment
from session_block.environment.forks import ForkLock, renew_after_fork
from session_block.errors import ConnectionFailedError, InstanceRequiredError
from session_block.references import checked_id

_TOKEN_TRIES = 4
"""How often a new token may be refused before the credentials count as refused.

If the token service fails in between, the client sends the API key in place of a token.
"""

_logger = logging.getLogger(__name__)


_at_once: ContextVar[bool] = ContextVar("session_block_at_once", default=False)


@contextmanager
def at_once() -> Iterator[None]:
    """Connect at once or not at all in a ``with`` block, as at the end of a run.

    What is left undone then is done by whoever comes next: nobody waits an hour for it.
    """
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


class Probe:
    """Reads the platform's answers about sessions and jobs, with all their fields.

    All methods raise ``ConnectionFailedError`` if the platform does not answer.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def session(self, session_id: str) -> dict[str, Any]:
        """Return a session's details."""
        with connecting(f"look up session {session_id}"):
            return dict(self._api().session_details(checked_id("session", session_id)))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job, without its parameters."""
        with connecting(f"look up job {job_id}"):
            return dict(self._api().job_get(checked_id("job", job_id)))

    def metrics(self, job_id: str) -> dict[str, Any]:
        """Return a job's metrics."""
        with connecting(f"read the metrics of job {job_id}"):
            return dict(self._api().job_metadata(checked_id("job", job_id)))

    def _api(self) -> Any:
        connection = self._connection
        return connection.service._get_api_client(connection.instance)  # noqa: SLF001


@dataclass(frozen=True)
class _Client:
    """The client's service and the objects built on it; all belong to one access token."""

    service: QiskitRuntimeService
    instance: str
    backends: Backends
    sessions: Sessions
    jobs: Jobs


class Connection:
    """One instance of IBM Quantum, through the client; connects on first use.

    The client keeps using an access token that the platform refuses, so the connection renews
    itself after such an answer (:meth:`renew_after`). The client's objects, such as jobs and
    sessions, belong to the service that made them: code that keeps them must compare
    :attr:`renewals`.

    Each of its properties may connect, and so raise:

    Raises:
        ConnectionFailedError: The credentials are refused, or the platform cannot be reached.
        InstanceRequiredError: The credentials name no instance, and there are several.

    Args:
        source: The account, or the source that it is loaded from when first needed.
        environment: Gives clock and pause to wait with while the platform is out of reach;
            ``None`` to fail at once.

    Attributes:
        renewals: How often the connection was renewed or closed.
    """

    def __init__(
        self, source: Account | AccountSource, environment: Environment | None = None
    ) -> None:
        self._source = source
        self._environment = environment
        self._account: Account | None = None
        self._client: _Client | None = None
        self._identity: str | None = None
        self._caps: PlanCaps | None = None
        self._lock = ForkLock(reentrant=True)
        self.renewals = 0
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's network connections to the parent; the next use connects."""
        self._client = None
        self.renewals += 1

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._client is not None

    def open(self) -> Self:
        """Connect now, unless it is connected."""
        self._connected()
        return self

    @property
    def account(self) -> Account:
        """The account, loaded once: only a new ``Connection`` uses a rotated key."""
        with self._lock:
            if self._account is None:
                given = self._source
                self._account = given if isinstance(given, Account) else given.account()
            return self._account

    @property
    def service(self) -> QiskitRuntimeService:
        """The client's own service."""
        return self._connected().service

    @property
    def instance(self) -> str:
        """CRN of the instance that all requests go to."""
        return self._connected().instance

    @property
    def identity(self) -> str | None:
        """The account's identity; ``None`` before the first answer, or if there is none.

        See :func:`session_block.client.service.identity_of`.
        """
        if self._identity is None:
            client = self._connected()
            self._identity = identity_of(client.service._get_api_client(client.instance))  # noqa: SLF001
        return self._identity

    @property
    def backends(self) -> Backends:
        """The instance's backends."""
        return self._connected().backends

    @property
    def sessions(self) -> Sessions:
        """The instance's sessions and batches."""
        return self._connected().sessions

    @property
    def jobs(self) -> Jobs:
        """The instance's jobs."""
        return self._connected().jobs

    def renew(self) -> None:
        """Connect again, with a new access token, after any outage.

        Raises:
            ConnectionFailedError: The credentials are refused, or an outage lasts too long.
        """
        with self._lock:
            self._client = self._connect()
            self.renewals += 1

    def renew_after(self, error: BaseException) -> bool:
        """Connect again if an error means that the access token was refused; do not wait.

        For callers that wait and ask again by themselves, maybe not for long.

        Returns:
            Whether it connected again; not during an outage.

        Raises:
            ConnectionFailedError: The credentials are refused.
        """
        if not tells_of_refused_token(error):
            return False
        with self._lock:
            try:
                self._client = self._connect_once()
            except ConnectionFailedError as failure:
                if not (is_outage(failure) or tells_of_refused_token(failure)):
                    raise
                _logger.warning("The access token could not be renewed yet: %s", failure)
                return False
            self.renewals += 1
        return True

    def allocation(self) -> dict[str, Any]:
        """Return the instance's usage and limits, from ``service.usage()``."""
        with connecting("read the usage of the instance"):
            usage: dict[str, Any] = self.service.usage()
            return usage

    def plan_caps(self) -> PlanCaps:
        """Return what the instance's plan allows at most; asked for once.

        They serve to refuse early what the platform would refuse, so nothing depends on them: of a
        platform that does not answer, or whose key may not read them, all are unknown.
        """
        if self._caps is None:
            client = self._connected()
            api = client.service._get_api_client(client.instance)  # noqa: SLF001
            try:
                with connecting("read what the plan of the instance allows"):
                    self._caps = read_caps(api, client.instance, self._plan_id)
            except ConnectionFailedError as error:
                _logger.info("%s", error)
                self._caps = PlanCaps()
        return self._caps

    def plan(self) -> str:
        """Return the plan of the instance, as IBM's catalogue names it, or ``unknown``.

        Raises:
            ConnectionFailedError: The platform does not answer.
        """
        with connecting("look up the plan of the instance"):
            instances = self.service.instances()
        known = {one["crn"]: str(one["plan"]) for one in instances}
        return known.get(self.instance, "unknown")

    def _plan_id(self) -> str | None:
        return self.allocation().get("plan_id")

    def close(self) -> None:
        """Close the network connections; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                self.renewals += 1
        if client is not None:
            disconnect(client.service)

    def _connected(self) -> _Client:
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or self._connect()
        return client

    def _connect(self) -> _Client:
        """Connect, after any outage if there is an environment to wait with."""
        environment = None if _at_once.get() else self._environment
        if environment is None:
            return self._connect_once()
        pause = ExponentialPause(environment)
        for tries_left in reversed(range(_TOKEN_TRIES)):
            try:
                return through_outages(
                    environment, f"{self._platform} could not be reached", self._connect_once
                )
            except ConnectionFailedError as error:
                if not tries_left or not tells_of_refused_token(error):
                    raise
                environment.pause(pause.next())
        raise AssertionError("the last try returns or raises")

    @property
    def _platform(self) -> str:
        account = self.account
        return str(account.url or account.name or "IBM Quantum")

    def _connect_once(self) -> _Client:
        account = self.account
        purpose = f"connect to {self._platform}"
        with connecting(purpose), crashpoints.around("connect"):
            service = connect(account)
        instance = _pinned_instance(service)

        def api() -> Any:
            return service._get_api_client(instance)  # noqa: SLF001

        backends = Backends(service, api, instance)
        pause = time.sleep if self._environment is None else self._environment.pause
        sessions = Sessions(api, instance, backends, pause)
        return _Client(service, instance, backends, sessions, Jobs(service, api))


def _pinned_instance(service: QiskitRuntimeService) -> str:
    """Return the one instance to use: jobs must be looked up where they were sent."""
    instance: str | None = service.active_instance()
    if instance is None:
        with connecting("list the account's instances"):
            known = ", ".join(one["crn"] for one in service.instances())
        raise InstanceRequiredError(
            "The credentials name no instance, so jobs could be sent to one and looked up in "
            f"another. Set instance to one of: {known}."
        )
    return instance
