"""QAOA as a flow: schedule it, kill it, retry it; it goes on in the same session."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, get_run_logger

from flows.opening import opened
from session_block.block import load_block
from session_block.ising import TUTORIAL, Ising, MaxCut
from session_block.lifecycle import cancel_experiments
from session_block.qaoa import QAOAEvaluation, QAOAReport, run_qaoa
from session_block.qaoa_objective import Objective
from session_block.references import Implementation

__all__ = ["Ising", "MaxCut", "QAOAReport", "qaoa", "run_qaoa"]


@flow(name="qaoa", on_cancellation=[cancel_experiments])
def qaoa(
    block: str,
    problem: MaxCut | Ising = TUTORIAL,
    reps: int = 1,
    objective: Objective = "estimator",
    alpha: float = 1.0,
    optimizer: str | None = "COBYLA",
    optimizer_options: dict[str, Any] | None = None,
    initial_point: list[float] | Literal["ramp", "random"] = "ramp",
    seed: int | None = None,
    shots: int | None = None,
    precision: float | None = None,
    options: dict[str, Any] | None = None,
    final_shots: int | None = None,
    final_options: dict[str, Any] | None = None,
    implementation: Implementation = "v2",
    experiment: str | None = None,
    fresh: bool = False,
) -> QAOAReport:
    """Find a large cut, or spins of low energy, in one session.

    A retry of this flow run, by whatever process, goes on at the evaluation where it stopped.

    Args:
        block: Name of a ``QuantumSession`` Block.
        problem: ``{"edges": [[0, 1], [1, 2, 0.5]]}`` for Max-Cut, with weights or without, or
            ``{"couplings": [[0, 1, -1.0]], "fields": [[0, 0.5]], "offset": 0.0}`` for an Ising
            energy. Node i is qubit i. By default the graph of IBM's tutorial.
        reps: The number p of layers.
        objective: ``estimator`` for the expectation value, ``sampler`` for a mean over samples.
        alpha: With the Sampler, the share of best samples that count (CVaR).
        optimizer: ``SPSA``, ``differential-evolution``, or a method of
            ``scipy.optimize.minimize``. ``None`` evaluates the initial point only.
        optimizer_options: Its ``options``, such as ``{"maxiter": 100}``.
        initial_point: ``ramp``, ``random`` (drawn once), or the 2p angles, first all γ and then all
            β, in the convention of Farhi et al.
        seed: Seeds that draw and the optimiser's own.
        shots: Shots for each evaluation by the Sampler.
        precision: Standard error that is aimed at for each evaluation by the Estimator.
        options: The client's own options for the objective's primitive.
        final_shots: Shots of the final sampling.
        final_options: The Sampler's options for it.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
        experiment: Name by which other flow runs can resume it; ``None`` for this flow run's own.
        fresh: Start the next experiment of that name.

    Returns:
        The best cut or spins, the angles, the samples and the whole trajectory.
    """
    logger = get_run_logger()

    def log(number: int, evaluation: QAOAEvaluation) -> None:
        logger.info("Evaluation %d: %.6f", number, evaluation.value)

    with opened(load_block(block), experiment, fresh=fresh) as durable:
        return run_qaoa(
            durable,
            problem,
            reps=reps,
            objective=objective,
            alpha=alpha,
            optimizer=optimizer,
            optimizer_options=optimizer_options,
            initial_point=initial_point,
            seed=seed,
            shots=shots,
            precision=precision,
            options=options,
            final_shots=final_shots,
            final_options=final_options,
            implementation=implementation,
            on_evaluation=log,
        )
