"""Flows of the tests that a worker runs from this file."""

from __future__ import annotations

from prefect import flow, suspend_flow_run
from qiskit import QuantumCircuit

from session_block.blocks.quantum_session import load_block


@flow
def suspended_between_two_jobs(block: str) -> str:
    """Run a job, be suspended until somebody resumes the run, and run another job."""
    with load_block(block).experiment() as experiment:
        for turns in (1, 2):
            circuit = QuantumCircuit(1)
            circuit.rz(0.1 * turns, 0)
            experiment.run_estimator([(circuit, "Z")])
            if turns == 1:
                suspend_flow_run(timeout=600, key="between")
        return experiment.uid
