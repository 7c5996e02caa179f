"""The pages are true: every Python snippet runs, in order, and every command exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support import Platform

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [README, (ROOT / "deployments" / "README.md").read_text()]


def _blocks(language: str) -> list[str]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [block for page in PAGES for block in pattern.findall(page)]


def test_every_python_snippet_runs(prefect_server: str, platform: Platform, tmp_path: Path) -> None:
    """The snippets run one after another, as a reader would type them into files."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(tmp_path),
        "SESSION_BLOCK_PLATFORM_DIR": str(platform.info.state_dir),
        "PYTHONPATH": str(ROOT),
    }
    snippets = _blocks("python")
    assert len(snippets) >= 5
    for number, snippet in enumerate(snippets):
        script = tmp_path / f"snippet_{number}.py"
        script.write_text(snippet)
        ran = subprocess.run(
            [sys.executable, str(script)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{snippet}\n{ran.stdout}\n{ran.stderr}"


def test_every_make_target_exists() -> None:
    """What the README tells to make, the Makefile makes."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"make (\w+)", README)) - {"and"}
    assert {"demo", "test"} <= told
    assert told <= targets


def test_every_command_exists() -> None:
    """What the README tells to run of ``session-block`` has a help page."""
    told = set(re.findall(r"session-block (platform \w+|demo)", "".join(PAGES)))
    assert len(told) >= 4
    for command in told:
        subprocess.run(
            [sys.executable, "-m", "session_block", *command.split(), "--help"],
            check=True,
            capture_output=True,
        )
