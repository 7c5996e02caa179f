"""The one place that touches the client: connecting, listing, telling refusals from the rest."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import jwt
import pytest
from pydantic import SecretStr
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime import IBMRuntimeError, QiskitRuntimeService
from runtime_client import RuntimeClient
from support import BACKEND, CHOICE, Platform, attached

from session_block import IBMSessionCredentials
from session_block.account import Account
from session_block.client import BackendChoice, Connection
from session_block.client.failures import refusal, tells_of_closed_session
from session_block.client.service import identity_of
from session_block.errors import (
    BackendNotFoundError,
    ConnectionFailedError,
    PlatformError,
    SessionMismatchError,
    SessionNotFoundError,
)
from session_block.pubs.request import Request, sampler_request


@pytest.fixture(scope="module")
def connection(platform: Platform) -> Connection:
    """A connection to the local platform."""
    return Connection(platform.credentials().account())


@pytest.fixture(scope="module")
def bell(connection: Connection) -> Request:
    """A valid request."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return sampler_request([transpile(circuit, connection.backends.get(CHOICE))], shots=10)


def test_the_private_listing_is_still_there() -> None:
    """The page-wise listing keeps the name and arguments with which it is called."""
    parameters = inspect.signature(RuntimeClient.jobs_get).parameters
    assert {"limit", "skip", "job_tags", "descending"} <= set(parameters)
    assert "instance" in inspect.signature(QiskitRuntimeService._get_api_client).parameters


def test_what_is_asked_for_less_often_is_still_asked_for() -> None:
    """The client asks for the usage where this package lets it do so only once a minute."""
    source = inspect.getsource(QiskitRuntimeService._run)
    assert "self._check_instance_usage()" in source
    assert "backend.status()" in source
    assert list(inspect.signature(QiskitRuntimeService._check_instance_usage).parameters) == [
        "self"
    ]


@pytest.mark.rest
def test_the_client_s_remark_on_tokens_is_its_users_own(platform: Platform) -> None:
    """A connection of this package does not repeat it; the user's own service still does."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    client = logging.getLogger("qiskit_ibm_runtime.qiskit_runtime_service")
    client.addHandler(handler)
    before = client.level
    client.setLevel(logging.WARNING)
    try:
        account = platform.credentials().account()
        Connection(account).open()
        assert [one for one in said if one.startswith("Loading account")] == []
        with pytest.MonkeyPatch.context() as environment:
            for name, value in account.environment.items():
                environment.setenv(name, value)
            QiskitRuntimeService(
                channel="ibm_quantum_platform",
                token=account.token,
                url=account.url,
                instance=account.instance,
            )
        assert [one for one in said if one.startswith("Loading account with the given token")]
    finally:
        client.removeHandler(handler)
        client.setLevel(before)


@pytest.mark.rest
def test_the_accounts_identity_costs_no_request(platform: Platform) -> None:
    """It is in the token that the client already has; a token without it tells none."""
    connection = Connection(platform.credentials().account())
    assert connection.jobs.tagged("qs-uid:nobody") == []
    api = connection.service._get_api_client(connection.instance)
    token = api._session.auth.tm.access_token
    before = platform.stats()["requests"]
    assert connection.identity == jwt.decode(token, options={"verify_signature": False})["iam_id"]
    after = platform.stats()["requests"]
    assert {name for name in after if after[name] != before.get(name)} == {"GET /_local/stats"}
    for other in (None, "opaque", jwt.encode({"exp": 0}, "k" * 32)):
        api._session.auth.tm.access_token = other
        assert identity_of(api) is None


def test_a_job_costs_one_request(platform: Platform, bell: Request) -> None:
    """What the client only warns of is asked for before the first job, and not before each."""
    connection = Connection(platform.credentials().account())
    backend = connection.backends.get(CHOICE)
    bell.send(backend, ["qs-uid:lean"])
    before = platform.stats()["requests"]
    for _ in range(3):
        bell.send(backend, ["qs-uid:lean"])
    after = platform.stats()["requests"]
    made = {name: after[name] - before.get(name, 0) for name in after if "_local" not in name}
    assert {name: count for name, count in made.items() if count} == {"POST /jobs": 3}


def test_a_status_that_is_asked_for_is_new(platform: Platform, connection: Connection) -> None:
    """Only the client's own question before a job is answered from memory."""
    asked = platform.stats()["requests"].get("GET /backends/{name}/status", 0)
    for _ in range(2):
        connection.backends.why_not_up(CHOICE)
    assert platform.stats()["requests"]["GET /backends/{name}/status"] == asked + 2


