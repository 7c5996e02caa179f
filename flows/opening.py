"""Opens the experiment of a flow."""

from __future__ import annotations

from prefect import get_run_logger

from session_block.blocks.quantum_session import QuantumSession
from session_block.experiments.experiment import Experiment


def opened(
    block: QuantumSession, experiment: str | None, *, fresh: bool, extend: bool
) -> Experiment:
    """Open an experiment; if it is finished, log a warning in the flow run."""
    found = block.experiment(experiment, fresh=fresh, extend=extend)
    if found.sealed:
        get_run_logger().warning(
            "Experiment %s is finished: this is its report, and nothing was submitted. Use "
            "extend=True to go on with it, or fresh=True to start a new one.",
            found.identity,
        )
    return found
