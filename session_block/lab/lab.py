"""A lab on one machine: Prefect server, worker, local platform and deployments."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from prefect.settings import get_current_settings, temporary_settings
from pydantic import SecretStr

from session_block import local_platform
from session_block.blocks.credentials import LocalPlatformCredentials
from session_block.blocks.quantum_session import QuantumSession
from session_block.environment.private_files import make_directory
from session_block.errors import LabError
from session_block.lab.deployment import (
    WORK_POOL,
    deploy_all,
    ensure_block,
    reschedule,
    worker_is_online,
)
from session_block.lab.prefect_server import (
    OwnServer,
    answers,
    find_prefect_server,
    is_of_this_user,
    local_api_url,
    reaching,
    shown,
    variables,
)
from session_block.lab.processes import BackgroundProcess, descendants_of, end, variable_of
from session_block.lab.record import LabRecord, only_one

LOOPBACK = "127.0.0.1"
_SERVER_SECONDS = 120
_WORKER_SECONDS = 60
_POLL_SECONDS = 0.5
_WATCH_SECONDS = 1.0
_FLOW_RUN_ID = "PREFECT__FLOW_RUN_ID"
"""The variable in which a worker passes a flow run's ID to the process that executes it."""


@dataclass(frozen=True)
class RunningLab:
    """What is running once a lab is up.

    Attributes:
        api_url: URL of the Prefect server's API.
        found_server: Whether the server was running before; if so, it keeps running afterwards.
        auth_file: The file with the server's authentication string, if it is this user's own.
        platform: URL of the local platform's page; ``None`` if the Block uses another platform.
        deployments: Names of the deployments.
        logs: Directory of the log files.
        rescheduled: Number of interrupted flow runs that continue now.

    Examples:
        >>> from threading import Event
        >>> stop, seen = Event(), []
        >>> def when_up(lab):
        ...     seen.append(lab)
        ...     stop.set()
        >>> try:
        ...     Lab(stop, say=lambda message: None).run(when_up)
        ... except KeyboardInterrupt:
        ...     print(seen[0].found_server, len(seen[0].deployments))
        True 4
    """

    api_url: str
    found_server: bool
    auth_file: Path | None
    platform: str | None
    deployments: list[str]
    logs: Path
    rescheduled: int


