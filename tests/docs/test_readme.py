"""The pages are true: every Python snippet runs, in order, and every command exists."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from snippets import ROOT, check_command, commands, run, snippets
from support import Platform

pytestmark = pytest.mark.rest

PAGES = {
    page: (ROOT / page).read_text()
    for page in ("README.md", "PACKAGE.md", "deployments/README.md", "docs/local-platform.md")
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
    shown = [snippet.text for snippet in snippets(PAGES[page], "python")]
    assert shown
    script = tmp_path / "page.py"
    script.write_text("\n".join(shown))
    run([sys.executable, str(script)], tmp_path, environment)


def test_every_make_target_exists() -> None:
    """What the pages tell to make, the Makefile makes."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = PAGES["README.md"] + (ROOT / "CONTRIBUTING.md").read_text()
    told = set(re.findall(r"make (\w+)", pages)) - {"and"}
    assert {"demo", "test"} <= told
    assert told <= targets


def test_every_command_exists() -> None:
    """What the pages tell to type of our programs and of Prefect's takes its arguments."""
    told = [words for page in PAGES.values() for words in commands(page)]
    assert len(told) > 30
    for words in told:
        check_command(words)