@pytest.mark.parametrize("chosen", [None, "True", "False"])
def test_callers_are_told_only_if_the_environment_says_so(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    """The user's own choice about usage data is left as it is."""
    if chosen is None:
        monkeypatch.delenv("USAGE_DATA_OPT_OUT", raising=False)
    else:
        monkeypatch.setenv("USAGE_DATA_OPT_OUT", chosen)
    Connection(platform.credentials().account()).open()
    assert os.environ["USAGE_DATA_OPT_OUT"] == (chosen or "True")


@pytest.mark.parametrize("path", ["", "/", "/experimental/api/v1"])
def test_ibm_credentials_reach_the_local_platform(platform: Platform, path: str) -> None:
    """URL, API key and CRN, typed as a user would, are enough; no environment variable is left."""
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token),
        instance=platform.info.instance,
        url=platform.info.origin + path,
    )
    before = dict(os.environ)
    service = credentials.get_client()
    assert service.backend(BACKEND).num_qubits == 5
    assert dict(os.environ) == before


def test_a_wrong_token_is_a_clear_error_without_the_token(platform: Platform) -> None:
    """The message says what to check and never holds the secret (P9)."""
    credentials = IBMSessionCredentials(
        token=SecretStr("not-the-right-key"),
        instance=platform.info.instance,
        url=platform.info.origin,
    )
    with pytest.raises(ConnectionFailedError, match="token, instance and URL") as caught:
        credentials.get_client()
    assert "not-the-right-key" not in str(caught.value)
    assert "not-the-right-key" not in repr(credentials)
    assert "not-the-right-key" not in repr(credentials.account())


def test_an_unreachable_platform_is_a_clear_error() -> None:
    """Nobody listening is said so, not shown as a stack of retries."""
    account = Account(token="t", url="http://127.0.0.1:9/experimental/api/v1", instance="crn:v1:x")
    unreachable = {
        "IAM_URL": "http://127.0.0.1:9/iam",
        "GLOBAL_SEARCH_URL": "http://127.0.0.1:9/search",
        "GLOBAL_CATALOG_URL": "http://127.0.0.1:9/catalog",
    }
    with pytest.raises(ConnectionFailedError, match="can be reached"):
        Connection(Account(token=account.token, url=account.url, environment=unreachable)).open()


def test_an_unknown_backend_names_the_known_ones(connection: Connection) -> None:
    """The error lists what the instance has, and names the Block's field."""
    with pytest.raises(BackendNotFoundError, match=f"{BACKEND}.*backend_name"):
        connection.backends.get(BackendChoice("ibm_nowhere"))


def test_an_unknown_session_is_a_clear_error(connection: Connection) -> None:
    """A session ID that the instance does not know is not an outage."""
    with pytest.raises(SessionNotFoundError, match="no session 'nowhere'"):
        attached(connection, "nowhere")


def test_a_session_of_another_backend_is_refused(connection: Connection) -> None:
    """A session ID that belongs to another backend names both."""
    other = connection.sessions.open(BackendChoice("ibm_nairobi"), 60)
    with pytest.raises(SessionMismatchError, match=f"ibm_nairobi.*{BACKEND}"):
        attached(connection, str(other.session_id))
    other.cancel()


def test_an_unknown_job_is_none(connection: Connection) -> None:
    """That the instance does not know a job is an answer, not an error."""
    assert connection.jobs.get("nowhere") is None


