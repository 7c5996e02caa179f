"""``session-block setup ibm``, as a user types it, with the local platform as IBM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from prefect.settings import PREFECT_API_URL, temporary_settings
from support import BACKEND, Platform, free_port
from typer.testing import CliRunner

from session_block import IBMSessionCredentials, QuantumSession
from session_block.cli import app
from session_block.client import Connection

pytestmark = pytest.mark.rest


@pytest.fixture
def names(prefect_server: str) -> tuple[str, str]:
    """Block names that no other test uses."""
    assert prefect_server
    unique = uuid4().hex[:8]
    return f"account-{unique}", f"session-{unique}"


@pytest.fixture
def arguments(platform: Platform, names: tuple[str, str]) -> list[str]:
    """Everything but the key, as options."""
    credentials, session = names
    return [
        *("--url", platform.info.origin, "--instance", platform.info.instance),
        *("--backend", BACKEND, "--max-time", "30m"),
        *("--credentials-name", credentials, "--name", session),
    ]


def _run(
    *arguments: str,
    code: int = 0,
    stdin: str = "",
    token: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Result:
    variables: dict[str, Any] = {"COLUMNS": "200", "QISKIT_IBM_TOKEN": token, **(environment or {})}
    ran = CliRunner().invoke(app, ["setup", "ibm", *arguments], env=variables, input=stdin)
    assert ran.exit_code == code, ran.output
    return ran


def _without(arguments: list[str], *options: str) -> list[str]:
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return [one for option, value in pairs if option not in options for one in (option, value)]


def _saved(names: tuple[str, str]) -> list[bool]:
    """Say which of the two Blocks exist."""
    found = []
    for kind, name in zip((IBMSessionCredentials, QuantumSession), names, strict=True):
        try:
            kind.load(name)
        except ValueError:
            found.append(False)
        else:
            found.append(True)
    return found


def test_a_key_from_the_environment_saves_both_blocks(
    platform: Platform, arguments: list[str], names: tuple[str, str]
) -> None:
    """Nobody is asked; the saved Blocks reach the instance, and no output shows the key."""
    ran = _run(*arguments, "--json", token=platform.info.token)
    told = json.loads(ran.stdout)
    assert (told["credentials"], told["block"]) == names
    assert (told["instance"], told["backend"]) == (platform.info.instance, BACKEND)
    assert (told["max_time"], told["warnings"]) == ("30m", [])
    assert platform.info.token not in ran.output
    assert "asks for no password. The API key that is saved there can be read by" in ran.stderr
    block = QuantumSession.load(names[1])
    assert Connection(block.credentials.account()).instance == platform.info.instance
    credentials = IBMSessionCredentials.load(names[0])
    assert credentials.token is not None
    assert credentials.token.get_secret_value() == platform.info.token


def test_what_no_option_gives_is_asked_for(
    platform: Platform, arguments: list[str], names: tuple[str, str]
) -> None:
    """A hidden key, the number of an instance in a list, a backend, the maximum time."""
    given = _without(arguments, "--instance", "--backend", "--max-time")
    typed = f"{platform.info.token}\n1\n{BACKEND}\n\n"
    ran = _run(*given, stdin=typed)
    assert platform.info.token not in ran.output
    assert platform.info.instance in ran.stderr
    assert "ibm_fez" in ran.stderr
    assert "session-block doctor" in ran.stdout
    block = QuantumSession.load(names[1])
    assert (block.backend_name, block.max_time) == (BACKEND, "1h")
    assert block.credentials.account().instance == platform.info.instance


def test_the_key_may_come_by_stdin_and_the_backend_later(
    platform: Platform, arguments: list[str], names: tuple[str, str]
) -> None:
    """A pipe gives the key; ``least-busy`` names no backend."""
    given = [*_without(arguments, "--backend"), "--backend", "least-busy", "--token-stdin"]
    _run(*given, stdin=f"{platform.info.token}\n", token="another")
    assert QuantumSession.load(names[1]).backend_name is None


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--instance", "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::", "instance"),
        ("--backend", "ibm_nowhere", "has no backend 'ibm_nowhere'"),
        ("--max-time", "9h", "max_time"),
        ("--url", "ftp://nowhere", "URL"),
    ],
)
def test_nothing_is_saved_unless_it_is_confirmed(
    platform: Platform,
    arguments: list[str],
    names: tuple[str, str],
    option: str,
    value: str,
    complaint: str,
) -> None:
    """The message says what is wrong, on stderr, and shows no key."""
    given = [*_without(arguments, option), option, value]
    ran = _run(*given, "--json", token=platform.info.token, code=1)
    assert ran.stdout == ""
    assert complaint in json.loads(ran.stderr.splitlines()[-1])["error"]
    assert platform.info.token not in ran.output
    assert _saved(names) == [False, False]


def test_a_refused_key_saves_nothing(arguments: list[str], names: tuple[str, str]) -> None:
    """Neither does no key at all, or a malformed one."""
    assert "token" in _run(*arguments, token="wrong-key", code=1).stderr
    assert "--token-stdin" in _run(*arguments, code=1).stderr
    assert "API key" in _run(*arguments, token="two words", code=1).stderr
    assert _saved(names) == [False, False]


def test_a_plan_without_sessions_needs_something_in_their_place(
    platform: Platform, arguments: list[str], names: tuple[str, str]
) -> None:
    """The open plan is refused unless batches or jobs take the place of sessions."""
    service = platform.credentials().get_client()
    opened = next(one["crn"] for one in service.instances() if one["plan"] == "open")
    given = [*_without(arguments, "--instance", "--backend"), "--instance", opened]
    given += ["--backend", "ibm_fez"]
    refused = _run(*given, token=platform.info.token, code=1)
    assert "--without-sessions batch" in refused.stderr
    assert _saved(names) == [False, False]
    _run(*given, "--without-sessions", "batch", token=platform.info.token)
    assert QuantumSession.load(names[1]).without_sessions == "batch"


def test_existing_blocks_are_kept_without_overwrite(
    platform: Platform, arguments: list[str], names: tuple[str, str]
) -> None:
    """A second setup is refused before it asks the platform; ``--overwrite`` replaces both."""
    _run(*arguments, token=platform.info.token)
    changed = [*_without(arguments, "--max-time"), "--max-time", "2h"]
    before = platform.stats()["requests"]
    refused = _run(*changed, token=platform.info.token, code=1)
    assert "--overwrite" in refused.stderr
    asked = {*platform.stats()["requests"].items()} - {*before.items()}
    assert [route for route, _ in asked] == ["GET /_local/stats"]
    assert QuantumSession.load(names[1]).max_time == "30m"
    _run(*changed, "--overwrite", token=platform.info.token)
    assert QuantumSession.load(names[1]).max_time == "2h"


def test_a_prefect_server_is_needed(arguments: list[str]) -> None:
    """Without one there is nowhere to save, and the message says so."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    port = str(free_port())
    with temporary_settings({PREFECT_API_URL: f"{nowhere}/api"}):
        told = _run(*arguments, token="k", code=1, environment={"PREFECT_SERVER_API_PORT": port})
    assert "PREFECT_API_URL" in told.stderr
