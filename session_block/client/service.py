"""Make the client's service, and turn its failures into this package's errors.

It is the client's own service with less work per request. Before each job the client asks for the
instance's usage and the backend's status, only to warn about them; and for each request it walks
the whole stack to find out which library makes it. In a session that time is billed. So this
service asks at most once a minute, and does not report its callers unless the environment says so
(``USAGE_DATA_OPT_OUT=False``).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

import jwt
import requests
from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeInvalidStateError
from qiskit_ibm_runtime.exceptions import IBMError, IBMInputValueError

from session_block.account import Account
from session_block.client.failures import UnreadableAnswerError, code_in
from session_block.environment.forks import ForkLock
from session_block.errors import ConnectionFailedError, SessionBlockError

REMEMBERED_SECONDS = 60.0
"""For how long the check of the instance's usage, and a backend's status, are not repeated."""

_OPT_OUT = "USAGE_DATA_OPT_OUT"

_environment_lock = ForkLock()

_by_token: ContextVar[bool] = ContextVar("session_block_by_token", default=False)
"""Whether this package makes a service, which it always does with a token."""


def _is_no_news(record: logging.LogRecord) -> bool:
    """Whether a record is the client's remark that it uses the token it was given."""
    return _by_token.get() and record.getMessage().startswith("Loading account with the given")


# A Block's user has given the token on purpose, and would see the remark at each connection.
logging.getLogger("qiskit_ibm_runtime.qiskit_runtime_service").addFilter(
    lambda record: not _is_no_news(record)
)


class LeanService(QiskitRuntimeService):  # type: ignore[misc]  # untyped
    """The client's service, with fewer requests per job."""

    _usage_checked_at = -REMEMBERED_SECONDS

    def __init__(self, **account: Any) -> None:
        os.environ.setdefault(_OPT_OUT, "True")
        super().__init__(**account)
        self._backends_by_name: dict[tuple[str, str], LeanBackend] = {}

    def keep(self, backend: LeanBackend) -> None:
        """Send jobs that name this backend to this object."""
        self._backends_by_name[backend.name, backend._instance] = backend  # noqa: SLF001

    def _run(self, *args: Any, **given: Any) -> Any:
        # The client's Executor names its backend, which is then listed anew for each job in job
        # mode, in any instance.
        options = given.get("options")
        if isinstance(options, dict):
            named: Any = options.get("backend"), options.get("instance")
            known = self._backends_by_name.get(named)
            if known is not None:
                given["options"] = {**options, "backend": known}
        return super()._run(*args, **given)

    def _check_instance_usage(self) -> None:
        if time.monotonic() - self._usage_checked_at >= REMEMBERED_SECONDS:
            super()._check_instance_usage()
            self._usage_checked_at = time.monotonic()


class LeanBackend(IBMBackend):  # type: ignore[misc]  # untyped
    """The client's backend, with a status that may be up to a minute old."""

    _known_status: tuple[float, Any] | None = None

    @classmethod
    def of(cls, backend: IBMBackend) -> Self:
        """Turn a backend of the client into a lean one; it is the same object."""
        backend.__class__ = cls
        lean: Self = backend
        if isinstance(lean.service, LeanService):
            lean.service.keep(lean)
        return lean

    def status(self) -> Any:
        """Return the backend's status, requested at most once a minute."""
        known = self._known_status
        if known is None or time.monotonic() - known[0] >= REMEMBERED_SECONDS:
            return self.status_now()
        return known[1]

    def status_now(self) -> Any:
        """Return the backend's status from a new request."""
        status = super().status()
        self._known_status = (time.monotonic(), status)
        return status


def connect(account: Account) -> QiskitRuntimeService:
    """Make the client's service for an account."""
    variables = _variables(account)
    with _environment(variables):
        try:
            service = LeanService(
                channel=account.channel,
                token=account.token,
                url=account.url,
                instance=account.instance,
                verify=account.verify,
                proxies=_proxies(account),
                private_endpoint=account.private_endpoint,
                **account.preferences,
            )
        except ValueError as error:
            if isinstance(error, IBMError | requests.RequestException):
                raise
            raise IBMInputValueError(str(error)) from error  # a setting: waiting does not help
    for api in (service._active_api_client, *service._get_api_clients().values()):  # noqa: SLF001
        _equip(api, account)
    make_api = service._create_new_cloud_api_client  # noqa: SLF001

    def make_equipped_api(instance: str) -> Any:
        with _environment(variables):
            api = make_api(instance)
        _equip(api, account)
        return api

    service._create_new_cloud_api_client = make_equipped_api  # noqa: SLF001
    return service