def test_the_listing_shows_every_job_of_a_tag_oldest_first(
    connection: Connection, bell: Request
) -> None:
    """All pages are read, whatever the jobs' state, and no other job is shown."""
    session = connection.sessions.open(CHOICE, 600)
    tag = f"tag-{uuid4().hex}"
    sent = [bell.send(session, [tag, "common"]).job_id() for _ in range(3)]
    bell.send(session, ["common"])
    listed = connection.jobs.tagged(tag)
    assert [job.job_id for job in listed] == sent
    assert all(tag in job.tags and job.session_id == session.session_id for job in listed)
    assert connection.jobs.tagged("no-such-tag") == []
    session.cancel()


def test_a_long_listing_is_read_to_its_end(
    connection: Connection, bell: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are asked for until a short one."""
    monkeypatch.setattr("session_block.client.jobs._LISTING_PAGE", 2)
    session = connection.sessions.open(CHOICE, 600)
    tag = f"tag-{uuid4().hex}"
    sent = [bell.send(session, [tag]).job_id() for _ in range(5)]
    assert [job.job_id for job in connection.jobs.tagged(tag)] == sent
    session.cancel()


def test_a_job_for_a_closed_session_is_a_certain_refusal(
    connection: Connection, bell: Request
) -> None:
    """The platform's 400 is dug out of the client's exception, and its cause is recognised."""
    session = connection.sessions.open(CHOICE, 60)
    attached(connection, str(session.session_id)).cancel()
    with pytest.raises(IBMRuntimeError) as caught:
        bell.send(session, [])
    refused = refusal(caught.value)
    assert refused is not None
    assert (refused.cause, refused.status) == ("session-closed", 400)


def test_a_session_closed_in_this_process_is_a_certain_refusal(
    connection: Connection, bell: Request
) -> None:
    """What the client refuses before it sends anything made no job."""
    session = connection.sessions.open(CHOICE, 60)
    session.close()
    with pytest.raises(IBMRuntimeError) as caught:
        bell.send(session, [])
    refused = refusal(caught.value)
    assert refused is not None
    assert (refused.cause, refused.status) == ("session-closed", None)


class _Answers(BaseHTTPRequestHandler):
    """Answers POST /jobs with the statuses that are scripted; all else is forwarded nowhere."""

    statuses: list[int] = []  # noqa: RUF012 - set by each test

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0)
        if not status:
            self.connection.close()
            return
        body = b'{"errors":[{"code":1,"message":"no"}]}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [
        ([400], "request"),
        ([422], "request"),
        ([401], "for-now"),
        ([429], "for-now"),
        ([500, 400], None),
        ([0], None),
    ],
)
def test_only_the_answer_to_the_one_post_is_certain(statuses: list[int], cause: str | None) -> None:
    """P6: a 4xx to the first POST is definite; after a re-POST, or a lost answer, nothing is."""
    from qiskit_ibm_runtime.api.session import RetrySession

    server = HTTPServer(("127.0.0.1", 0), _Answers)
    _Answers.statuses = list(statuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        session = RetrySession(f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the client decides which
            session.post("/jobs", data="{}")
        session.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    found = refusal(caught.value)
    assert (found and found.cause) == cause


@pytest.mark.parametrize(
    ("message", "closed"),
    [
        ('400: {"errors":[{"code":1217,"message":"x"}]}', True),
        ("Job j has failed: Error code 1217; Session has been closed", True),
        ("Session has been closed.", True),
        ("Error code 12170; something else", False),
        ("Error code 1305; ran too long", False),
        ("", False),
    ],
)
def test_a_closed_session_is_told_by_code_and_text(message: str, closed: bool) -> None:
    """What IBM says of a session's end is not public, so code and text are matched both."""
    assert tells_of_closed_session(message) is closed


def test_a_platform_with_other_settings_is_not_taken(platform: Platform) -> None:
    """A Block that asks for another seed than the running platform has gets a clear error."""
    block = platform.credentials().model_copy(update={"seed": 12345})
    with pytest.raises(PlatformError, match="seed 0, not 12345"):
        block.get_client()
