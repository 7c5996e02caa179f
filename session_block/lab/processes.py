"""Start, watch and end other processes, with all that they start in turn."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from session_block.environment.private_files import opener

_STOP_SECONDS = 10
_LOG_TAIL = 2000
_CLOCK_SECONDS = 2.0
"""Creation times are counted from the machine's start, which moves when its clock is set."""


class BackgroundProcess:
    """A process in its own process group, which keys pressed at the terminal do not reach.

    Args:
        name: Its name in messages.
        command: The program and its arguments.
        log: The file that its output is appended to.
        environment: Its environment variables.
        cwd: Its working directory.
        umask: The rights that its new files lack; by default as here.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        cwd: Path,
        umask: int = -1,
    ) -> None:
        self.name = name
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with open(log, "ab", opener=opener) as output:
            self._process = psutil.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                umask=umask,
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
        """The end of what this process has written to its log."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()[-_LOG_TAIL:].decode("utf-8", "replace").strip()

    def descendants(self) -> list[psutil.Process]:
        """Return all processes that it started, including those it left behind when it died."""
        left = (process for process in self._family if process.is_running())
        self._family = list({*left, *descendants_of(self._process)})
        return self._family

    def stop(self) -> None:
        """End it and its descendants; kill what does not end within ten seconds."""
        end([self._process, *self.descendants()])


def descendants_of(process: psutil.Process) -> list[psutil.Process]:
    """Return all descendants of a process; none if it is gone."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def living(pid: int, created: float) -> psutil.Process | None:
    """Return the process with this ID and creation time; ``None`` if it has ended."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CLOCK_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def end(family: Sequence[psutil.Process]) -> None:
    """Terminate the first process, which should end the others, and kill what remains."""
    for process in family[:1]:
        _if_there(process.terminate)
    _, left = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for process in left:
        _if_there(process.kill)
    psutil.wait_procs(left, timeout=_STOP_SECONDS)


def variable_of(process: psutil.Process, name: str) -> str | None:
    """Return an environment variable of a process; ``None`` if it is not set or not readable."""
    try:
        return process.environ().get(name)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _if_there(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.NoSuchProcess:
        return
