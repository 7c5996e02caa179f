"""A local IBM Quantum platform that the unmodified client takes for the real one.

It listens on the loopback interface, runs circuits on Qiskit Aer, and keeps its state in a
directory, so that killing it at any moment loses no accepted job and no session.

Users need only what this module exports. Inside, :mod:`.process` starts, finds and runs the
server, :mod:`.config` holds its settings, accounts and layout, and :mod:`.platform` is what it
serves. :mod:`.workloads` keeps jobs and sessions in a store, and its engine changes them when they
are due by :mod:`.clock`. :mod:`.api` answers requests, :mod:`.execution` runs circuits on
:mod:`.devices`, and :mod:`.faults` injects faults into all of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from session_block.errors import PlatformError
from session_block.local_platform.config.state import Settings, SettingsGiven
from session_block.local_platform.process.admin import Admin
from session_block.local_platform.process.discovery import (
    PlatformInfo,
    default_state_dir,
    environment,
    find,
    service_environment,
)
from session_block.local_platform.process.embedded import LocalPlatform
from session_block.local_platform.process.launcher import start, stop

if TYPE_CHECKING:
    from session_block.local_platform.config.layout import Layout, read_layout

__all__ = [
    "Admin",
    "Layout",
    "LocalPlatform",
    "PlatformError",
    "PlatformInfo",
    "Settings",
    "SettingsGiven",
    "default_state_dir",
    "environment",
    "find",
    "read_layout",
    "service_environment",
    "start",
    "stop",
]


def __getattr__(name: str) -> Any:
    """Load the layout on first use: few callers need it, and it imports pydantic."""
    if name in ("Layout", "read_layout"):
        from session_block.local_platform.config import layout

        return getattr(layout, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
