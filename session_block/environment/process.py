"""The identity of a process: unique across this machine, other machines and reboots."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessIdentity:
    """One process on one machine.

    Attributes:
        machine: Host name and machine ID.
        boot: ID of the boot; process IDs are reused after a reboot.
        namespace: The PID namespace, such as a container's; process IDs mean nothing outside it.
            ``None`` if the operating system has no namespaces.
        pid: The process ID.
        started: When the process started, because process IDs are reused; ``None`` if it is gone.
    """

    machine: str
    boot: str
    namespace: str | None
    pid: int
    started: float | None


def this_process() -> ProcessIdentity:
    """Return the calling process's identity."""
    pid = os.getpid()
    return ProcessIdentity(_machine(), _boot(), _namespace(), pid, process_start(pid))


def process_start(pid: int) -> float | None:
    """Return when a process started, or ``None`` if it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _ticks(pid) or round(float(process.create_time()), 2)
    except psutil.NoSuchProcess:
        return None


@cache
def _machine() -> str:
    """Identify this machine or container. A host name alone may not be unique."""
    identity = Path("/etc/machine-id")
    return f"{socket.gethostname()}/{identity.read_text().strip() if identity.exists() else ''}"


@cache
def _boot() -> str:
    kernel = Path("/proc/sys/kernel/random/boot_id")
    return kernel.read_text().strip() if kernel.exists() else str(round(psutil.boot_time(), -1))


@cache
def _namespace() -> str | None:
    link = Path("/proc/self/ns/pid")
    try:
        return str(link.readlink())
    except OSError:  # another operating system, or a kernel without namespaces
        return None


def _ticks(pid: int) -> float | None:
    """Return when a process started, in ticks since boot: wall clock changes do not affect it.

    ``None`` if the operating system has no ``/proc``.
    """
    stat = Path(f"/proc/{pid}/stat")
    return float(stat.read_text().rpartition(")")[2].split()[19]) if stat.exists() else None
