"""VQE as a flow: schedule it, kill it, retry it; it continues in the same session."""

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from session_block.algorithms.optimizers import Gradient
from session_block.algorithms.vqe import Evaluation, VQEReport, run_vqe
from session_block.blocks.quantum_session import load_block
from session_block.flows.blocks import takes_block
from session_block.flows.opening import opened
from session_block.flows.parameters import (
    METHODS_OWN,
    Angles,
    BlockName,
    ClientDefault,
    Count,
    ExperimentName,
    Name,
    OptimizerName,
    OptimizerOptions,
    Options,
    Precision,
    Seed,
    Shots,
    Terms,
    Text,
)
from session_block.flows.problems import parse_ansatz, parse_hamiltonian
from session_block.flows.warm_start import found_by
from session_block.operations.flow_runs import cancel_experiments
from session_block.references import Implementation

__all__ = ["VQEReport", "run_vqe", "vqe"]


@takes_block
@flow(name="vqe", on_cancellation=[cancel_experiments])
def vqe(
    block: BlockName,
    hamiltonian: Annotated[Text, Field(title="Name or function")] | Terms = "H2",
    ansatz: Annotated[Text, Field(title="OpenQASM 3 or function")]
    | Annotated[None, Field(title="real_amplitudes")] = None,
    optimizer: OptimizerName = "COBYLA",
    optimizer_options: OptimizerOptions = METHODS_OWN,
    gradient: Gradient = "parameter-shift",
    initial_point: Angles | Annotated[None, Field(title="Drawn")] = None,
    warm_start: Name | Annotated[None, Field(title="No")] = None,
    restarts: Count = 1,
    seed: Seed = None,
    precision: Precision = None,
    shots: Shots = None,
    resilience_level: Annotated[int, Field(ge=0, le=2, title="Level")] | ClientDefault = None,
    options: Options = None,
    implementation: Implementation | None = None,
    experiment: ExperimentName = None,
    fresh: bool = False,
    extend: bool = False,
) -> VQEReport:
    """Minimise a Hamiltonian's energy in one session.

    A retry of this flow run, in any process, continues at the evaluation where it stopped.

    Args:
        block: Name of a QuantumSession Block.
        hamiltonian: H2 (at 0.735 Å), ibm-tutorial, ising-N or heisenberg-N for a chain of N sites,
            or module:function for a function that returns a SparsePauliOp. Or pairs of a Pauli
            label (rightmost letter is qubit 0) and a coefficient.
        ansatz: OpenQASM 3 whose input variables are the parameters, or module:function for a
            function that returns a QuantumCircuit. By default real_amplitudes with one repetition.
        optimizer: SPSA, differential-evolution, or a method of scipy.optimize.minimize. All points
            of a step are one job.
        optimizer_options: The method's own options. Give all except maxiter as JSON.
        gradient: How gradients are computed, for methods that use one: parameter-shift, exact if
            each parameter is the full angle of one Pauli rotation, or finite-difference.
        initial_point: One value per parameter of the ansatz, in radians. By default it is drawn
            once.
        warm_start: Name of a finished VQE experiment; its parameters are the initial point.
        restarts: The number of optimisations; the best one counts.
        seed: Seed for the random initial points and the optimiser.
        precision: Target standard error of each evaluation.
        shots: Shots for each evaluation; they replace precision.
        resilience_level: The Estimator's level of error mitigation, 0 to 2.
        options: The Estimator's own options, such as {"dynamical_decoupling": {"enable": true}}.
        implementation: v2 or executor, the client's two families of primitives; empty for the
            Block's.
        experiment: Name under which other flow runs can resume the experiment. By default each flow
            run has its own experiment, which its retries resume.
        fresh: Start the next experiment of that name.
        extend: If the experiment of that name is finished, go on with it: what is recorded is
            replayed, and more evaluations, as by a larger maxiter, are submitted.

    Returns:
        The energy, its parameters and all evaluations.

    Examples:
        >>> report = vqe(
        ...     "my-session",
        ...     hamiltonian=[("ZZ", 1.0), ("XI", 0.5), ("IX", 0.5)],
        ...     optimizer_options={"maxiter": 6},
        ...     seed=1,
        ...     experiment="two-spins",
        ... )
        >>> len(report.evaluations)
        6
    """
    logger = get_run_logger()

    def log(number: int, evaluation: Evaluation) -> None:
        logger.info("Evaluation %d: %.6f", number, evaluation.energy)

    observable = parse_hamiltonian(hamiltonian)
    circuit = None if ansatz is None else parse_ansatz(ansatz)
    chosen = dict(options or {})
    if shots is not None:
        chosen["default_shots"] = shots
    if resilience_level is not None:
        chosen["resilience_level"] = resilience_level
    loaded = load_block(block)
    if warm_start is not None:
        initial_point = found_by(loaded, warm_start)
    with opened(loaded, experiment, fresh=fresh, extend=extend) as durable:
        return run_vqe(
            durable,
            observable,
            circuit,
            optimizer=optimizer,
            optimizer_options=optimizer_options.given(),
            gradient=gradient,
            initial_point=initial_point,
            restarts=restarts,
            seed=seed,
            precision=precision if shots is None else None,
            options=chosen or None,
            implementation=implementation,
            on_evaluation=log,
        )