def plain_service(account: Account, crn: str) -> QiskitRuntimeService:
    """Make the client's own service, without any change, for an instance of an account."""
    with _environment(_variables(account)):
        return QiskitRuntimeService(
            channel=account.channel,
            token=account.token,
            url=account.url,
            instance=crn,
            verify=account.verify,
            proxies=_proxies(account),
            private_endpoint=account.private_endpoint,
        )


def identity_of(api: Any) -> str | None:
    """Return the IAM ID of who sends a client's requests; ``None`` if the platform gives none.

    It is the claim ``iam_id`` of the access token that the requests bear, so it costs none. It
    names a user, a service ID or a trusted profile, whatever API key is used [client source: IBM's
    own CLI library reads it there]. The signature is not checked: the platform itself sent it.
    """
    token = api._session.auth.tm.access_token  # noqa: SLF001
    if token is None:  # before the first request, or the client sends the API key itself
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return None
    found = claims.get("iam_id")
    return found if isinstance(found, str) and found else None


def disconnect(service: QiskitRuntimeService) -> None:
    """Close the service's network connections."""
    for api in {service._active_api_client, *service._get_api_clients().values()} - {None}:  # noqa: SLF001
        api._session.close()  # noqa: SLF001


def _variables(account: Account) -> dict[str, str]:
    """Return the environment variables to set while the client connects.

    The client offers no other way to choose the certificates for its access token requests, or to
    turn off verification when it looks up instances. Also, some of its requests prefer the
    environment's settings to the given ones.
    """
    variables = dict(account.environment)
    if account.ca_bundle is not None:
        variables["REQUESTS_CA_BUNDLE"] = str(account.ca_bundle)
    if not account.verify:
        variables |= {"GLOBAL_SEARCH_DISABLE_SSL": "true", "GLOBAL_CATALOG_DISABLE_SSL": "true"}
        variables |= {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    if account.proxies is not None:
        variables["no_proxy"] = "*"
    return variables


def _proxies(account: Account) -> dict[str, Any] | None:
    """Return an account's proxies, in a form that also turns off the environment's proxies."""
    if account.proxies is None:
        return None
    return {"urls": {**account.proxies.get("urls", {}), "no_proxy": "*"}}


def _equip(api: Any, account: Account) -> None:
    """Apply the account's certificates and proxies to later requests, also for access tokens."""
    if account.verify and account.ca_bundle is None and account.proxies is None:
        return
    verify = account.verify if account.ca_bundle is None else str(account.ca_bundle)
    session = api._session  # noqa: SLF001
    settings = session.merge_environment_settings(
        session.base_url, dict(session.proxies), None, verify, None
    )
    session.trust_env = False
    session.verify = settings["verify"]
    # The client sets no time limit if there are any proxies, and "no_proxy" would count as one.
    session.proxies = {key: url for key, url in settings["proxies"].items() if key != "no_proxy"}
    session.auth.tm.http_config = {"verify": settings["verify"]}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while a service is made, because the client reads them then.

    It also keeps the client from saying that it was given a token.
    """
    made_by_token = _by_token.set(True)
    with _environment_lock:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            _by_token.reset(made_by_token)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


STRANGE = (KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What comes of reading an answer that lacks something, or is of another form."""


@contextmanager
def readable() -> Iterator[None]:
    """Turn what comes of reading a strange answer into an error of the client."""
    try:
        yield
    except (SessionBlockError, requests.RequestException):  # some are value errors, too
        raise
    except STRANGE as error:
        raise UnreadableAnswerError(
            f"the platform's answer is incomplete or of an unknown form: {error!r}"
        ) from error


@contextmanager
def connecting(purpose: str) -> Iterator[None]:
    """Turn the client's errors into this package's error, with the purpose in its message."""
    try:
        with readable():
            yield
    except RuntimeInvalidStateError:
        # This is an answer to the request, not a failed request.
        raise
    except (IBMError, requests.RequestException) as error:
        raise ConnectionFailedError(
            f"Could not {purpose}: {_explained(error)}. {_advice(error)}.", code=code_in(str(error))
        ) from error


def _explained(error: BaseException) -> str:
    """Return an error's text, with its cause's text if it does not contain it."""
    text, cause = str(error), str(error.__cause__ or "")
    return text if cause in text else f"{text} ({cause})"


def _advice(error: BaseException) -> str:
    if isinstance(error, UnreadableAnswerError):
        return (
            "Run again in a while; if it stays so, check the credentials' URL and the version of "
            "qiskit-ibm-runtime: 'session-block doctor' shows both"
        )
    if "CERTIFICATE_VERIFY_FAILED" in _explained(error):
        return (
            "Set the credentials' ca_bundle to a file with the certificate of the authority that "
            "signed the server's certificate"
        )
    return "Check the credentials' token, instance and URL, and that the platform can be reached"
