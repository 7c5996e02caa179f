"""A shell in a real terminal of 80 columns, in which somebody types, and what they see."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pexpect
import pyte

T = TypeVar("T")

COLUMNS, LINES = 80, 24
_LOOK_SECONDS = 0.1
_PROMPT = re.compile(r"^\[(\d+)\] \$ *$")
_CHUNK = 1 << 16


class Terminal:
    """A bash in a pseudo-terminal; its prompt shows the exit status of the last command.

    Args:
        directory: Where it starts.
        environment: Its environment.

    Attributes:
        typed: The lines that were typed.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.typed: list[str] = []
        self._screen = pyte.HistoryScreen(COLUMNS, LINES, history=2000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile"],
            cwd=str(directory),
            env={**environment, "PS1": "[$?] $ ", "PS2": "> ", "TERM": "xterm-256color"},
            dimensions=(LINES, COLUMNS),
        )
        self._await_prompt(20)

    def type(self, line: str) -> None:
        """Type a line, and look no further."""
        self.typed.append(line)
        self._shell.sendline(line)

    def run(self, line: str, *, seconds: float, code: int | None = 0) -> str:
        """Type a command, wait for its end, and return what it leaves on the screen.

        Args:
            line: The command. Several lines are a program between the marks of a here-document.
            seconds: How long it may take.
            code: Its exit status; ``None`` for any.
        """
        self._screen.reset()
        self._screen.history.top.clear()
        for one in line.splitlines():
            self.type(one)
        got = self._await_prompt(seconds)
        shown = self.seen()
        assert code in (None, got), f"{line!r} ended with {got}:\n{shown}"
        return shown

    def await_text(self, pattern: str, *, seconds: float) -> re.Match[str]:
        """Wait until the terminal shows something, and return the match."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.seen())

        match = self._until(found, seconds, f"the terminal shows {pattern!r}")
        assert match is not None
        return match

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._shell.sendintr()

    def ends(self, *, seconds: float) -> int:
        """Wait for the prompt, and return the exit status of what has ended."""
        return self._await_prompt(seconds)

    def seen(self) -> str:
        """Return what has scrolled away and what is on the screen, without trailing blanks."""
        scrolled = [
            "".join(line[column].data for column in range(COLUMNS))
            for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in [*scrolled, *self._screen.display]]
        return "\n".join(lines).rstrip()

    def close(self) -> None:
        """Close the window; what runs in it gets a hang-up."""
        self._shell.close(force=True)

    def _await_prompt(self, seconds: float) -> int:
        def status() -> int | None:
            line = self._screen.display[self._screen.cursor.y]
            match = _PROMPT.match(line)
            at_its_end = self._screen.cursor.x == line.rstrip().find("$") + 2
            return int(match[1]) if match and at_its_end else None

        got = self._until(status, seconds, "the command ends")
        assert got is not None
        return got

    def _until(self, look: Callable[[], T | None], seconds: float, what: str) -> T | None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._stream.feed(self._shell.read_nonblocking(_CHUNK, timeout=_LOOK_SECONDS))
                continue  # until all is read
            except pexpect.TIMEOUT:
                pass
            found = look()
            if found is not None:
                return found
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s:\n{self.seen()}"
