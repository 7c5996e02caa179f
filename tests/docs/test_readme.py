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


LINKED = (
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "deployments/README.md",
)
_TARGET = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href|srcset)=\"([^\"]+)\"")


def test_the_readme_is_short() -> None:
    """It is read in a few minutes; the rest is on the pages that it names."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", LINKED)
def test_links_and_pictures_are_there(page: str) -> None:
    """MkDocs checks those of the site; these pages are outside of it."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    targets = [one or other for one, other in _TARGET.findall(text)]
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def _anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


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
