"""VQE as a flow: schedule it, kill it, retry it; it goes on in the same session."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from flows.opening import opened
from flows.problems import parse_ansatz, parse_hamiltonian
from session_block.block import QuantumSession, load_block
from session_block.errors import InvalidInputError
from session_block.experiment import Experiment
from session_block.lifecycle import cancel_experiments
from session_block.optimizers import Gradient
from session_block.references import Implementation
from session_block.vqe import Evaluation, VQEReport, run_vqe

__all__ = ["VQEReport", "run_vqe", "vqe"]


@flow(name="vqe", on_cancellation=[cancel_experiments])
def vqe(
    block: str,
    hamiltonian: list[tuple[str, float]] | str | None = None,
    ansatz: str | None = None,
    optimizer: str = "COBYLA",
    optimizer_options: dict[str, Any] | None = None,
    gradient: Gradient = "parameter-shift",
    initial_point: list[float] | None = None,
    warm_start: str | None = None,
    restarts: int = 1,
    seed: int | None = None,
    precision: float | None = None,
    shots: int | None = None,
    resilience_level: int | None = None,
    options: dict[str, Any] | None = None,
    implementation: Implementation = "v2",
    experiment: str | None = None,
    fresh: bool = False,
) -> VQEReport:
    """Minimise a Hamiltonian's energy in one session.

    A retry of this flow run, by whatever process, goes on at the evaluation where it stopped.

    Args:
        block: Name of a ``QuantumSession`` Block.
        hamiltonian: Pairs of Pauli label (rightmost is qubit 0) and coefficient, a name (``H2``,
            ``ibm-tutorial``, ``ising-N``, ``heisenberg-N``), or ``module:function``; ``None`` for
            H2 at 0.735 Å.
        ansatz: OpenQASM 3 with ``input`` parameters, or ``module:function``; ``None`` for
            ``real_amplitudes`` with one repetition.
        optimizer: ``SPSA``, ``differential-evolution``, or a method of
            ``scipy.optimize.minimize``. All points of a step are one job.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100}``.
        gradient: ``parameter-shift`` or ``finite-difference``, for methods that take a gradient.
        initial_point: One value for each parameter; drawn once when it is ``None``.
        warm_start: Name of a finished VQE experiment, whose parameters are the initial point.
        restarts: How many optimisations; the best one counts.
        seed: Seeds that draw.
        precision: Standard error that is aimed at for each evaluation.
        shots: Shots for each evaluation; takes the place of ``precision``.
        resilience_level: The Estimator's level of error mitigation, 0 to 2.
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
    chosen = dict(options or {})
    if shots is not None:
        chosen["default_shots"] = shots
    if resilience_level is not None:
        chosen["resilience_level"] = resilience_level
    loaded = load_block(block)
    if warm_start is not None:
        initial_point = found_by(loaded, warm_start)
    with opened(loaded, experiment, fresh=fresh) as durable:
        return run_vqe(
            durable,
            observable,
            circuit,
            optimizer=optimizer,
            optimizer_options=optimizer_options,
            gradient=gradient,
            initial_point=initial_point,
            restarts=restarts,
            seed=seed,
            precision=precision if shots is None else None,
            options=chosen or None,
            implementation=implementation,
            on_evaluation=log,
        )


def found_by(block: QuantumSession, experiment: str) -> list[float]:
    """Return the parameters that a finished VQE experiment of the Block's ledger found.

    Raises:
        InvalidInputError: The ledger knows none of that name, or it is not finished.
    """
    report = Experiment.load(experiment, block.ledger()).report()
    if report is None or "parameters" not in report:
        raise InvalidInputError(
            f"Experiment {experiment!r} is no finished VQE, so it has no parameters to begin with."
        )
    return VQEReport.model_validate(report).parameters
