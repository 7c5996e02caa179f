"""What of Prefect's settings is told without Prefect: its home, and that there is no server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import free_port

CODE = """
import sys
from session_block.environment.prefect_settings import prefect_home
found = prefect_home()
was_imported = "prefect" in sys.modules
from prefect.settings import get_current_settings
print(found == get_current_settings().home, found, was_imported)
"""

PLACES = {
    "nothing": ({}, {}),
    "a variable": ({"PREFECT_HOME": "elsewhere"}, {}),
    "a variable in other letters": ({"prefect_home": "elsewhere"}, {}),
    "a variable with a tilde": ({"PREFECT_HOME": "~/elsewhere"}, {}),
    "an empty variable": ({"PREFECT_HOME": ""}, {}),
    ".env": ({}, {".env": "PREFECT_HOME=elsewhere"}),
    "a variable and .env": ({"PREFECT_HOME": "here"}, {".env": "PREFECT_HOME=elsewhere"}),
    "prefect.toml": ({}, {"prefect.toml": "home = 'elsewhere'"}),
    "pyproject.toml": ({}, {"pyproject.toml": "[tool.prefect]\nhome = 'elsewhere'"}),
    "a profile": (
        {},
        {".prefect/profiles.toml": "active = 'a'\n[profiles.a]\nPREFECT_HOME = 'elsewhere'"},
    ),
    "a profile elsewhere": (
        {"PREFECT_PROFILES_PATH": "mine.toml"},
        {"mine.toml": "active = 'a'\n[profiles.a]\nPREFECT_HOME = 'elsewhere'"},
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_prefect_s_own(place: str, tmp_path: Path) -> None:
    """Wherever Prefect lets one set it; without Prefect's import only where it is sure."""
    variables, files = PLACES[place]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ran = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    same, found, was_imported = ran.stdout.split()
    assert same == "True", found
    if place in {"nothing", "a variable"}:
        assert was_imported == "False"


NO_SERVER = """
import sys
from session_block.environment import prefect_settings
prefect_settings.USUAL_SERVER = ("127.0.0.1", int(sys.argv[1]))
certain = prefect_settings.no_server_for_certain()
was_imported = "prefect" in sys.modules
from prefect.settings import get_current_settings
settings = get_current_settings()
usual = (settings.server.api.host, settings.server.api.port) == ("127.0.0.1", 4200)
print(certain, settings.api.url is None and usual, was_imported)
"""

URL = "http://127.0.0.1:9/api"
SERVERS = {
    "nothing": ({}, {}),
    "a variable": ({"PREFECT_API_URL": URL}, {}),
    "a variable in other letters": ({"prefect_api_url": URL}, {}),
    "another port": ({"PREFECT_SERVER_API_PORT": "4201"}, {}),
    "a profile by a variable": ({"PREFECT_PROFILE": "local"}, {}),
    ".env": ({}, {".env": f"PREFECT_API_URL={URL}"}),
    "prefect.toml": ({}, {"prefect.toml": f"[api]\nurl = '{URL}'"}),
    "pyproject.toml": ({}, {"pyproject.toml": f"[tool.prefect.api]\nurl = '{URL}'"}),
    "a pyproject.toml of another": ({}, {"pyproject.toml": "[project]\nname = 'an-api'"}),
    "a profile": (
        {},
        {".prefect/profiles.toml": f"active = 'a'\n[profiles.a]\nPREFECT_API_URL = '{URL}'"},
    ),
    "a profile of Prefect's own": ({}, {".prefect/profiles.toml": "active = 'local'"}),
    "a profile in another home": (
        {"PREFECT_HOME": "elsewhere"},
        {"elsewhere/profiles.toml": f"active = 'a'\n[profiles.a]\nPREFECT_API_URL = '{URL}'"},
    ),
}


def _told_of_servers(place: str, directory: Path, port: int) -> list[bool]:
    variables, files = SERVERS[place]
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ran = subprocess.run(
        [sys.executable, "-c", NO_SERVER, str(port)],
        cwd=directory,
        env={**kept, "HOME": str(directory), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return [one == "True" for one in ran.stdout.split()]


@pytest.mark.parametrize("place", SERVERS)
def test_no_server_is_told_only_where_prefect_knows_none(place: str, tmp_path: Path) -> None:
    """Wherever Prefect lets one name a server; without its import only where it is sure."""
    certain, none_configured, was_imported = _told_of_servers(place, tmp_path, free_port())
    assert not certain or none_configured
    assert not was_imported
    assert certain == (place in {"nothing", "a pyproject.toml of another"})


def test_a_server_that_listens_is_one(tmp_path: Path) -> None:
    """At Prefect's usual address, although no setting names it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        certain, _, _ = _told_of_servers("nothing", tmp_path, listening.getsockname()[1])
    assert not certain
