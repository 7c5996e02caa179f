"""Start and stop the server of a state directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import psutil
from filelock import FileLock, Timeout

from session_block.errors import PlatformError
from session_block.local_platform.config.state import (
    MAX_PORT,
    Settings,
    SettingsGiven,
    listening_address,
    load_identity,
    load_record,
    new_identity,
    save_identity,
    without_none,
)
from session_block.local_platform.process.discovery import (
    PlatformInfo,
    find,
    living_process,
    state_directory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_block.local_platform.config.layout import Layout
    from session_block.local_platform.config.state import Identity

_POLL_SECONDS = 0.05
_LOG = "platform.log"
_LOG_TAIL = 2000


def start(
    state_dir: Path | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    layout: Layout | None = None,
    faults: Path | None = None,
    timeout: float = 60,
    **settings: Unpack[SettingsGiven],
) -> PlatformInfo:
    """Return the running platform of a state directory; start it if it is not running.

    The server is a separate process that outlives the caller. Settings that are not given stay as
    they were last time, and so does the port if it is still free. On the first start they are the
    defaults of :class:`Settings` and a free port of the loopback interface. The layout, with its
    API keys and CRNs, is made once and never changes. ``faults`` is a JSON file of fault rules
    that are added to the platform's; rules that it already has from this file keep their counts.

    Raises:
        PlatformError: The platform runs with other settings, runs while ``faults`` is given, or has
            another layout; or the port is in use; or it did not start within ``timeout`` seconds;
            or the state directory cannot be used.
        ValueError: A setting is invalid, or the host is no IPv4 address.

    Examples:
        >>> from session_block.local_platform import find, start
        >>> info = start()  # it runs already, so this finds it
        >>> info == find()
        True
    """
    if os.name != "posix":
        raise PlatformError(
            "the local platform needs a POSIX system: Linux, macOS, or the Windows Subsystem for "
            "Linux. With IBM's credentials everything else runs here"
        )
    directory = state_directory(state_dir)
    if port is not None and not 1 <= port <= MAX_PORT:
        raise ValueError(f"port must be from 1 to {MAX_PORT}, not {port}")
    # The server's record is of an address, and so is what is compared with it.
    host = None if host is None else listening_address(host)
    Settings().with_given(settings)
    _make_private(directory)
    deadline = time.monotonic() + timeout
    with _start_lock(directory, deadline):
        running = _wait_for_living(directory, deadline)
        if running is not None:
            if faults is not None:
                raise PlatformError(
                    f"the platform in {directory} is already running: stop it first, or add the "
                    f"fault rules with POST {running.origin}/_local/faults"
                )
            address = {"host": host, "port": port}
            given = {name: value for name, value in address.items() if value is not None}
            _refuse_conflict(directory, {**given, **without_none(settings)}, layout)
            return running
        _prepare_identity(directory, settings, layout)
        return _spawn(directory, host, port, faults, deadline)


def stop(state_dir: Path | None = None, *, timeout: float = 10) -> bool:
    """Stop the platform of a state directory. Return False if it was not running.

    Its state stays. A server that does not end within ``timeout`` seconds is killed; no accepted
    job and no session is lost.

    Raises:
        PlatformError: The file that says where it is cannot be read, or is damaged.

    Examples:
        >>> from pathlib import Path
        >>> from session_block.local_platform import stop
        >>> stop(Path("nothing-runs-here"))
        False
    """
    record = load_record(state_directory(state_dir))
    process = None if record is None else living_process(record)
    if process is None:
        return False
    try:
        process.terminate()
        process.wait(timeout)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout)
    except psutil.NoSuchProcess:
        return True
    return True


def _make_private(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone."""
    try:
        for one in (*reversed(directory.parents), directory):
            if not one.exists():
                one.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(directory, error) from None


