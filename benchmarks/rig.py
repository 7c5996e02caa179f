"""The servers of a run, and its measured processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import psutil

from session_block.lab.prefect_server import answers
from session_block.lab.processes import BackgroundProcess, descendants_of
from session_block.local_platform import LocalPlatform

CHECKOUT = Path(__file__).parents[1]
CHILD_SECONDS = 900
_SERVER_SECONDS = 120
_QUIET_SECONDS = 60
_QUIET_PERCENT = 4.0
_LOOK_SECONDS = 0.5
_TAIL = 3000


class BenchmarkError(RuntimeError):
    """Something to be measured did not run."""


class Rig:
    """A Prefect server and local platforms for one run, in a temporary directory.

    Attributes:
        home: The directory.
        results: The directory for results.
        quick: Whether to measure little, in little time.
    """

    def __init__(self, results: Path, *, quick: bool) -> None:
        self.results = results
        self.quick = quick
        self._stack = ExitStack()
        self._prefect: BackgroundProcess | None = None
        self._prefect_url = ""
        self._children = 0

    def __enter__(self) -> Self:
        self.results.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix="session-block-bench-")
        self.home = Path(self._stack.enter_context(made))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """Environment of every process of the run, without the user's Prefect and IBM account."""
        users = ("PREFECT_", "QISKIT_", "SESSION_BLOCK_", "USAGE_DATA_")
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(users)},
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    @property
    def prefect_url(self) -> str:
        """The API URL of the run's Prefect server, which starts on first use."""
        if self._prefect is None:
            self._start_prefect()
        return self._prefect_url

    @contextmanager
    def platform(self, name: str, **settings: Any) -> Iterator[LocalPlatform]:
        """Run a local platform with these settings."""
        with LocalPlatform(self.home / f"platform-{name}", **settings) as platform:
            yield platform

    def child(
        self,
        module: str,
        *arguments: str,
        spec: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        program: tuple[str, ...] | None = None,
    ) -> dict[str, Any]:
        """Run a module of this package in a fresh process, once the machine is quiet.

        Args:
            module: Its name in this package. It reads ``spec`` as JSON from its standard input, and
                writes JSON to the file that its first argument names.
            arguments: More arguments.
            spec: Its input.
            environment: More environment variables.
            program: Program and arguments to run instead of this Python and the module.

        Raises:
            BenchmarkError: It failed; the message has the end of its output.
        """
        self._children += 1
        written = self.home / f"child-{self._children}.json"
        run = program or (sys.executable, "-m", f"benchmarks.{module}")
        self.settle()
        done = subprocess.run(
            [*run, str(written), *arguments],
            cwd=CHECKOUT,
            env={**self.environment, **(environment or {})},
            input=json.dumps(spec),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
        if done.returncode != 0 or not written.exists():
            raise BenchmarkError(
                f"{module} {' '.join(arguments)} ended with status {done.returncode}:\n"
                f"{done.stdout[-_TAIL:]}"
            )
        answer: dict[str, Any] = json.loads(written.read_text())
        return answer

    def settle(self) -> None:
        """Wait until the Prefect server has finished the work left by the previous run."""
        if self._prefect is None:
            return
        server = psutil.Process(self._prefect.pid)
        family = [server, *descendants_of(server)]
        deadline = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < deadline:
            before = _cpu_seconds(family)
            time.sleep(_LOOK_SECONDS)
            if (_cpu_seconds(family) - before) / _LOOK_SECONDS * 100 < _QUIET_PERCENT:
                return

    def _start_prefect(self) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}/api"
        log = self.home / "prefect-server.log"
        server = BackgroundProcess(
            "Prefect server",
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            log=log,
            environment={**self.environment, "PREFECT_API_URL": url},
            cwd=self.home,
        )
        self._stack.callback(server.stop)
        deadline = time.monotonic() + _SERVER_SECONDS
        while not answers(url):
            if server.exit_status is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"The Prefect server did not start:\n{server.last_words}")
            time.sleep(_LOOK_SECONDS)
        self._prefect, self._prefect_url = server, url


def answer(written: dict[str, Any]) -> None:
    """Write a child's results to the file that its first argument names."""
    Path(sys.argv[1]).write_text(json.dumps(written))


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _cpu_seconds(family: list[psutil.Process]) -> float:
    total = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
