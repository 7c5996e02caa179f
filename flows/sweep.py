"""A sweep as a flow: a grid of points in jobs of bounded size, resumable at each job."""

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from session_block.algorithms.sweep.run import (
    ChunkLimits,
    OnFailure,
    SweepGrid,
    SweepReport,
    run_sweep,
)
from session_block.blocks.quantum_session import load_block
from session_block.flows.blocks import takes_block
from session_block.flows.opening import opened
from session_block.flows.parameters import (
    BlockName,
    Count,
    ExperimentName,
    Options,
    Precision,
    Shots,
    SweepCircuit,
    SweepObservable,
)
from session_block.flows.problems import parse_circuit, parse_hamiltonian
from session_block.operations.flow_runs import cancel_experiments
from session_block.references import Implementation

__all__ = ["SweepCircuit", "SweepObservable", "SweepReport", "run_sweep", "sweep"]


@takes_block
@flow(name="sweep", on_cancellation=[cancel_experiments])
def sweep(
    block: BlockName,
    circuits: list[SweepCircuit],
    grid: SweepGrid,
    observables: Annotated[list[SweepObservable], Field(title="Observables")]
    | Annotated[None, Field(title="Counts")] = None,
    repetitions: Count = 1,
    shots: Shots = None,
    precision: Precision = None,
    options: Options = None,
    implementation: Implementation | None = None,
    limits: ChunkLimits | Annotated[None, Field(title="Default")] = None,
    jobs_ahead: Count = 2,
    on_failure: OnFailure = "stop",
    experiment: ExperimentName = None,
    fresh: bool = False,
    extend: bool = False,
) -> SweepReport:
    """Run circuits over a grid of parameter values, in one session.

    A retry of this flow run, in any process, continues at the job where it stopped.
    ``session_block.partial_sweep`` reads the rows so far, also while it runs.

    Args:
        block: Name of a QuantumSession Block.
        circuits: The circuits; each has exactly the grid's parameters. Without observables they
            must contain measurements.
        grid: Axes, such as {"axes": [{"name": "theta", "values": [0.0, 0.1]}]}, whose product is
            run with the last axis varying fastest, or points, such as {"points": [{"theta": 0.0}]}.
            For circuits without parameters use an empty grid, {}.
        observables: The observables to estimate. By default counts are taken.
        repetitions: How often to run each point of each circuit.
        shots: Shots per point; with observables they replace precision.
        precision: Target standard error, for observables.
        options: The client's own options for the primitive.
        implementation: v2 or executor, the client's two families of primitives; empty for the
            Block's.
        limits: How much goes into one job. A resumed run keeps its original limits.
        jobs_ahead: How many jobs may be in flight at once.
        on_failure: stop, or skip to go on without the rows of a job that failed for good.
        experiment: Name under which other flow runs can resume the experiment. By default each flow
            run has its own experiment, which its retries resume.
        fresh: Start the next experiment of that name.
        extend: If the experiment of that name is finished, go on with it: with another grid,
            or more repetitions. What the same sweep has recorded is replayed.

    Returns:
        The rows in order, and the jobs that measured them.

    Examples:
        >>> rotation = '''
        ... OPENQASM 3.0;
        ... include "stdgates.inc";
        ... input float[64] theta;
        ... qubit[1] q;
        ... rx(theta) q[0];
        ... '''
        >>> report = sweep(
        ...     "my-session",
        ...     circuits=[{"name": "rx", "circuit": rotation}],
        ...     grid={"axes": [{"name": "theta", "values": [0.0, 3.14159]}]},
        ...     observables=[{"name": "Z", "observable": [("Z", 1.0)]}],
        ...     experiment="rabi-flow",
        ... )
        >>> [round(row.values["Z"], 3) for row in report.rows]
        [1.0, -1.0]
    """
    logger = get_run_logger()

    def log(number: int, total: int, replayed: bool) -> None:
        logger.info("Chunk %d of %d%s", number, total, ", recorded before" if replayed else "")

    parsed = [(one.name, parse_circuit(one)) for one in circuits]
    estimated = (
        None
        if observables is None
        else [(one.name, parse_hamiltonian(one.observable)) for one in observables]
    )
    if shots is not None and estimated is not None:
        options, shots, precision = {**(options or {}), "default_shots": shots}, None, None
    with opened(load_block(block), experiment, fresh=fresh, extend=extend) as durable:
        return run_sweep(
            durable,
            parsed,
            grid,
            estimated,
            repetitions=repetitions,
            shots=shots,
            precision=precision,
            options=options,
            implementation=implementation,
            limits=limits,
            jobs_ahead=jobs_ahead,
            on_failure=on_failure,
            on_chunk=log,
        )
