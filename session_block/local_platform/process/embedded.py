"""A platform that runs for the time of a ``with`` block, for tests here and in other projects."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

import psutil

from session_block.errors import PlatformError
from session_block.local_platform.config.state import SettingsGiven, load_identity
from session_block.local_platform.process.admin import Admin
from session_block.local_platform.process.discovery import (
    PlatformInfo,
    environment,
    service_environment,
)
from session_block.local_platform.process.launcher import start, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform.config.layout import Layout
    from session_block.local_platform.config.tenancy import Account

_KILL_SECONDS = 10.0
# The client reads the variables while it connects; another thread that connects to a different
# platform at the same time must not see them.
_ENVIRONMENT = threading.Lock()


class LocalPlatform(Admin):
    """Starts a platform on entering and stops it on leaving.

    Args:
        state_dir: Its state directory; by default a temporary one, deleted on leaving.
        port: Its port; by default a free one.
        layout: Its accounts, instances and additional backends.
        faults: A JSON file of fault rules to start with.
        settings: See :class:`~session_block.local_platform.config.state.Settings`.

    Examples:
        In a test of your own code:

        >>> from session_block.local_platform import LocalPlatform
        >>> with LocalPlatform(seed=1, noise="shots") as platform:
        ...     service = platform.service()
        ...     rule = platform.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
        ...     print([backend.name for backend in service.backends()][:2])
        ['ibm_manila', 'ibm_nairobi']
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        port: int | None = None,
        layout: Layout | None = None,
        faults: Path | None = None,
        **settings: Unpack[SettingsGiven],
    ) -> None:
        self._given = state_dir
        self._port = port
        self._layout = layout
        self._faults = faults
        self._settings = settings
        self._info: PlatformInfo | None = None

    def __enter__(self) -> Self:
        """Start the platform.

        Raises:
            PlatformError: The platform cannot be started.
        """
        directory = self._given or Path(tempfile.mkdtemp(prefix="local-platform-"))
        try:
            info = start(
                directory,
                port=self._port,
                layout=self._layout,
                faults=self._faults,
                **self._settings,
            )
        except BaseException:
            self._forget(directory)
            raise
        self._use(info)
        self._pid = os.getpid()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the platform, whatever happened; not in a fork of the process that started it."""
        if os.getpid() != self._pid:
            return
        directory = self.info.state_dir
        stop(directory)
        self._info = None
        self._forget(directory)

    @property
    def info(self) -> PlatformInfo:
        """The platform's address and process, and the credentials for it.

        Examples:
            >>> platform.info.url
            'http://127.0.0.1:.../experimental/api/v1'
        """
        if self._info is None:
            raise PlatformError("this platform is not running: use it inside its 'with' block")
        return self._info

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts with their API keys and instances.

        Examples:
            >>> [instance.name for instance in platform.accounts[0].instances]
            ['local-platform', 'local-platform-eu', 'local-platform-open']
        """
        identity = load_identity(self.info.state_dir)
        return () if identity is None else identity.accounts

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a plain ``QiskitRuntimeService()`` use this platform.

        Examples:
            >>> sorted(platform.environment)[:3]
            ['GLOBAL_CATALOG_URL', 'GLOBAL_SEARCH_URL', 'IAM_URL']
        """
        return environment(self.info)

    def service(
        self, *, token: str | None = None, instance: str | None = None
    ) -> QiskitRuntimeService:
        """Return a client that is connected to this platform.

        Args:
            token: The API key; by default the first account's.
            instance: CRN or name of the instance, or ``"auto"``; by default the first one.

        Examples:
            >>> service = platform.service()
            >>> service.backend("ibm_manila").num_qubits
            5
        """
        from qiskit_ibm_runtime import QiskitRuntimeService

        from session_block.local_platform.execution.client_codec import connect_later_alike

        connecting = partial(_set_environment, service_environment(self.info.origin))
        with connecting():
            service = QiskitRuntimeService(
                channel="ibm_quantum_platform",
                token=token or self.info.token,
                url=self.info.url,
                instance=instance or self.info.instance,
            )
        connect_later_alike(service, connecting)
        return service

    def kill(self) -> None:
        """Kill the server with SIGKILL, without starting it again.

        Examples:
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> platform.kill()
            >>> platform.restart()  # no accepted job is lost
            >>> experiment.fetch_result(job)[0].data.meas.num_shots
            1000
        """
        process = psutil.Process(self.info.pid)
        os.kill(self.info.pid, signal.SIGKILL)
        psutil.wait_procs([process], timeout=_KILL_SECONDS)

    def restart(self) -> None:
        """Start the server again, on the same port and with the same state.

        Examples:
            >>> before = platform.info
            >>> platform.restart()
            >>> platform.info.url == before.url, platform.info.pid == before.pid
            (True, False)
        """
        stop(self.info.state_dir)
        self._use(start(self.info.state_dir, port=self._port))

    def _use(self, info: PlatformInfo) -> None:
        self._info = info
        super().__init__(info.origin, info.owner_key)

    def _forget(self, directory: Path) -> None:
        if self._given is None:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _set_environment(values: dict[str, str]) -> Iterator[None]:
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
