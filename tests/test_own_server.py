"""The authentication string of this user's own Prefect server, and who is given it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_HOME, temporary_settings

from session_block.lab.prefect_server import OwnServer, reaching


@pytest.mark.parametrize("host", ["127.0.0.1:4711", "localhost:4711", "localhost:4711/"])
def test_its_own_address_is_given_the_string(tmp_path: Path, host: str) -> None:
    """However it is written; the string stays the same at the next start."""
    with temporary_settings({PREFECT_HOME: tmp_path}):
        string = OwnServer().prepare("http://127.0.0.1:4711/api").get_secret_value()
        url = f"http://{host.rstrip('/')}/api" + ("/" if host.endswith("/") else "")
        assert reaching(url)[PREFECT_API_AUTH_STRING] == string
        assert OwnServer().prepare("http://127.0.0.1:4712/api").get_secret_value() == string


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "http://elsewhere:4711/api"])
def test_another_server_is_not_given_it(tmp_path: Path, url: str) -> None:
    """Nor is whoever listens at the address once the server has ended."""
    own_url = "http://127.0.0.1:4711/api"
    with temporary_settings({PREFECT_HOME: tmp_path}):
        OwnServer().prepare(own_url)
        assert PREFECT_API_AUTH_STRING not in reaching(url)
        OwnServer().ended()
        assert PREFECT_API_AUTH_STRING not in reaching(own_url)