class Lab:
    """Brings everything up, waits, and ends what it has started.

    No job is cancelled and no session is closed. Flow runs in progress are scheduled again, and
    continue in their sessions once there is a worker again. If a lab is killed, the next one ends
    the processes left behind and schedules their flow runs again.

    Args:
        stop: Set it to end the lab.
        say: Called with progress messages for people.
        server_port: Start a Prefect server on this port, instead of using one that answers.
        platform_port: Port of the local platform; by default the last one, or a free one.

    Examples:
        >>> from threading import Event
        >>> stop = Event()
        >>> lab = Lab(stop, say=lambda message: None)
        >>> try:
        ...     lab.run(lambda running: stop.set())
        ... except KeyboardInterrupt:
        ...     print("everything has ended")
        everything has ended
    """

    def __init__(
        self,
        stop: Event,
        say: Callable[[str], None],
        *,
        server_port: int | None = None,
        platform_port: int | None = None,
    ) -> None:
        self._stop = stop
        self._say = say
        self._server_port = server_port
        self._platform_port = platform_port
        self._home = Path(get_current_settings().home) / "session-block" / "up"
        self._logs = self._home / "logs"
        make_directory(self._logs)
        self._record = LabRecord(self._home / "record.json")
        self._watched: list[BackgroundProcess] = []

    def run(self, when_up: Callable[[RunningLab], None]) -> None:
        """Bring everything up, call ``when_up``, and wait until ``stop`` is set.

        Raises:
            KeyboardInterrupt: ``stop`` was set, and everything has ended.
            LabError: A lab runs already, something could not be started, or something has ended by
                itself.

        Examples:
            >>> from threading import Event
            >>> stop = Event()
            >>> def when_up(running):
            ...     print(len(running.deployments), "deployments")
            ...     stop.set()
            >>> try:
            ...     Lab(stop, say=lambda message: None).run(when_up)
            ... except KeyboardInterrupt:
            ...     print("everything has ended")
            4 deployments
            everything has ended
        """
        with ExitStack() as stack:
            stack.enter_context(only_one(self._home / "lock", self._record))
            self._end_what_is_left()
            found = None if self._server_port else find_prefect_server()
            api_url = found or stack.enter_context(self._server())
            stack.enter_context(temporary_settings(reaching(api_url)))
            platform = stack.enter_context(self._platform(ensure_block()))
            self._say("Deploying …")
            deployments = deploy_all("process", self._home)
            rescheduled = self._reschedule_interrupted()
            worker = stack.enter_context(self._worker(api_url))
            self._record.note(url=api_url)
            when_up(
                RunningLab(
                    api_url=api_url,
                    found_server=found is not None,
                    auth_file=own.file if (own := OwnServer()).opening(api_url) else None,
                    platform=platform,
                    deployments=deployments,
                    logs=self._logs,
                    rescheduled=rescheduled,
                )
            )
            while True:
                self._note_flow_runs(worker)
                self._check(_WATCH_SECONDS)

    @contextmanager
    def _server(self) -> Iterator[str]:
        port = self._server_port or _own_port()
        _check_free(port)
        api_url = f"http://{LOOPBACK}:{port}/api"
        command = ["server", "start", "--host", LOOPBACK, "--port", str(port)]
        own = OwnServer()
        closed = _closed(own.prepare(), api_url)
        try:
            with self._running(
                "Prefect server", "server.log", command, closed, umask=0o077
            ) as server:
                # Another's, that took the port meanwhile, would answer while this one still starts.
                self._wait_for(
                    lambda: answers(api_url) and is_of_this_user(api_url), _SERVER_SECONDS
                )
                own.started(api_url, server.pid)
                yield api_url
        finally:
            own.ended()

    @contextmanager
    def _platform(self, block: QuantumSession) -> Iterator[str | None]:
        credentials = block.credentials
        if not isinstance(credentials, LocalPlatformCredentials):
            yield None
            return
        self._say("Starting the local platform …")
        found = local_platform.find(credentials.state_dir)
        try:
            info = local_platform.start(
                credentials.state_dir,
                port=self._platform_port,
                noise=credentials.noise,
                seed=credentials.seed,
            )
        except (local_platform.PlatformError, ValueError) as error:
            raise LabError(f"The local platform cannot be started: {error}") from error
        if found is not None:
            yield info.origin
            return
        self._record.add_process(info.pid)
        try:
            yield info.origin
        finally:
            self._say("Ending the local platform …")
            local_platform.stop(credentials.state_dir)

    @contextmanager
    def _worker(self, api_url: str) -> Iterator[BackgroundProcess]:
        since = datetime.now(UTC)
        name = f"up@{socket.gethostname()}"
        command = ["worker", "start", "--pool", WORK_POOL, "--name", name]
        command += ["--install-policy", "never"]
        try:
            with self._running("worker", "worker.log", command, variables()) as worker:
                try:
                    self._wait_for(lambda: worker_is_online(name, since), _WORKER_SECONDS)
                    yield worker
                finally:
                    self._note_flow_runs(worker)
        finally:
            if answers(api_url) and (count := self._reschedule_interrupted()):
                self._say(f"Flow runs that continue when there is a worker again: {count}")

    @contextmanager
    def _running(
        self,
        name: str,
        log: str,
        arguments: list[str],
        environment: Mapping[str, str],
        umask: int = -1,
    ) -> Iterator[BackgroundProcess]:
        """Run a Prefect command until the context ends."""
        self._check(0)
        self._say(f"Starting the {name} …")
        process = BackgroundProcess(
            name,
            [sys.executable, "-m", "prefect", *arguments],
            log=self._logs / log,
            environment={
                "PREFECT_WORKER_QUERY_SECONDS": "2",
                **os.environ,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                **environment,
            },
            cwd=self._home,
            umask=umask,
        )
        self._watched.append(process)
        try:
            self._record.add_process(process.pid)
            yield process
        finally:
            self._say(f"Ending the {name} …")
            self._watched.remove(process)
            process.stop()

    def _end_what_is_left(self) -> None:
        """End the processes that a killed lab has left behind."""
        for process in self._record.left():
            self._say(f"Ending process {process.pid}, which an earlier lab left behind …")
            end([process, *descendants_of(process)])
        self._record.begin()

    def _note_flow_runs(self, worker: BackgroundProcess) -> None:
        """Record which flow runs the worker executes, so that the next lab finds them."""
        found = {variable_of(child, _FLOW_RUN_ID) for child in worker.descendants()}
        self._record.note(flow_runs=sorted(one for one in found if one is not None))

    def _reschedule_interrupted(self) -> int:
        count = reschedule(self._record.flow_runs)
        self._record.note(flow_runs=[])
        return count

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._check(_POLL_SECONDS)
            if time.monotonic() > deadline:
                waited_for = self._watched[-1]
                raise LabError(
                    f"The {waited_for.name} is not ready after {seconds:g} s. Its log is "
                    f"{waited_for.log}, and ends:\n{waited_for.last_words}"
                )

    def _check(self, seconds: float) -> None:
        """Wait, and check that everything that was started still runs.

        Raises:
            KeyboardInterrupt: ``stop`` is set.
            LabError: Something has ended by itself.
        """
        if self._stop.wait(seconds):
            raise KeyboardInterrupt
        for process in self._watched:
            # Remembers the descendants, which cannot be found any more once the process is dead.
            process.descendants()
            if process.exit_status is not None:
                raise LabError(
                    f"The {process.name} has ended by itself, with status {process.exit_status}. "
                    f"Its log is {process.log}, and ends:\n{process.last_words}"
                )


def _closed(string: SecretStr, api_url: str) -> dict[str, str]:
    """Return the variables with which Prefect's server answers its own user and interface alone.

    The authentication string is the guard, also of the web sockets, which know no other. The rest
    is a second one, against pages of other sites.
    """
    page = api_url.removesuffix("/api")
    return {
        "PREFECT_API_URL": api_url,
        "PREFECT_API_AUTH_STRING": string.get_secret_value(),
        "PREFECT_SERVER_API_AUTH_STRING": string.get_secret_value(),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{page},{page.replace(LOOPBACK, 'localhost')}",
    }


def _own_port() -> int:
    """Return the port for a server on this machine."""
    configured = get_current_settings().api.url
    parts = urlsplit(configured or local_api_url())
    try:
        port = parts.port or 80
    except ValueError as error:
        raise LabError(f"PREFECT_API_URL is no address: {error}.") from error
    if parts.hostname not in (LOOPBACK, "localhost", "::1", "0.0.0.0"):  # noqa: S104 - compared
        raise LabError(
            f"The Prefect server that is configured (PREFECT_API_URL), {shown(configured or '')}, "
            "does not answer. Start it, or give --server-port to start one on this machine."
        )
    return port


def _check_free(port: int) -> None:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise LabError(
            f"Port {port} is taken: {error.strerror}. Free it, or give another one with "
            "--server-port."
        ) from error
