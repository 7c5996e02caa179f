"""The client's own HTTP layer, with the simulated platform at the other end.

One service of the client serves all simulated processes: it holds no state between requests. What
a real socket and urllib3 would do happens here: repeated requests, timeouts, dropped connections.
"""

from __future__ import annotations

import json
import os
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import requests
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.api.client_parameters import ClientParameters
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase
from runtime_client import RuntimeClient
from urllib3 import HTTPResponse
from urllib3.exceptions import (
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
)

from session_block.account import Account
from session_block.client import BackendChoice, Connection
from session_block.client.backends import Backends
from session_block.client.connection import _Client
from session_block.client.jobs import Jobs
from session_block.client.service import LeanBackend, LeanService, connecting
from session_block.client.sessions import Sessions

from .platform import BACKEND, INSTANCE, Answer

if TYPE_CHECKING:
    from .world import Process

URL = "https://simulated.invalid"

_here = threading.local()


def of_this_thread() -> Process:
    """Return the simulated process that this thread belongs to."""
    process: Process = _here.process
    return process


def be(process: Process) -> None:
    """Make this thread a simulated process's."""
    _here.process = process


class _Auth(AuthBase):
    """Sends the access token that the process was last given."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {of_this_thread().token}"
        return request


class _Adapter(BaseAdapter):
    """Sends a request to the world, and repeats it as the client's own adapter would."""

    def __init__(self, real: HTTPAdapter) -> None:
        super().__init__()
        self._real = real

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Send a request; see :meth:`requests.adapters.HTTPAdapter.send`."""
        process, retries = of_this_thread(), self._real.max_retries
        method, url = str(request.method), str(request.url)
        parts = urlsplit(url)
        body = json.loads(request.body) if request.body else None
        made: str | None = None
        while True:
            error: Exception | None = None
            answer: Answer | None = None
            try:
                answer, effect = process.world.request(
                    process, method, parts.path, parse_qs(parts.query), body, made
                )
                made = made or effect
            except (NewConnectionError, ProtocolError, ReadTimeoutError) as failed:
                error = failed
            try:
                if error is not None:
                    retries = retries.increment(method, url, error=error)
                    process.environment.pause(retries.get_backoff_time())
                    continue
                assert answer is not None
                response = _response(answer, retries)
                has_retry_after = "Retry-After" in answer.headers
                if retries.is_retry(method, answer.status, has_retry_after):
                    retries = retries.increment(method, url, response=response)
                    process.environment.pause(retries.get_backoff_time())
                    continue
            except MaxRetryError as over:
                if isinstance(over.reason, ResponseError):
                    raise requests.exceptions.RetryError(over, request=request) from over
                raise requests.ConnectionError(over, request=request) from over
            except ReadTimeoutError as late:
                raise requests.ReadTimeout(late, request=request) from late
            except ProtocolError as cut:
                raise requests.ConnectionError(cut, request=request) from cut
            if method == "POST" and parts.path.endswith("/jobs") and answer.status == 200:
                here = process.world.schedule.current.number
                process.told[here].append(json.loads(answer.content)["id"])
            return self._real.build_response(request, response)

    def close(self) -> None:
        """There is nothing to close."""


def _response(answer: Answer, retries: Any) -> HTTPResponse:
    headers = {"Content-Type": "application/json", **answer.headers}
    return HTTPResponse(
        BytesIO(answer.content.encode()),
        headers=headers,
        status=answer.status,
        preload_content=False,
        retries=retries,
    )


class _Backend(LeanBackend):
    """The one backend, whose state costs no request."""

    def status(self) -> Any:
        return _ALWAYS_UP

    status_now = status


class _Up:
    operational = True
    status_msg = "active"


_ALWAYS_UP = _Up()


class _Service(LeanService):
    """The client's service, which knows one backend."""

    def backend(self, *_: Any, **__: Any) -> Any:
        """Return it."""
        return _shared().backend

    _create_backend_obj = backend


class SimulatedBackends(Backends):
    """The instance's one backend."""

    def get(self, _choice: BackendChoice) -> LeanBackend:
        """Return it."""
        return _shared().backend

    def target(self, choice: BackendChoice) -> None:  # type: ignore[override]
        """Every circuit fits."""

    def why_not_up(self, choice: BackendChoice) -> None:
        """It is always up."""

    def calibrated_at(self, choice: BackendChoice) -> None:
        """Say nothing of its calibration."""


class _Shared:
    """The client's objects that all processes use."""

    def __init__(self) -> None:
        os.environ.setdefault("USAGE_DATA_OPT_OUT", "True")  # as the service itself does
        parameters = ClientParameters(
            channel="ibm_quantum_platform",
            token="simulated",
            url=URL,
            instance=INSTANCE,
            url_resolver=lambda *_: URL,
        )
        self.client = RuntimeClient(parameters)
        session = self.client._session
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _Adapter(adapter))
        session.auth = _Auth()
        session.trust_env = False
        service = _Service.__new__(_Service)
        service._channel = "ibm_quantum_platform"
        service._api_clients = {INSTANCE: self.client}
        service._active_api_client = self.client
        service._backend_instance_groups = []
        service._usage_checked_at = float("inf")
        service._backends_by_name = {}
        self.service = service
        configuration = FakeManilaV2().configuration()
        configuration.backend_name = BACKEND
        self.backend = _Backend(configuration, service, self.client, instance=INSTANCE)


_made: list[_Shared] = []


def _shared() -> _Shared:
    if not _made:
        _made.append(_Shared())
    return _made[0]


class SimulatedConnection(Connection):
    """A connection of one simulated process; the real class but for how it connects."""

    @property
    def identity(self) -> str:
        """The account's identity."""
        return "IBMid-simulated"

    def _connect_once(self) -> _Client:
        process, shared = of_this_thread(), _shared()
        with connecting(f"connect to {URL}"):
            shared.client._session.get("/token")
            process.token = process.world.new_token()

        def api() -> RuntimeClient:
            return shared.client

        backends = SimulatedBackends(shared.service, api, INSTANCE)
        pause = process.environment.pause
        return _Client(
            shared.service,
            INSTANCE,
            backends,
            Sessions(api, INSTANCE, backends, pause=pause),
            Jobs(shared.service, api),
        )

    def close(self) -> None:
        """Close it; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                self.renewals += 1


def account(process: Process) -> Account:
    """Return the account, whose platform's clock is taken for the machine's own."""
    return Account(
        token="simulated",
        url=URL,
        instance=INSTANCE,
        channel="ibm_quantum_platform",
        now=process.environment.now,
    )


def send(mode: Any, content: str, tags: list[str]) -> RuntimeJobV2:
    """Send a job as the client's primitives do, once its circuits are encoded."""
    options: dict[str, Any] = {"job_tags": tags}
    inputs = {"content": content, "version": 2}
    if isinstance(mode, LeanBackend):
        options |= {"backend": mode, "instance": INSTANCE}
        return _shared().service._run(program_id="estimator", options=options, inputs=inputs)
    return mode._run(program_id="estimator", inputs=inputs, options=options)