def _unusable(directory: Path, error: OSError) -> PlatformError:
    return PlatformError(
        f"the state directory {directory} cannot be used ({error.strerror}): choose another one"
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _start_lock(directory: Path, deadline: float) -> Iterator[None]:
    lock = FileLock(directory / "start.lock", mode=0o600)
    try:
        held = lock.acquire(max(0.0, deadline - time.monotonic()), poll_interval=_POLL_SECONDS)
    except Timeout:
        raise PlatformError(
            f"another process is still starting the platform in {directory}: wait for it, or end "
            "it, and try again"
        ) from None
    except OSError as error:
        raise _unusable(directory, error) from None
    with held:
        yield


def _wait_for_living(directory: Path, deadline: float) -> PlatformInfo | None:
    """Return the running platform, or None if its process is gone."""
    while True:
        running = find(directory)
        if running is not None:
            return running
        record = load_record(directory)
        if record is None or living_process(record) is None:
            return None
        if time.monotonic() > deadline:
            raise PlatformError(
                f"process {record.pid} serves {directory} but does not answer: stop it with "
                "session_block.local_platform.stop and start again"
            )
        time.sleep(_POLL_SECONDS)


def _refuse_conflict(directory: Path, asked: dict[str, Any], layout: Layout | None) -> None:
    identity = load_identity(directory)
    record = load_record(directory)
    if identity is None or record is None:
        raise PlatformError(f"the platform's files are missing from {directory}: start it again")
    _refuse_other_layout(directory, identity, layout)
    has = {**asdict(identity.settings), "host": record.host, "port": record.port}
    differing = [
        f"{name} {has[name]}, not {asked[name]}" for name in asked if has[name] != asked[name]
    ]
    if differing:
        raise PlatformError(
            f"the platform in {directory} runs with {'; '.join(differing)}: stop it first, "
            "leave the setting out, or use another state directory"
        )


def _refuse_other_layout(directory: Path, identity: Identity, layout: Layout | None) -> None:
    if layout is None:
        return
    # Parsed, because a layout that an older version wrote lacks later fields.
    if identity.layout is None or type(layout).model_validate_json(identity.layout) != layout:
        raise PlatformError(
            f"the platform in {directory} has another layout, with its own API keys and CRNs: "
            "leave the layout out, or use another state directory"
        )


def _prepare_identity(directory: Path, given: SettingsGiven, layout: Layout | None) -> None:
    identity = load_identity(directory)
    if identity is None:
        save_identity(directory, new_identity(Settings().with_given(given), layout))
        return
    _refuse_other_layout(directory, identity, layout)
    settings = identity.settings.with_given(given)
    save_identity(directory, replace(identity, settings=settings))


def _spawn(
    directory: Path, host: str | None, port: int | None, faults: Path | None, deadline: float
) -> PlatformInfo:
    command = [sys.executable, "-m", "session_block.local_platform.process.server"]
    command += ["--state-dir", str(directory)]
    if host is not None:
        command += ["--host", host]
    if port is not None:
        command += ["--port", str(port)]
    if faults is not None:
        command += ["--faults", str(faults.absolute())]
    log_path = directory / _LOG
    with open(log_path, "ab", opener=_private) as log:
        begin = log.tell()
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=_child_environment(),
            start_new_session=True,
        )
    try:
        running = _wait_for_answer(process, directory, deadline)
    except BaseException:
        # Whoever is told that it did not start does not expect a server.
        process.kill()
        process.wait()
        raise
    if running is not None:
        # Collect its exit status when it ends, so that a long-lived caller keeps no zombie.
        threading.Thread(target=process.wait, name="platform", daemon=True).start()
        return running
    with log_path.open("rb") as log:
        log.seek(begin)
        said = log.read()[-_LOG_TAIL:].decode("utf-8", "replace").strip()
    raise PlatformError(
        f"the platform in {directory} did not start (exit status {process.returncode}): {said}"
    )


def _wait_for_answer(
    process: subprocess.Popen[bytes], directory: Path, deadline: float
) -> PlatformInfo | None:
    """Return the platform that a process serves, or None if the process has ended."""
    while process.poll() is None:
        running = find(directory)
        if running is not None and running.pid == process.pid:
            return running
        if time.monotonic() > deadline:
            raise PlatformError(f"the platform did not answer in time: see {directory / _LOG}")
        time.sleep(_POLL_SECONDS)
    return None


def _child_environment() -> dict[str, str]:
    """Return an environment in which the server imports the same package as the caller."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
