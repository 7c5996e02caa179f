"""Processes that this one starts, watches and ends, with all that they start in turn."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_STOP_SECONDS = 10
_LOG_TAIL = 2000


class BackgroundProcess:
    """A process in a session of its own, so that no key pressed at the terminal reaches it.

    Args:
        name: What messages call it.
        command: The program and its arguments.
        log: The file to which its output is appended.
        environment: Its variables.
        cwd: Its working directory.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.name = name
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = psutil.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
            )
        self._family: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        """Its process ID."""
        return int(self._process.pid)

    @property
    def exit_status(self) -> int | None:
        """Its exit status; ``None`` while it runs."""
        status: int | None = self._process.poll()
        return status

    @property
    def last_words(self) -> str:
        """The end of what it has written to its log."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()[-_LOG_TAIL:].decode("utf-8", "replace").strip()

    def descendants(self) -> list[psutil.Process]:
        """Return what it has started, also what was left behind when it died."""
        left = (process for process in self._family if process.is_running())
        self._family = list({*left, *descendants_of(self._process)})
        return self._family

    def stop(self) -> None:
        """End it and its descendants; whatever does not end in ten seconds is killed."""
        end([self._process, *self.descendants()])


def descendants_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes below one; none if it is gone."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(family: Sequence[psutil.Process]) -> None:
    """Terminate the first process, which is to end the others, and kill what is left of them."""
    for process in family[:1]:
        _if_there(process.terminate)
    _, left = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for process in left:
        _if_there(process.kill)
    psutil.wait_procs(left, timeout=_STOP_SECONDS)


def variable_of(process: psutil.Process, name: str) -> str | None:
    """Return a variable of a process's environment; ``None`` if it has none, or is gone."""
    try:
        return process.environ().get(name)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _if_there(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return
