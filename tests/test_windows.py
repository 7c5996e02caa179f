"""What Windows does not have is not needed to import what runs there.

No Windows is at hand: a process is left without what it lacks, once the libraries are loaded.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.rest

ABSENT = """
import importlib, os, signal, sys
import filelock, prefect.server.api.server, psutil, qiskit_aer, qiskit_ibm_runtime, typer, uvicorn
import prefect.flow_engine, prefect.runner, prefect.workers.process
import qiskit_ibm_runtime.executor_estimator

for module in ("fcntl", "grp", "posix", "pwd", "pty", "resource", "termios", "tty"):
    sys.modules[module] = None
for name in ("fork", "register_at_fork", "getuid", "geteuid", "getpgid", "killpg", "uname"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM"):
    delattr(signal, name)
"""

IMPORT = """
from session_block import *
import session_block.cli, session_block.flows, session_block.tasks, session_block.cli.up
import pkgutil, session_block

for found in pkgutil.walk_packages(session_block.__path__, "session_block."):
    if not found.name.startswith(("session_block.local_platform", "session_block.__main__")):
        importlib.import_module(found.name)
print(len(sys.modules))
"""

SAYS = """
from session_block import local_platform
from session_block.errors import PlatformError

os.name = "nt"
try:
    local_platform.start()
except PlatformError as error:
    print(error)
"""


def _without_posix(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ABSENT + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_blocks_tasks_flows_and_commands_import() -> None:
    """Every module but those of the local platform."""
    assert int(_without_posix(IMPORT)) > 500


def test_the_local_platform_says_what_it_needs() -> None:
    """And what runs without it."""
    said = _without_posix(SAYS)
    assert "needs a POSIX system" in said
    assert "everything else runs here" in said
