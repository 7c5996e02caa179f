"""The one place that touches ``qiskit_ibm_runtime``'s service, and what is not public of it.

Not public, since there is no public way: the page-wise job listing (the public one may loop for
ever on a wrong count), attaching to a session that no job has used yet (``Session.from_id`` needs
its backend), and a failed job's reason while its results cannot be read. ``tests/test_client.py``
notices when they change.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.transpiler import Target
from qiskit_ibm_runtime import (
    IBMBackend,
    QiskitRuntimeService,
    RuntimeJobNotFound,
    RuntimeJobV2,
    Session,
)
from qiskit_ibm_runtime.exceptions import IBMError, IBMRuntimeError

from session_block import crashpoints
from session_block.account import Account
from session_block.errors import (
    BackendNotFoundError,
    ConnectionFailedError,
    SessionError,
    SessionMismatchError,
    SessionNotFoundError,
)

_LISTING_PAGE = 100
_NOT_FOUND = 404
_CLOSE_TRIES = 4
_CLOSE_PAUSE_SECONDS = 0.5
_environment_lock = threading.Lock()


@dataclass(frozen=True)
class ListedJob:
    """A job as the platform's listing shows it, oldest first."""

    job_id: str
    created: str
    status: str
    session_id: str | None
    tags: tuple[str, ...]

    @property
    def pending(self) -> bool:
        """Whether the job is queued or running."""
        return self.status.casefold() in {"queued", "running"}

    @property
    def can_give_a_result(self) -> bool:
        """Whether the job has a result or may still get one."""
        return self.status.casefold() not in {"failed", "cancelled"}


