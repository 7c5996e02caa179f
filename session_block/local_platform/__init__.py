"""An IBM Quantum platform on this machine, which the unmodified client takes for the real one.

It listens on the loopback interface only, runs circuits on Qiskit Aer, and keeps its state in a
directory, so that killing it at any moment loses no accepted job and no session.
"""

from session_block.local_platform.process import (
    PlatformInfo,
    default_state_dir,
    environment,
    find,
    service_environment,
    start,
    stop,
)
from session_block.local_platform.state import PlatformError

__all__ = [
    "PlatformError",
    "PlatformInfo",
    "default_state_dir",
    "environment",
    "find",
    "service_environment",
    "start",
    "stop",
]
