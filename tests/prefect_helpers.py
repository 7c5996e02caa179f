"""What the tests on a real Prefect server share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psutil
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from qiskit import QuantumCircuit

CHECKOUT = Path(__file__).parents[1]

T = TypeVar("T")


def flipped() -> QuantumCircuit:
    """Return a measured ISA circuit that always gives 1."""
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def rotated(turns: int) -> QuantumCircuit:
    """Return an ISA circuit without measurement, another one for each number of turns."""
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    circuit.rz(0.1 * turns, 0)
    circuit.sx(0)
    return circuit


def eventually(condition: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """Return the first true value of ``condition()``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"Waited {seconds:g} s in vain: {what}")


def api_environment(**more: str) -> dict[str, str]:
    """Return the environment of a subprocess that uses the tests' Prefect server."""
    return {**os.environ, "PREFECT_API_URL": str(get_current_settings().api.url), **more}


def prefect_cli(*arguments: str, cwd: Path = CHECKOUT, **environment: str) -> str:
    """Run ``prefect`` and return what it says; it must succeed."""
    return _said_by("-m", "prefect", *arguments, cwd=cwd, COLUMNS="200", **environment)


def run_python(script: str, *arguments: str, stdin: str = "") -> str:
    """Run a script in a fresh Python process and return what it prints."""
    return _said_by("-c", script, *arguments, stdin=stdin)


def _said_by(*arguments: str, cwd: Path = CHECKOUT, stdin: str = "", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=api_environment(**environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def stop_group(process: subprocess.Popen[bytes], *, patience: float) -> None:
    """End a process that leads its own group, and all that is left of the group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


@contextmanager
def flow_process(
    *arguments: str, script: str = "own_process.py"
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a script of ``tests/prefect`` with these arguments; give its process, and the run's ID.

    None of its processes outlives the block.
    """
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "tests/prefect" / script), *arguments],
        env=api_environment(PYTHONPATH=f"{CHECKOUT}:{CHECKOUT / 'tests'}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().decode().strip()
    finally:
        stop_group(process, patience=10)
        process.stdin.close()
        process.stdout.close()


@contextmanager
def working(directory: Path) -> Iterator[psutil.Process]:
    """Start a worker; none of its processes outlives the block."""
    log = (directory / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "quantum"],
        cwd=CHECKOUT.parent,
        env=api_environment(PREFECT_WORKER_QUERY_SECONDS="1"),
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    running = psutil.Process(process.pid)
    try:
        yield running
    finally:
        left = running.children(recursive=True) if running.is_running() else []
        stop_group(process, patience=10)
        for child in left:
            if child.is_running():
                child.kill()
        psutil.wait_procs(left, timeout=10)
        log.close()


def flow_run(run_id: UUID) -> FlowRun:
    """Return a flow run as the server has it now."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def in_state(run_id: UUID, name: str) -> Callable[[], bool]:
    """Return a function that says whether a flow run is in the state of this name."""

    def reached() -> bool:
        state = flow_run(run_id).state
        return state is not None and state.name == name

    return reached