class Connection:
    """One service bound to one instance.

    Raises:
        ConnectionFailedError: The credentials are refused, or the platform cannot be reached.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        purpose = f"connect to {account.url or account.name or 'IBM Quantum'}"
        with _connecting(purpose), crashpoints.around("connect"):
            self.service = _service(account)
        self.instance = self._pinned_instance()
        self._backends: dict[str, IBMBackend] = {}

    def backend(self, name: str) -> IBMBackend:
        """Return a backend of the instance, fetched once.

        Raises:
            BackendNotFoundError: The instance has none of that name.
        """
        if name not in self._backends:
            with _connecting(f"look up backend {name!r}"):
                try:
                    self._backends[name] = self.service.backend(name, instance=self.instance)
                except QiskitBackendNotFoundError as error:
                    raise BackendNotFoundError(
                        f"The instance {self.instance} has no backend {name!r}; it has "
                        f"{', '.join(self._backend_names()) or 'none'}. Set backend_name of the "
                        "QuantumSession Block to one of them."
                    ) from error
        return self._backends[name]

    def open_session(self, backend: str, max_time_seconds: int | None) -> Session:
        """Open a new session. The caller records its ID at once."""
        device = self.backend(backend)
        with _connecting(f"open a session on {backend}"), crashpoints.around("open session"):
            return Session(device, max_time=max_time_seconds)

    def session(self, session_id: str, backend: str) -> Session:
        """Return an existing session, after checking that it is what is expected.

        Raises:
            SessionNotFoundError: The instance has no session of this ID.
            SessionMismatchError: It is on another backend, or is a batch.
        """
        client = self.service._get_api_client(self.instance)  # noqa: SLF001
        try:
            purpose = f"look up session {session_id}"
            with _connecting(purpose), crashpoints.around("look at session"):
                details = client.session_details(session_id)
        except ConnectionFailedError as error:
            if getattr(error.__cause__, "status_code", None) == _NOT_FOUND:
                raise SessionNotFoundError(
                    f"The instance {self.instance} has no session {session_id!r}. Check the ID, "
                    "and that the Block's credentials are of the instance that opened it."
                ) from error
            raise
        found = (details.get("mode"), details.get("backend_name") or backend)
        if found != ("dedicated", backend):
            raise SessionMismatchError(
                f"Session {session_id} is of mode {found[0]!r} on backend {found[1]!r}, but a "
                f"session (mode 'dedicated') on the Block's backend {backend!r} is needed. Use the "
                "Block of that backend, or another session."
            )
        session = Session(self.backend(backend), create_new=False)
        session._session_id = session_id  # noqa: SLF001 - as Session.from_id does
        return session

    def close_session(self, session: Session, *, cancel_jobs: bool) -> None:
        """Close a session, and try again: the client never retries this request by itself.

        Raises:
            SessionError: The platform did not close it; it may go on billing.
        """
        for tries_left in reversed(range(_CLOSE_TRIES)):
            try:
                with crashpoints.around("close session"):
                    if cancel_jobs:
                        session.cancel()
                    else:
                        session.close()
            except (IBMError, requests.RequestException) as error:
                if not tries_left:
                    raise SessionError(
                        f"Session {session.session_id} could not be closed: {error}. It may go on "
                        "billing; close it at the platform."
                    ) from error
                time.sleep(_CLOSE_PAUSE_SECONDS)
            else:
                return

    def target(self, backend: str) -> Target:
        """Return what a backend's circuits may consist of."""
        device = self.backend(backend)
        with _connecting(f"read the properties of backend {backend!r}"):
            return device.target

    def describe(self, session: Session) -> dict[str, Any]:
        """Return a session's details, as the client names them."""
        purpose = f"read the details of session {session.session_id}"
        with _connecting(purpose), crashpoints.around("look at session"):
            return session.details() or {}

    def accepts_jobs(self, session: Session) -> bool:
        """Say whether a session is open and takes jobs, asked from the platform."""
        details = self.describe(session)
        return details.get("state") != "closed" and details.get("accepting_jobs") is not False

    def status(self, session: Session) -> str | None:
        """Return the client's words for a session's state."""
        with _connecting(f"read the status of session {session.session_id}"):
            words: str | None = session.status()
            return words

    def job(self, job_id: str) -> RuntimeJobV2 | None:
        """Return a job, or ``None`` when the instance knows none of this ID."""
        with _connecting(f"look up job {job_id}"), crashpoints.around("ask job"):
            try:
                return self.service.job(job_id)
            except RuntimeJobNotFound:
                return None

    def jobs_with_tag(self, tag: str) -> list[ListedJob]:
        """List every job that bears a tag, oldest first, whatever its session, state or age.

        Raises:
            RequestsApiError: The listing failed, so nothing can be said about what it would hold.
        """
        client = self.service._get_api_client(self.instance)  # noqa: SLF001
        jobs: list[ListedJob] = []
        while True:
            with crashpoints.around("list jobs"):
                page = client.jobs_get(
                    limit=_LISTING_PAGE, skip=len(jobs), job_tags=[tag], descending=False
                )["jobs"]
            jobs.extend(
                ListedJob(
                    job_id=job["id"],
                    created=job["created"],
                    status=job["state"]["status"],
                    session_id=job.get("session_id"),
                    tags=tuple(job.get("tags") or ()),
                )
                for job in page
            )
            if len(page) < _LISTING_PAGE:
                return jobs

    def listed(self, tag: str) -> list[ListedJob]:
        """List the jobs that bear a tag, for an experiment that is being opened.

        Raises:
            ConnectionFailedError: The listing failed.
        """
        with _connecting(f"list the jobs tagged {tag!r}"):
            try:
                return self.jobs_with_tag(tag)
            except (KeyError, ValueError) as error:
                raise IBMRuntimeError(f"the listing is incomplete: {error!r}") from error

    def _pinned_instance(self) -> str:
        instance: str | None = self.service.active_instance()
        if instance is None:
            with _connecting("list the account's instances"):
                known = ", ".join(one["crn"] for one in self.service.instances())
            raise ConnectionFailedError(
                "The credentials name no instance, so jobs could be sent to one and looked for in "
                f"another. Set instance to one of: {known}."
            )
        return instance

    def _backend_names(self) -> list[str]:
        return sorted(backend.name for backend in self.service.backends(instance=self.instance))


def reason_of(job: RuntimeJobV2) -> str:
    """Return why a job failed, also when the client could not read the job's results for it."""
    return str(job.error_message() or job._reason or "")  # noqa: SLF001


def is_known_to_have_failed(job: RuntimeJobV2) -> bool:
    """Whether the client has seen the job's failure, without asking again."""
    return bool(job._status == "ERROR")  # noqa: SLF001


def _service(account: Account) -> QiskitRuntimeService:
    with _variables(account.environment):
        if account.name is not None:
            return QiskitRuntimeService(name=account.name, instance=account.instance)
        return QiskitRuntimeService(
            channel=account.channel,
            token=account.token,
            url=account.url,
            instance=account.instance,
            verify=account.verify,
            proxies=dict(account.proxies) if account.proxies else None,
            private_endpoint=account.private_endpoint,
        )


@contextmanager
def _variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as a service is made: the client reads them then."""
    with _environment_lock:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _connecting(purpose: str) -> Iterator[None]:
    try:
        yield
    except (IBMError, requests.RequestException) as error:
        raise ConnectionFailedError(
            f"Could not {purpose}: {error}. Check the credentials' token, instance and URL, and "
            "that the platform can be reached; nothing was submitted."
        ) from error
