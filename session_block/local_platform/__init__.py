"""An IBM Quantum platform on this machine, which the unmodified client takes for the real one.

It listens on the loopback interface, runs circuits on Qiskit Aer, and keeps its state in a
directory, so that killing it at any moment loses no accepted job and no session.

Its users need what this module exports. Of the modules, :mod:`.process` starts the server, which
is :mod:`.server`, :mod:`.running` finds it, and :mod:`.platform` is what it serves: jobs and
sessions in a :mod:`.store`, which an :mod:`.engine` moves on at the moments that a :mod:`.clock`
shows. :mod:`.api` answers requests, :mod:`.execution` runs circuits on :mod:`.devices`, and
:mod:`.faults` disturbs it all.
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
    """Load what few need, and what takes pydantic, only when it is asked for."""
    if name in ("Layout", "read_layout"):
        from session_block.local_platform.config import layout

        return getattr(layout, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
