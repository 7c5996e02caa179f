"""How the flows open their experiment."""

from __future__ import annotations

from prefect import get_run_logger

from session_block.blocks.quantum_session import QuantumSession
from session_block.experiments.experiment import Experiment


def opened(block: QuantumSession, experiment: str | None, *, fresh: bool) -> Experiment:
    """Open an experiment, and say so in the run's log if it is finished."""
    found = block.experiment(experiment, fresh=fresh)
    if found.sealed:
        get_run_logger().warning(
            "Experiment %s is finished: this is its report, and nothing was submitted. Use "
            "fresh=True for a new one.",
            found.identity,
        )
    return found
