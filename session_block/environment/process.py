"""This process, told apart from every other one: on this machine, on others, before a reboot."""

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
        boot: The boot's ID: process IDs mean nothing outside it.
        namespace: The PID namespace, such as a container's: process IDs mean nothing outside it
            either. ``None`` where the operating system has none.
        pid: The process ID.
        started: When the process started, so that a reused process ID is told apart; ``None`` when
            it is gone.
    """

    machine: str
    boot: str
    namespace: str | None
    pid: int
    started: float | None


def this_process() -> ProcessIdentity:
    """Return the identity of the process that calls."""
    pid = os.getpid()
    return ProcessIdentity(_machine(), _boot(), _namespace(), pid, process_start(pid))


def process_start(pid: int) -> float | None:
    """Return when a process started, or ``None`` if it is gone or only waits to be reaped."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _ticks(pid) or round(float(process.create_time()), 2)
    except psutil.NoSuchProcess:
        return None


@cache
def _machine() -> str:
    """Identify this machine or container: a host name alone may be given twice."""
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
    """Return when a process started, since boot: setting the wall clock does not move it."""
    stat = Path(f"/proc/{pid}/stat")
    return float(stat.read_text().rpartition(")")[2].split()[19]) if stat.exists() else None
