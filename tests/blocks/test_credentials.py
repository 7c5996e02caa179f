"""What a user types into the Blocks, and what becomes of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from support import Platform, free_port

from session_block import (
    IBMSessionCredentials,
    LocalPlatformCredentials,
    QuantumSession,
    local_platform,
)
from session_block.client import Connection

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"


@pytest.mark.parametrize("max_time", ["2h 30x", "", "9h", 0, -5, 28_801])
def test_a_bad_max_time_is_refused_by_the_block(max_time: Any) -> None:
    """The Block says what is wrong when it is made, long before a session is opened."""
    with pytest.raises(ValidationError, match="max_time"):
        QuantumSession(
            credentials=LocalPlatformCredentials(), backend_name="ibm_fez", max_time=max_time
        )


def test_everything_reaches_the_client() -> None:
    """Each field of the Block is an argument of the client's service."""
    proxies = {"urls": {"https": "http://proxy:3128"}}
    account = IBMSessionCredentials(
        token=SecretStr("key"),
        instance=CRN,
        channel="ibm_cloud",
        verify=False,
        proxies=proxies,  # type: ignore[arg-type]
        private_endpoint=True,
    ).account()
    assert account.token == "key"
    assert (account.channel, account.instance) == ("ibm_cloud", CRN)
    assert (account.verify, account.private_endpoint) == (False, True)
    assert account.proxies == proxies
    assert account.environment == {}
    assert account.settle_seconds is None


@pytest.mark.parametrize(
    "url", ["https://cloud.ibm.com", "https://10.0.0.1/api", "http://loopback.example.org"]
)
def test_only_this_machine_is_taken_for_a_local_platform(url: str) -> None:
    """A URL elsewhere is left as it is typed, and so are the services beside it."""
    account = IBMSessionCredentials(token=SecretStr("key"), url=url).account()
    assert account.url == url
    assert account.environment == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_platform_on_this_machine_brings_all_its_services(host: str) -> None:
    """Token exchange and instance look-up go to the same origin as the jobs."""
    account = IBMSessionCredentials(token=SecretStr("key"), url=f"http://{host}:81/x").account()
    assert account.url == f"http://{host}:81/experimental/api/v1"
    assert account.environment == local_platform.service_environment(f"http://{host}:81")


@pytest.mark.parametrize("url", ["cloud.ibm.com", "ftp://cloud.ibm.com", "https://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    """A URL has a scheme and a host."""
    with pytest.raises(ValidationError, match="URL"):
        IBMSessionCredentials(token=SecretStr("key"), url=url)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://user:hunter2@cloud.ibm.com"},
        {"url": "ftp://user:hunter2@cloud.ibm.com"},
        {"proxies": {"urls": "http://user:hunter2@proxy"}},
        {"proxies": {"urls": {}, "password_ntlm": "hunter2"}},
        {"proxies": {"url": "http://user:hunter2@proxy"}},
    ],
)
def test_no_error_about_an_address_shows_its_password(fields: dict[str, Any]) -> None:
    """P9: wrong URLs and proxies are refused without being repeated."""
    with pytest.raises(ValidationError) as caught:
        IBMSessionCredentials(token=SecretStr("key"), **fields)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_without_an_instance_the_selected_one_is_pinned(platform: Platform) -> None:
    """Jobs are looked for in the instance to which they are sent, also if the client chose it."""
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token), url=platform.info.origin
    )
    connection = Connection(credentials.account())
    known = [instance["crn"] for instance in connection.service.instances()]
    assert connection.instance == connection.service.active_instance()
    assert connection.instance in known


def test_a_platform_on_this_machine_brings_its_clock() -> None:
    """What time it is at a local platform is asked of it, and passes as it says."""
    with local_platform.LocalPlatform(time_scale=0) as platform:
        account = IBMSessionCredentials(token=SecretStr("key"), url=platform.info.origin).account()
        before = account.now()
        assert account.now() == before
        platform.advance(90)
        assert account.now() - before == timedelta(seconds=90)


class _Greeter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.mark.parametrize("answers", [True, False])
def test_what_has_no_clock_goes_by_this_machines(answers: bool) -> None:
    """IBM, and a server on this machine that is no local platform, have the machine's time."""
    with HTTPServer(("127.0.0.1", 0), _Greeter) as server:
        if answers:
            threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_port if answers else free_port()
        for url in (None, f"http://127.0.0.1:{port}"):
            now = IBMSessionCredentials(token=SecretStr("key"), url=url).account().now()
            assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
