"""Where the embedded ledger lies: below Prefect's home, which is found without Prefect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
