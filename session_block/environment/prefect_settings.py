"""What Prefect's settings say, without importing Prefect where nothing else can decide.

Its import takes most of the time of a command that reads a ledger. Where anything may set what is
asked for, Prefect itself is asked.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

_SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")
"""Where Prefect looks for settings, in the working directory."""

_HOME = "PREFECT_HOME"
_PROFILES = "PREFECT_PROFILES_PATH"
_PROFILES_FILE = "profiles.toml"
_ABOUT_SERVERS = ("api", "profile")
"""One of these is in the name of each setting that says where a server is."""

USUAL_SERVER = ("127.0.0.1", 4200)
"""Where ``prefect server start`` listens if no setting says otherwise."""

_PROBE_SECONDS = 0.5


def prefect_home() -> Path:
    """Return Prefect's home.

    It may be set in the environment, in files of the working directory, and in a profile.
    """
    usual = Path("~/.prefect").expanduser()
    given = next((value for name, value in os.environ.items() if name.upper() == _HOME), None)
    if "prefect.settings" not in sys.modules:  # in which a program may have set another one
        if given:  # before all files
            return Path(given).expanduser()
        files = [*map(Path, _SETTINGS_FILES), usual / _PROFILES_FILE]
        if (
            given is None
            and _PROFILES not in os.environ
            and not any(_says(file, "home") for file in files)
        ):
            return usual
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home)


def no_server_for_certain() -> bool:
    """Whether no Prefect server is configured, and none listens where one usually would.

    ``False`` where only Prefect can tell: any setting may name a server.
    """
    if "prefect.settings" in sys.modules or any(map(_may_name_a_server, os.environ)):
        return False
    home = prefect_home()
    files = map(Path, _SETTINGS_FILES)
    if "prefect.settings" in sys.modules or (home / _PROFILES_FILE).exists():
        return False  # a profile may be one of Prefect's own, which have a server
    if any(_says(file, *_ABOUT_SERVERS) for file in files if _is_prefect_s(file)):
        return False
    try:
        socket.create_connection(USUAL_SERVER, timeout=_PROBE_SECONDS).close()
    except OSError:
        return True
    return False


def _may_name_a_server(variable: str) -> bool:
    name = variable.lower()
    return name.startswith("prefect_") and any(one in name for one in _ABOUT_SERVERS)


def _is_prefect_s(file: Path) -> bool:
    return file.name == "prefect.toml" or _says(file, "prefect")


def _says(file: Path, *words: str) -> bool:
    """Whether a file has one of the words, or cannot be read."""
    try:
        text = file.read_text(errors="replace").lower()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(one in text for one in words)
