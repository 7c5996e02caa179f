"""Find the running platform of a state directory and check that it answers."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import psutil

from session_block.local_platform.config.state import ServerRecord, load_identity, load_record

_PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class PlatformInfo:
    """A running platform: its address, its process, and the credentials for it.

    Attributes:
        token: The API key of its first account.
        instance: The CRN of that account's first instance.
        owner_key: Opens its own operations, those below ``/_local``, as long as this process lives.

    Examples:
        >>> from session_block.local_platform import find
        >>> info = find()
        >>> info.origin, info.instance
        ('http://127.0.0.1:...', 'crn:v1:bluemix:public:quantum-computing:us-east:...')
        >>> "token" in repr(info)
        False
    """

    origin: str
    pid: int
    state_dir: Path
    token: str = field(repr=False)
    instance: str
    owner_key: str = field(repr=False)

    @property
    def page(self) -> str:
        """The address of its page, with the owner's key behind the ``#``: a secret.

        Examples:
            >>> from session_block.local_platform import find
            >>> find().page.partition("#")[0]
            'http://127.0.0.1:.../'
        """
        return f"{self.origin}/#key={self.owner_key}"

    @property
    def url(self) -> str:
        """The URL to give to QiskitRuntimeService.

        Examples:
            >>> from session_block.local_platform import find
            >>> find().url
            'http://127.0.0.1:.../experimental/api/v1'
        """
        return f"{self.origin}/experimental/api/v1"


def default_state_dir() -> Path:
    """Return ``$SESSION_BLOCK_PLATFORM_DIR`` if set, else a directory below Prefect's home.

    Examples:
        >>> from session_block.local_platform import default_state_dir, find
        >>> find().state_dir == default_state_dir()
        True
    """
    if given := os.environ.get("SESSION_BLOCK_PLATFORM_DIR"):
        return Path(given)
    home = os.environ.get("PREFECT_HOME")
    base = Path(home) if home else Path.home() / ".prefect"
    return base / "session-block" / "platform"


def state_directory(state_dir: Path | None) -> Path:
    """Return a state directory as an absolute path; the default one if none is given."""
    return Path(state_dir if state_dir is not None else default_state_dir()).absolute()


def living_process(record: ServerRecord) -> psutil.Process | None:
    """Return the recorded process if it is alive, or None, also if its PID was reused."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1.0
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same and alive else None


def find(state_dir: Path | None = None) -> PlatformInfo | None:
    """Return the platform of a state directory if it is running and answers, else None.

    Raises:
        PlatformError: Its files there cannot be read, or are damaged.

    Examples:
        >>> from pathlib import Path
        >>> from session_block.local_platform import find
        >>> find().pid > 0
        True
        >>> find(Path("nothing-runs-here")) is None
        True
    """
    directory = state_directory(state_dir)
    record = load_record(directory)
    identity = load_identity(directory)
    if record is None or identity is None or living_process(record) is None:
        return None
    address = IPv4Address(record.host)
    host = "127.0.0.1" if address.is_unspecified else record.host
    origin = f"http://{host}:{record.port}"
    health = _health(origin)
    if health is None or health.get("id") != identity.id or health.get("pid") != record.pid:
        return None
    return PlatformInfo(
        origin, record.pid, directory, identity.token, identity.instance, record.owner_key
    )


def service_environment(origin: str) -> dict[str, str]:
    """Return the environment variables that point the client's IBM Cloud calls at a platform.

    Examples:
        >>> from session_block.local_platform import service_environment
        >>> service_environment("http://127.0.0.1:8765")["IAM_URL"]
        'http://127.0.0.1:8765/iam'
    """
    return {
        "IAM_URL": f"{origin}/iam",
        "GLOBAL_SEARCH_URL": f"{origin}/search",
        "GLOBAL_CATALOG_URL": f"{origin}/catalog/api/v1",
    }


def environment(info: PlatformInfo) -> dict[str, str]:
    """Return the variables that make a plain ``QiskitRuntimeService()`` use a platform.

    Examples:
        >>> from session_block.local_platform import environment, find
        >>> environment(find())["QISKIT_IBM_CHANNEL"]
        'ibm_quantum_platform'
    """
    return {
        **service_environment(info.origin),
        "QISKIT_IBM_TOKEN": info.token,
        "QISKIT_IBM_URL": info.url,
        "QISKIT_IBM_INSTANCE": info.instance,
        "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
    }


def _health(origin: str) -> dict[str, Any] | None:
    # No proxy, even if the environment names one: the platform is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{origin}/_local/health", timeout=_PROBE_SECONDS) as response:
            content = json.loads(response.read())
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
