"""The pages are true: every Python snippet runs, in order, and every command exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import Platform

ROOT = Path(__file__).parents[1]
PAGES = {
    page: (ROOT / page).read_text()
    for page in ("README.md", "deployments/README.md", "docs/local-platform.md")
}


@pytest.mark.parametrize("page", PAGES)
def test_every_python_snippet_runs(
    page: str, prefect_server: str, platform: Platform, tmp_path: Path
) -> None:
    """A page's snippets run one after another, as a reader would type them."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(tmp_path),
        "SESSION_BLOCK_PLATFORM_DIR": str(platform.info.state_dir),
        "PYTHONPATH": str(ROOT),
    }
    snippets = re.findall(r"^```python\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
    assert snippets
    script = tmp_path / "page.py"
    script.write_text("\n".join(snippets))
    ran = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


def test_every_make_target_exists() -> None:
    """What the README tells to make, the Makefile makes."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"make (\w+)", PAGES["README.md"])) - {"and"}
    assert {"demo", "test"} <= told
    assert told <= targets


def test_every_command_exists() -> None:
    """What the README tells to run of ``session-block`` has a help page."""
    command_line = r"session-block (platform \w+|sessions \w+|submissions \w+|demo|up|deploy)"
    told = set(re.findall(command_line, "".join(PAGES.values())))
    assert len(told) >= 4
    for command in told:
        subprocess.run(
            [sys.executable, "-m", "session_block", *command.split(), "--help"],
            check=True,
            capture_output=True,
        )
