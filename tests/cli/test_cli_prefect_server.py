"""Commands where something else answers at the address of the Prefect server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from odd_server import OddServer
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from session_block.cli import app

pytestmark = pytest.mark.rest

COMMANDS = {
    "doctor": ["doctor"],
    "deploy": ["deploy"],
    "setup": ["setup", "ibm", "--token-stdin", "--instance", "crn:v1:x"],
}


@pytest.fixture(scope="module")
def odd() -> Iterator[OddServer]:
    """Stand where a Prefect server might."""
    with OddServer() as server:
        yield server


def _run(url: str, home: Path, command: str) -> Result:
    with temporary_settings({PREFECT_API_URL: url, PREFECT_HOME: home}):
        return CliRunner().invoke(app, COMMANDS[command], input="a-key\n", env={"COLUMNS": "200"})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "kind", ["html", "401", "500", "html+h", "401+h", "500+h", "drip", "hang", "no address"]
)
def test_a_command_ends_with_a_message(
    odd: OddServer, tmp_path: Path, command: str, kind: str
) -> None:
    """Within seconds, and without a traceback or the markup of a page."""
    url = "http://127.0.0.1:abc/api" if kind == "no address" else odd.url(kind)
    began = time.monotonic()
    ran = _run(url, tmp_path, command)
    assert time.monotonic() - began < 40
    assert isinstance(ran.exception, SystemExit), ran.exception
    assert ran.exit_code in {1, 3}
    assert "Traceback" not in ran.output
    assert "asks for no password" not in ran.output
    assert url in ran.output or "No Prefect server" in ran.output
    if kind == "401+h":
        assert "PREFECT_API_AUTH_STRING" in ran.output


def test_a_password_in_the_address_is_not_shown(tmp_path: Path) -> None:
    """Neither by what checks, nor by what gives up."""
    ran = _run("http://user:s3cretpw@127.0.0.1:1/api", tmp_path, "doctor")
    assert ran.exit_code == 3
    assert "***@127.0.0.1:1" in ran.output
    assert "s3cretpw" not in ran.output
