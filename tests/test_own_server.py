"""The authentication string of this user's own Prefect server, and who is given it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from odd_server import OddServer
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)

from session_block.errors import LabError
from session_block.lab.prefect_server import (
    OwnServer,
    answers,
    find_prefect_server,
    reaching,
    shown,
    who_may_read,
)

URL = "http://127.0.0.1:4711/api"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path) -> Iterator[None]:
    """Give each test a ``PREFECT_HOME`` of its own, in which nothing else is configured."""
    with temporary_settings({PREFECT_HOME: tmp_path, PREFECT_API_URL: None}):
        yield


@pytest.fixture
def odd() -> Iterator[OddServer]:
    """Stand where a Prefect server might."""
    with OddServer() as server:
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1:4711", "localhost:4711", "localhost:4711/"])
@pytest.mark.parametrize("other", [None, "another:string"])
def test_its_own_address_is_given_the_string(host: str, other: str | None) -> None:
    """However it is written, whatever is configured for another; the next start keeps it."""
    string = OwnServer().prepare().get_secret_value()
    OwnServer().started(URL, os.getpid())
    url = f"http://{host.rstrip('/')}/api" + ("/" if host.endswith("/") else "")
    with temporary_settings({PREFECT_API_AUTH_STRING: other}):
        assert reaching(url)[PREFECT_API_AUTH_STRING] == string
        assert OwnServer().prepare().get_secret_value() == string


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "http://elsewhere:4711/api"])
def test_another_server_is_not_given_it(url: str) -> None:
    """Nor is whoever listens at the address once the server has ended, however it ended."""
    OwnServer().prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        OwnServer().started(URL, server.pid)
        assert PREFECT_API_AUTH_STRING not in reaching(url)
        assert PREFECT_API_AUTH_STRING in reaching(URL)
        server.kill()
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        assert PREFECT_API_AUTH_STRING not in reaching(URL)  # dead, although nobody has noticed
    assert PREFECT_API_AUTH_STRING not in reaching(URL)
    OwnServer().started(URL, os.getpid())
    OwnServer().ended()
    assert PREFECT_API_AUTH_STRING not in reaching(URL)


@pytest.mark.parametrize("text", ["", "3", "{}", '["u"]', f'["{URL}", "x", 1.0]', "\x00"])
def test_a_damaged_note_of_the_process_opens_nothing(text: str) -> None:
    """And stops nobody."""
    OwnServer().prepare()
    OwnServer().started(URL, os.getpid())
    OwnServer().file.with_name("server-process").write_text(text)
    assert PREFECT_API_AUTH_STRING not in reaching(URL)


@pytest.mark.parametrize("string", ["admin:pässword", "admin:a\nb", "admin:\udcff"])
def test_a_string_that_no_server_takes_is_refused(string: str) -> None:
    """Before anything is started with it."""
    configured = temporary_settings({PREFECT_SERVER_API_AUTH_STRING: string})
    with configured, pytest.raises(LabError, match="PREFECT_SERVER_API_AUTH_STRING"):
        OwnServer().prepare()


def test_what_is_in_the_way_is_named() -> None:
    """The advice works."""
    file = OwnServer().file
    file.mkdir(parents=True)
    with pytest.raises(LabError, match=r"server-auth.*Remove it"):
        OwnServer().prepare()
    file.rmdir()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match=r"server-auth.*Remove it"):
        OwnServer().prepare()
    file.unlink()
    assert OwnServer().prepare().get_secret_value().startswith("admin:")


@pytest.mark.parametrize("kind", ["html", "drip"])
def test_a_page_that_is_no_server_does_not_answer(odd: OddServer, kind: str) -> None:
    """Nor is it said that everybody may read it; one that trickles is waited for 5 s."""
    url = odd.url(kind)
    assert not answers(url)
    if kind == "html":
        assert who_may_read(url) == ()


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc/api", "http://ä..b/api", "nonsense"])
def test_no_address_does_not_answer(url: str) -> None:
    """It is no error to ask."""
    assert not answers(url)
    assert who_may_read(url) == ()


def test_what_is_configured_for_one_server_is_sent_to_no_other(
    odd: OddServer,
) -> None:
    """The local one is asked only after the configured one."""
    settings = {
        PREFECT_API_URL: "http://127.0.0.1:1/api",
        PREFECT_API_AUTH_STRING: "admin:secret",
        PREFECT_SERVER_API_PORT: odd.port,
    }
    with temporary_settings(settings):
        assert find_prefect_server() == f"http://127.0.0.1:{odd.port}/api"
    assert set(odd.seen) == {None}


def test_an_address_is_shown_without_its_password() -> None:
    """However odd it is."""
    assert shown("http://user:secret@host:1/api") == "http://***@host:1/api"
    assert shown("http://user:se@cret@host:1/api") == "http://***@host:1/api"
    assert shown("http://host:1/api") == "http://host:1/api"
