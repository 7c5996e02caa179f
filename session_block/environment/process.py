"""The identity of a process: unique across this machine, other machines and reboots."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessIdentity:
    """One process on one machine.

    Attributes:
        machine: Host name, machine ID and, on Linux, the PID namespace, such as a container's:
            where process IDs mean something.
        boot: ID of the boot; process IDs are reused after a reboot.
        pid: The process ID.
        started: When the process started, because process IDs are reused; ``None`` if it is gone,
            or if that cannot be seen.
        sees_others: Whether this process can see others of its machine by their IDs.
    """

    machine: str
    boot: str
    pid: int
    started: float | None
    sees_others: bool = True


def this_process() -> ProcessIdentity:
    """Return the calling process's identity."""
    pid, boot, namespace = os.getpid(), _boot(), _namespace()
    sees_others = boot is not None and namespace is not None
    started = _start(pid) if sees_others else None
    machine = "/".join(filter(None, (_machine(), "unknown" if namespace is None else namespace)))
    return ProcessIdentity(machine, boot or "unknown", pid, started, sees_others)


def may_be_running(pid: int, started: float | None) -> bool:
    """Whether a process of this machine and boot may still run. ``False`` is certain.

    Args:
        pid: Its process ID.
        started: When it started, as its own identity says; ``None`` if it could not see that.
    """
    if not _exists(pid):
        return False
    try:
        now = _start(pid)
    except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
        # It is another user's, and the system hides it; or it is ending at this moment.
        return _exists(pid)
    return now is not None and started in {None, now}


def _exists(pid: int) -> bool:
    """Whether there is a process with this ID; also one that ``/proc`` hides (``hidepid``)."""
    if sys.platform == "win32":  # there this signal ends the process
        return psutil.pid_exists(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(pid: int) -> float | None:
    """Return when a process started; ``None`` if it is a zombie."""
    process = psutil.Process(pid)
    if process.status() == psutil.STATUS_ZOMBIE:
        return None
    return _ticks(pid) or round(float(process.create_time()), 2)


@cache
def _machine() -> str:
    """Identify this machine or container. A host name alone may not be unique."""
    identity = Path("/etc/machine-id")
    return f"{socket.gethostname()}/{identity.read_text().strip() if identity.exists() else ''}"


@cache
def _boot() -> str | None:
    """Return the ID of the boot; ``None`` if the system does not tell it."""
    if sys.platform != "linux":
        return str(round(psutil.boot_time(), -1))
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _namespace() -> str | None:
    """Return the PID namespace; empty if the system has none, ``None`` if it is unknown.

    A forked child may be in another one than its parent. ``/proc`` may be that of an outer
    namespace: its process IDs are others.
    """
    if sys.platform != "linux":
        return ""
    try:
        if Path("/proc/self").readlink().name != str(os.getpid()):
            return None
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _ticks(pid: int) -> float | None:
    """Return when a process started, in ticks since boot: wall clock changes do not affect it.

    ``None`` if the operating system has no ``/proc``.
    """
    stat = Path(f"/proc/{pid}/stat")
    return float(stat.read_text().rpartition(")")[2].split()[19]) if stat.exists() else None
