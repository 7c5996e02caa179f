"""VQE as a flow: schedule it, kill it, retry it; it goes on in the same session."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.problems import parse_ansatz, parse_hamiltonian
from session_block.block import load_block
from session_block.references import Implementation
from session_block.vqe import Evaluation, VQEReport, run_vqe

__all__ = ["VQEReport", "run_vqe", "vqe"]


@flow(name="vqe")
def vqe(
    block: str,
    hamiltonian: list[tuple[str, float]] | str | None = None,
    ansatz: str | None = None,
    optimizer: str = "COBYLA",
    optimizer_options: dict[str, Any] | None = None,
    initial_point: list[float] | None = None,
    seed: int | None = None,
    precision: float | None = None,
    shots: int | None = None,
    options: dict[str, Any] | None = None,
    implementation: Implementation = "v2",
    experiment: str | None = None,
    fresh: bool = False,
) -> VQEReport:
    """Minimise a Hamiltonian's energy in one session.

    A retry of this flow run, by whatever process, goes on at the evaluation where it stopped.

    Args:
        block: Name of a ``QuantumSession`` Block.
        hamiltonian: Pairs of Pauli label (rightmost is qubit 0) and coefficient, or
            ``module:function``; ``None`` for H2 at 0.735 Å.
        ansatz: OpenQASM 3 with ``input`` parameters, or ``module:function``; ``None`` for
            ``real_amplitudes`` with one repetition.
        optimizer: A method of ``scipy.optimize.minimize``.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100}``.
        initial_point: One value for each parameter; drawn once when it is ``None``.
        seed: Seeds that draw.
        precision: Standard error that is aimed at for each evaluation.
        shots: Shots for each evaluation; takes the place of ``precision``.
        options: The Estimator's own options.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        experiment: Name by which other flow runs can resume it; ``None`` for this flow run's own.
        fresh: Start the next experiment of that name.

    Returns:
        The energy, its parameters and the whole trajectory.
    """
    logger = get_run_logger()

    def log(number: int, evaluation: Evaluation) -> None:
        logger.info("Evaluation %d: %.6f", number, evaluation.energy)

    observable = None if hamiltonian is None else parse_hamiltonian(hamiltonian)
    circuit = None if ansatz is None else parse_ansatz(ansatz)
    chosen = options if shots is None else {**(options or {}), "default_shots": shots}
    opened = load_block(block).experiment(experiment, fresh=fresh)
    with opened:
        if opened.sealed:
            logger.warning(
                "Experiment %s is finished: this is its report, and nothing was submitted. Use "
                "fresh=True for a new one.",
                opened.identity,
            )
        return run_vqe(
            opened,
            observable,
            circuit,
            optimizer=optimizer,
            optimizer_options=optimizer_options,
            initial_point=initial_point,
            seed=seed,
            precision=precision if shots is None else None,
            options=chosen,
            implementation=implementation,
            on_evaluation=log,
        )
