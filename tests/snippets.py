"""Snippets of the pages: found, run as a reader would, or checked where they cannot run here.

On a page ``python`` and ``bash`` are run; a fence with a title is a file of that name; commands in
``sh`` need something that tests have not (IBM, a cluster, a server of one's own) and are parsed.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

import prefect.cli
import typer

from session_block.cli import app

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"^( *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_PROGRAMS = {"python": [sys.executable], "bash": ["bash", "-euo", "pipefail"]}


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str


def snippets(page: str, language: str | None = None) -> list[Snippet]:
    """Return a page's snippets, of one language or of all."""
    found = [
        Snippet(match["language"], match["title"], match["text"]) for match in _FENCE.finditer(page)
    ]
    return [one for one in found if language in (None, one.language)]


def run_page(page: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Run what a page shows, in order and in a directory, and return what is printed.

    What succeeds another snippet of its language goes on where that has ended.
    """
    for snippet in snippets(page):
        if snippet.title is not None:
            (directory / snippet.title).write_text(snippet.text)
    run_here = [one for one in snippets(page) if one.title is None and one.language in _PROGRAMS]
    printed = ""
    for language, parts in groupby(run_here, key=lambda snippet: snippet.language):
        script = directory / f"page.{language}"
        script.write_text("\n".join(part.text for part in parts))
        printed += run([*_PROGRAMS[language], str(script)], directory, environment)
    return printed


def run(command: list[str], directory: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it prints; it must succeed."""
    ran = subprocess.run(
        command,
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def commands(page: str) -> Iterator[list[str]]:
    """Yield the commands of a page's shell snippets, as words."""
    for language in ("bash", "sh"):
        for snippet in snippets(page, language):
            for line in snippet.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for joins, command in groupby(words, key=("||", "&&", "|").__contains__):
                    if not joins:
                        yield list(command)


def check_command(words: list[str]) -> None:
    """Check that a command exists and takes its arguments; other programs' are left alone."""
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    match words:
        case ["session-block", *arguments]:
            _check_ours(arguments)
        case ["prefect", *arguments]:
            _check_prefects([one for one in arguments if one != "--no-prompt"])
        case ["make", target, *_]:
            makefile = (ROOT / "Makefile").read_text()
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def _check_ours(arguments: list[str]) -> None:
    """Parse the arguments as the command itself would, and do no more."""
    command = typer.main.get_command(app)
    path: list[str] = []
    while below := getattr(command, "commands", None):
        assert arguments, f"session-block {' '.join(path)} needs a command"
        name, *arguments = arguments
        assert name in below, f"session-block has no {' '.join((*path, name))}"
        command = below[name]
        path.append(name)
    if "--help" not in arguments:
        command.make_context(" ".join(path), list(arguments))


def _check_prefects(arguments: list[str]) -> None:
    """Compare the command and its options with Prefect's own help page."""
    path = [one for one in arguments if not one.startswith("-")]
    for length in range(len(path), 0, -1):
        shown = _prefects_help(*path[:length])
        if f"Usage: prefect {' '.join(path[:length])} " in shown:
            break
    else:
        raise AssertionError(f"prefect has no {' '.join(path)}")
    for option in (one.partition("=")[0] for one in arguments if one.startswith("-")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), f"{path} has no {option}"


@cache
def _prefects_help(*path: str) -> str:
    shown = io.StringIO()
    arguments = ["prefect", *path, "--help"]
    with patch.object(sys, "argv", arguments), redirect_stdout(shown), suppress(SystemExit):
        prefect.cli.app()
    return shown.getvalue()
