"""Start, find and stop the server of a state directory."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from session_block.local_platform.state import (
    NOISES,
    Noise,
    PlatformError,
    ServerRecord,
    Settings,
    load_identity,
    load_record,
    new_identity,
    save_identity,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LOG_TAIL = 2000
_MAX_PORT = 65535


@dataclass(frozen=True)
class PlatformInfo:
    """A running platform: where it listens, its process, and the credentials for it."""

    origin: str
    pid: int
    state_dir: Path
    token: str = field(repr=False)
    instance: str

    @property
    def url(self) -> str:
        """The URL to give to QiskitRuntimeService."""
        return f"{self.origin}/experimental/api/v1"


def default_state_dir() -> Path:
    """Return ``$SESSION_BLOCK_PLATFORM_DIR``, else a directory below Prefect's home."""
    if given := os.environ.get("SESSION_BLOCK_PLATFORM_DIR"):
        return Path(given)
    home = os.environ.get("PREFECT_HOME")
    base = Path(home) if home else Path.home() / ".prefect"
    return base / "session-block" / "platform"


def start(
    state_dir: Path | None = None,
    *,
    port: int | None = None,
    noise: Noise | None = None,
    seed: int | None = None,
    job_seconds: float | None = None,
    timeout: float = 60,
) -> PlatformInfo:
    """Return the running platform of a state directory, starting it if need be.

    The server is a process of its own that survives the caller. Whatever is not given is as it
    was last time, the port too if it is still free; the first time it is a free port, exact
    expectation values, seed 0 and no artificial job time. API key and CRN never change.

    Raises:
        PlatformError: It runs with other settings, the port is in use, or it did not start
            within ``timeout`` seconds.
        ValueError: A setting has no meaning.
    """
    directory = _directory(state_dir)
    wanted = _checked(port=port, noise=noise, seed=seed, job_seconds=job_seconds)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with _start_lock(directory, deadline):
        running = _wait_for_living(directory, deadline)
        if running is not None:
            _refuse_conflict(directory, port, wanted)
            return running
        _prepare_identity(directory, wanted)
        return _spawn(directory, port, deadline)


def find(state_dir: Path | None = None) -> PlatformInfo | None:
    """Return the platform of a state directory if it runs and answers, else None."""
    directory = _directory(state_dir)
    record = load_record(directory)
    identity = load_identity(directory)
    if record is None or identity is None or _process(record) is None:
        return None
    origin = f"http://127.0.0.1:{record.port}"
    health = _health(origin)
    if health is None or health.get("id") != identity.id or health.get("pid") != record.pid:
        return None
    return PlatformInfo(origin, record.pid, directory, identity.token, identity.instance)


def stop(state_dir: Path | None = None, *, timeout: float = 10) -> bool:
    """Stop the platform of a state directory; False when none ran. Its state stays.

    A server that does not end within ``timeout`` seconds is killed, which loses nothing.
    """
    record = load_record(_directory(state_dir))
    process = None if record is None else _process(record)
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


def service_environment(origin: str) -> dict[str, str]:
    """Return the variables that lead the client's IBM Cloud look-ups to a platform."""
    return {
        "IAM_URL": f"{origin}/iam",
        "GLOBAL_SEARCH_URL": f"{origin}/search",
        "GLOBAL_CATALOG_URL": f"{origin}/catalog/api/v1",
    }


def environment(info: PlatformInfo) -> dict[str, str]:
    """Return the variables with which a plain ``QiskitRuntimeService()`` uses a platform."""
    return {
        **service_environment(info.origin),
        "QISKIT_IBM_TOKEN": info.token,
        "QISKIT_IBM_URL": info.url,
        "QISKIT_IBM_INSTANCE": info.instance,
        "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
    }


def _checked(
    *, port: int | None, noise: Noise | None, seed: int | None, job_seconds: float | None
) -> dict[str, Any]:
    if port is not None and not 1 <= port <= _MAX_PORT:
        raise ValueError(f"port must be from 1 to {_MAX_PORT}, not {port}")
    if noise is not None and noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}, not {noise!r}")
    if job_seconds is not None and not 0 <= job_seconds < float("inf"):
        raise ValueError(f"job_seconds must be zero or more, not {job_seconds}")
    given = {"noise": noise, "seed": seed, "job_seconds": job_seconds}
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def _start_lock(directory: Path, deadline: float) -> Iterator[None]:
    with (directory / "start.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"another process has been starting the platform in {directory} for too "
                        "long: wait for it, or end it, and try again"
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield


def _wait_for_living(directory: Path, deadline: float) -> PlatformInfo | None:
    """Return the running platform, or None when its process is gone."""
    while True:
        running = find(directory)
        if running is not None:
            return running
        record = load_record(directory)
        if record is None or _process(record) is None:
            return None
        if time.monotonic() > deadline:
            raise PlatformError(
                f"process {record.pid} serves {directory} but does not answer: stop it with "
                "session_block.local_platform.stop and start again"
            )
        time.sleep(_POLL_SECONDS)


def _refuse_conflict(directory: Path, port: int | None, wanted: dict[str, Any]) -> None:
    identity = load_identity(directory)
    record = load_record(directory)
    if identity is None or record is None:
        raise PlatformError(f"the platform's files vanished from {directory}: start it again")
    has = {**asdict(identity.settings), "port": record.port}
    asked = {**wanted, **({} if port is None else {"port": port})}
    differing = [
        f"{name} {has[name]}, not {asked[name]}" for name in asked if has[name] != asked[name]
    ]
    if differing:
        raise PlatformError(
            f"the platform in {directory} runs with {'; '.join(differing)}: stop it first, "
            "leave the setting out, or use another state directory"
        )


def _prepare_identity(directory: Path, wanted: dict[str, Any]) -> None:
    identity = load_identity(directory)
    if identity is None:
        save_identity(directory, new_identity(replace(Settings(), **wanted)))
    elif wanted:
        settings = replace(identity.settings, **wanted)
        save_identity(directory, replace(identity, settings=settings))


def _spawn(directory: Path, port: int | None, deadline: float) -> PlatformInfo:
    command = [sys.executable, "-m", "session_block.local_platform.server"]
    command += ["--state-dir", str(directory)]
    if port is not None:
        command += ["--port", str(port)]
    log_path = directory / "platform.log"
    with log_path.open("ab") as log:
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
    while process.poll() is None:
        running = find(directory)
        if running is not None and running.pid == process.pid:
            # Takes note of its end one day, so that no zombie is left to a long-lived caller.
            threading.Thread(target=process.wait, name="platform", daemon=True).start()
            return running
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise PlatformError(f"the platform did not answer in time: see {log_path}")
        time.sleep(_POLL_SECONDS)
    with log_path.open("rb") as log:
        log.seek(begin)
        said = log.read()[-_LOG_TAIL:].decode("utf-8", "replace").strip()
    raise PlatformError(
        f"the platform in {directory} did not start (exit status {process.returncode}): {said}"
    )


def _child_environment() -> dict[str, str]:
    """Let the server find this very package, wherever the caller found it."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _directory(state_dir: Path | None) -> Path:
    return Path(state_dir if state_dir is not None else default_state_dir()).absolute()


def _process(record: ServerRecord) -> psutil.Process | None:
    """Return the recorded process if it lives; a PID that was reused does not count."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1.0
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same and alive else None


def _health(origin: str) -> dict[str, Any] | None:
    # Without proxies: the environment may name one, and this is the loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{origin}/_local/health", timeout=_PROBE_SECONDS) as response:
            content = json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
