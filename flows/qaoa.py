"""QAOA as a flow: schedule it, kill it, retry it; it continues in the same session."""

from typing import Annotated, Literal

from prefect import flow, get_run_logger
from pydantic import Field

from session_block.algorithms.ising import TUTORIAL, Ising, MaxCut
from session_block.algorithms.qaoa import QAOAEvaluation, QAOAReport, run_qaoa
from session_block.algorithms.qaoa_objective import Objective
from session_block.blocks.quantum_session import load_block
from session_block.flows.blocks import takes_block
from session_block.flows.opening import opened
from session_block.flows.parameters import (
    METHODS_OWN,
    Angles,
    BlockName,
    Count,
    ExperimentName,
    OptimizerName,
    OptimizerOptions,
    Options,
    Precision,
    Seed,
    Shots,
)
from session_block.operations.flow_runs import cancel_experiments
from session_block.references import Implementation

__all__ = ["Ising", "MaxCut", "QAOAReport", "qaoa", "run_qaoa"]


@takes_block
@flow(name="qaoa", on_cancellation=[cancel_experiments])
def qaoa(
    block: BlockName,
    problem: MaxCut | Ising = TUTORIAL,
    reps: Count = 1,
    objective: Objective = "estimator",
    alpha: Annotated[float, Field(gt=0, le=1)] = 1.0,
    optimizer: Annotated[OptimizerName, Field(title="Method")]
    | Annotated[None, Field(title="None: the initial point only")] = "COBYLA",
    optimizer_options: OptimizerOptions = METHODS_OWN,
    initial_point: Angles
    | Annotated[Literal["ramp", "random"], Field(title="Ramp or random")] = "ramp",
    seed: Seed = None,
    shots: Shots = None,
    precision: Precision = None,
    options: Options = None,
    final_shots: Shots = None,
    final_options: Options = None,
    implementation: Implementation | None = None,
    experiment: ExperimentName = None,
    fresh: bool = False,
    extend: bool = False,
) -> QAOAReport:
    """Find a large cut, or spins of low energy, in one session.

    A retry of this flow run, in any process, continues at the evaluation where it stopped.

    Args:
        block: Name of a QuantumSession Block.
        problem: Max-Cut, such as {"edges": [[0, 1], [1, 2, 0.5]]}, with or without weights, or an
            Ising energy, such as {"couplings": [[0, 1, -1.0]], "fields": [[0, 0.5]]}. Node i is
            qubit i. The default is the graph of IBM's tutorial.
        reps: The number p of layers.
        objective: estimator for the expectation value, sampler for a mean over samples.
        alpha: With the Sampler, the share of best samples to count (CVaR), above 0 and at most 1.
        optimizer: SPSA, differential-evolution, or a method of scipy.optimize.minimize. All points
            of a step are one job.
        optimizer_options: The method's own options. Give all except maxiter as JSON.
        initial_point: ramp, random (drawn once), or the 2p angles in radians: first all γ, then all
            β, in the convention of Farhi et al.
        seed: Seed for the random initial point and the optimiser.
        shots: Shots for each evaluation by the Sampler.
        precision: Target standard error of each evaluation by the Estimator.
        options: The client's own options for the objective's primitive.
        final_shots: Shots of the final sampling.
        final_options: The Sampler's options for the final sampling.
        implementation: v2 or executor, the client's two families of primitives; empty for the
            Block's.
        experiment: Name under which other flow runs can resume the experiment. By default each flow
            run has its own experiment, which its retries resume.
        fresh: Start the next experiment of that name.
        extend: If the experiment of that name is finished, go on with it: what is recorded is
            replayed, and more evaluations, as by a larger maxiter, are submitted.

    Returns:
        The best cut or spins, the angles, the samples and all evaluations.

    Examples:
        >>> report = qaoa(
        ...     "my-session",
        ...     problem={"edges": [[0, 1], [1, 2]]},
        ...     optimizer=None,
        ...     experiment="path-of-three",
        ... )
        >>> report.best_value
        2.0
    """
    logger = get_run_logger()

    def log(number: int, evaluation: QAOAEvaluation) -> None:
        logger.info("Evaluation %d: %.6f", number, evaluation.value)

    with opened(load_block(block), experiment, fresh=fresh, extend=extend) as durable:
        return run_qaoa(
            durable,
            problem,
            reps=reps,
            objective=objective,
            alpha=alpha,
            optimizer=optimizer,
            optimizer_options=optimizer_options.given(),
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
