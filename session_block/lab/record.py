"""What ``session-block up`` records for the next one, in case it is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from session_block.environment.private_files import replace_file
from session_block.errors import LabError
from session_block.lab.processes import living


class LabRecord:
    """A file with the processes of a lab and the flow runs that they execute.

    A process is identified by PID and creation time, since PIDs are used again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] = self._read()

    def begin(self) -> None:
        """Begin the record of this process; keep the flow runs of the last one."""
        self.note(pid=os.getpid(), url=None, processes=[])

    def add_process(self, pid: int) -> None:
        """Record a process that was started."""
        started = [pid, psutil.Process(pid).create_time()]
        self.note(processes=[*self._content["processes"], started])

    def note(self, **changed: Any) -> None:
        """Record changed values; write nothing if none differ."""
        content = {**self._content, **changed}
        if content == self._content:
            return
        replace_file(self._path, json.dumps(content))
        self._content = content

    @property
    def flow_runs(self) -> list[str]:
        """The IDs of the flow runs that were being executed when last checked."""
        flow_runs: list[str] = self._content["flow_runs"]
        return flow_runs

    def left(self) -> list[psutil.Process]:
        """Return the recorded processes that still run, the latest first."""
        found = [living(pid, created) for pid, created in self._content["processes"]]
        return [process for process in reversed(found) if process is not None]

    def describe(self) -> str:
        """Say which process runs the lab, and at which URL."""
        content = self._read()
        where = f": {content['url']}" if content["url"] else ", and is starting"
        return f"process {content['pid']}{where}"

    def _read(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"pid": None, "url": None, "processes": [], "flow_runs": []}
        if not self._path.exists():
            return nothing
        try:
            found = json.loads(self._path.read_text())
            return {name: found[name] for name in nothing}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LabError(
                f"The record of an earlier 'session-block up', {self._path}, cannot be read "
                f"({type(error).__name__}). Remove it, and end by hand what still runs of that lab."
            ) from error


@contextmanager
def only_one(path: Path, record: LabRecord) -> Iterator[None]:
    """Hold a lock that the system releases when this process ends, however it ends.

    Raises:
        LabError: Another process holds it.
    """
    try:
        lock = FileLock(path, timeout=0, mode=0o600).acquire()
    except Timeout:
        raise LabError(
            f"'session-block up' runs already ({record.describe()}). End it there with Ctrl-C, "
            "or with the signal SIGTERM."
        ) from None
    with lock:
        yield
