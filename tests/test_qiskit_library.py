"""Qiskit may be imported first in a thread: by an async twin, by a task, by the user's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os, sys, threading

def run(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

def first():
    import session_block
    import qiskit

def use(circuit):
    for _ in range(5):
        run(lambda: [list(map(hash, register)) for register in circuit.cregs])

if sys.argv[1] == "in main":
    import session_block
run(first)
from qiskit import QuantumCircuit
circuit = QuantumCircuit(1)
circuit.measure_all()
use(circuit)
if sys.argv[1] == "in main":
    child = os.fork()
    if not child:
        use(circuit)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the forked child"
print("used")
"""


@pytest.mark.parametrize("imported", ["in main", "in a thread"])
def test_circuits_are_used_in_threads_although_qiskit_was_imported_in_one(imported: str) -> None:
    """The thread is over then, and a new one in its place crashed the process."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, imported], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "used\n"), done.stderr[-2000:]
