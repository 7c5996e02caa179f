"""Other packages that run primitives in Prefect flows, each in its own environment.

The environments are made with pip, with the versions of this project's constraints, and reused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rig import CHECKOUT, BenchmarkError, Rig

_INSTALL_SECONDS = 900
_PROBE = "import sys, importlib.metadata as m; sys.exit(not m.version(sys.argv[1]))"


class PeerError(RuntimeError):
    """A peer could not be installed, or could not do the work; the message says why."""


@dataclass(frozen=True)
class Peer:
    """Another package.

    Attributes:
        name: Its name for pip.
        python: The Python of its environment.
    """

    name: str
    python: Path

    def run(self, rig: Rig, spec: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
        """Do the work in a flow, as in the package's own documentation.

        Raises:
            PeerError: The work failed.
        """
        program = (str(self.python), str(Path(__file__).with_name("peer_loops.py")))
        try:
            return rig.child(
                "peer_loops", self.name, spec=spec, environment=environment, program=program
            )
        except BenchmarkError as error:
            raise PeerError(str(error)) from error


PEERS = ("prefect-qiskit", "qcsc-prefect-qiskit")


def made_peers(missing: dict[str, str]) -> list[Peer]:
    """Return the peers that can be installed; put the reasons for the others into ``missing``."""
    peers = []
    for name in PEERS:
        try:
            peers.append(Peer(name, _environment(name)))
        except PeerError as error:
            missing[f"added/{name}"] = str(error)
    return peers


def _environment(name: str) -> Path:
    """Return the Python of a peer's environment; make the environment if necessary."""
    directory = CHECKOUT / ".venv" / f"peers-{name}"
    python = directory / "bin" / "python"
    if python.exists() and _run([str(python), "-c", _PROBE, name]).returncode == 0:
        return python
    # Use the base interpreter's pip: Debian's python3 cannot put pip into a new environment.
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    pip = [base, "-m", "pip", "--python", str(python), "install", "--quiet"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(directory)],
        [*pip, "--disable-pip-version-check", "-c", str(CHECKOUT / "constraints.txt"), name],
    ):
        done = _run(command)
        if done.returncode != 0:
            raise PeerError(f"{name} could not be installed: {done.stdout.strip()[-500:]}")
    return python


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
