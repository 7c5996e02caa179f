"""Finds where a VQE starts that goes on from an earlier one."""

from __future__ import annotations

from session_block.algorithms.vqe import VQEReport
from session_block.blocks.quantum_session import QuantumSession
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment


def found_by(block: QuantumSession, experiment: str) -> list[float]:
    """Return the best parameters of a finished VQE experiment in the Block's ledger.

    Raises:
        InvalidInputError: The ledger knows no such experiment, or it is not a finished VQE.
    """
    report = Experiment.load(experiment, block.ledger()).report()
    if report is None or "parameters" not in report:
        raise InvalidInputError(
            f"Experiment {experiment!r} is not a finished VQE, so it has no parameters to take."
        )
    return VQEReport.model_validate(report).parameters
