"""Run a sweep: many points, divided into jobs, resumable at each job.

A sweep runs circuits over a grid of parameter values, several times if wanted. Its points are
divided into jobs of bounded size, the chunks. Each chunk is requested under its own label, so that
a resumed run recognises it in any order and with any number of jobs in flight. What a label stands
for is checked, so the result of other points is never used. The plan that defines the chunks is
recorded before the first job, and a resumed run keeps it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Literal, get_args

from qiskit import QuantumCircuit
from qiskit.primitives.containers import PrimitiveResult
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.evaluations import values_told
from session_block.algorithms.sweep.plan import Axis, Chunk, ChunkLimits, SweepGrid, SweepPlan
from session_block.algorithms.sweep.report import (
    SweepChunk,
    SweepReport,
    SweepRow,
    SweepTable,
    checked_report,
    chunk_record,
    partial_sweep,
    plan_key,
    rows_of,
)
from session_block.algorithms.sweep.work import Grid, Named, SweepWork, plan_sweep
from session_block.errors import ExperimentDivergedError, InvalidInputError, JobFailedError
from session_block.experiments.experiment import Experiment
from session_block.experiments.job import DurableJob
from session_block.experiments.parted_job import PartedJob
from session_block.prefect_context import shown_as
from session_block.references import Implementation

__all__ = [
    "Axis",
    "ChunkLimits",
    "OnFailure",
    "SweepChunk",
    "SweepGrid",
    "SweepReport",
    "SweepRow",
    "SweepTable",
    "partial_sweep",
    "plan_sweep",
    "run_sweep",
]

OnFailure = Literal["stop", "skip"]
"""What to do when the job of a chunk has failed for good."""

OnChunk = Callable[[int, int, bool], None]
"""Takes a chunk's number, the number of chunks, and whether its result was recorded before."""

_logger = logging.getLogger(__name__)


def run_sweep(
    experiment: Experiment,
    circuits: Named[QuantumCircuit],
    grid: Grid,
    observables: Named[SparsePauliOp] | None = None,
    *,
    repetitions: int = 1,
    shots: int | None = None,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    limits: ChunkLimits | None = None,
    jobs_ahead: int = 2,
    on_failure: OnFailure = "stop",
    on_chunk: OnChunk | None = None,
) -> SweepReport:
    """Run circuits over a grid of parameter values, in jobs of bounded size.

    An interrupted run can resume at any chunk: finished chunks are answered from the ledger, and
    jobs in flight are found again. :func:`partial_sweep` reads the rows so far, also while the
    sweep runs. At the end the experiment is sealed with the report; a sealed experiment returns its
    report at once.

    Args:
        experiment: Submits and records the jobs.
        circuits: By name; each has exactly the grid's parameters. Without ``observables`` they must
            contain measurements.
        grid: The parameter values, in the circuits' units; a mapping gives the axes of a product,
            and the last axis varies fastest.
        observables: By name, on as many qubits as the circuits; ``None`` to take counts.
        repetitions: How often to run each point of each circuit.
        shots: Shots per point, for counts; ``None`` for the options' default.
        precision: Target standard error, for observables; ``None`` for the options' default.
        options: The client's own options for the primitive.
        implementation: ``v2`` or ``executor``, the client's two families of primitives; ``None``
            for the experiment's own.
        limits: How much goes into one job. A resumed run keeps its original limits.
        jobs_ahead: How many jobs may be in flight at once; a resumed run may change it.
        on_failure: ``stop`` raises when the job of a chunk has failed for good; ``skip`` leaves its
            rows out, and the report says why. A job that somebody cancelled, or that was refused,
            always stops the run.
        on_chunk: Called after each chunk, in order, with its number (from 1), the number of chunks,
            and whether its result was recorded before.

    Returns:
        The rows in order (repetitions, circuits, points; the last varies fastest), the chunks, and
        the run's experiment, sessions, jobs and usage.

    Raises:
        InvalidInputError: Circuits, grid, observables and options do not fit each other, one point
            alone is too large for a job, or the sweep is too large for a report; nothing was sent.
        ExperimentDivergedError: The experiment began as another sweep, which may be finished;
            nothing was sent.
        SubmissionError: A job went wrong; the next run continues there.

    Examples:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> rotation = QuantumCircuit(1)
        >>> rotation.rx(Parameter("theta"), 0)
        <...>
        >>> rotation.measure_all()
        >>> with block.experiment("rabi") as experiment:
        ...     isa_circuit = experiment.transpile(rotation)
        ...     angles = {"theta": [0.0, np.pi]}
        ...     report = run_sweep(experiment, {"rx": isa_circuit}, angles, shots=100)
        >>> [row.counts for row in report.rows]
        [{'0': 100}, {'1': 100}]
    """
    sealed = experiment.report()
    if sealed is not None:
        checked_report(sealed, experiment.identity)
    if jobs_ahead < 1:
        raise InvalidInputError(f"jobs_ahead is {jobs_ahead}; a sweep needs 1 or more.")
    if on_failure not in get_args(OnFailure):
        raise InvalidInputError(f"on_failure must be 'stop' or 'skip', not {on_failure!r}.")
    family = implementation or experiment.implementation
    work = SweepWork.of(circuits, observables, shots, precision, options, family)
    plan = _recorded(experiment, work.plan(grid, repetitions, limits, experiment.versions))
    if sealed is not None:
        return SweepReport.model_validate(sealed)
    experiment.progress(of=len(plan.chunks))
    submit = work.runner(experiment)
    collected = _Collected(plan, set(experiment.job_ids), on_failure, on_chunk)
    in_flight: deque[tuple[Chunk, DurableJob | PartedJob]] = deque()
    for chunk in plan.chunks:
        if len(in_flight) == jobs_ahead:
            collected.add(*in_flight.popleft())
        pubs = [work.pub(span, plan) for span in chunk.spans]
        in_flight.append((chunk, submit(pubs, chunk.label)))
    for chunk, job in in_flight:
        collected.add(chunk, job)
    report = SweepReport(
        rows=collected.rows,
        chunks=collected.chunks,
        run=experiment.run_facts(),
    )
    return SweepReport.model_validate(experiment.seal(report.model_dump()))


class _Collected:
    """Collects the results of chunks."""

    def __init__(
        self, plan: SweepPlan, recorded: set[str], on_failure: OnFailure, on_chunk: OnChunk | None
    ) -> None:
        self.rows: list[SweepRow] = []
        self.chunks: list[SweepChunk] = []
        self._plan = plan
        self._recorded = recorded
        self._on_failure = on_failure
        self._on_chunk = on_chunk

    def add(self, chunk: Chunk, job: DurableJob | PartedJob) -> None:
        """Wait for a chunk's job and add its rows."""
        total = len(self._plan.chunks)
        try:
            with shown_as(f"chunk {chunk.number} of {total}", lambda result: _told(chunk, result)):
                result = job.result()
        except JobFailedError as error:
            if self._on_failure == "stop":
                raise
            _logger.warning("Chunk %d of %d is left out: %s", chunk.number, total, error)
            self.chunks.append(chunk_record(chunk, "failed", job.job_id(), str(error)))
        else:
            self.rows.extend(rows_of(self._plan, chunk, result))
            self.chunks.append(chunk_record(chunk, "done", job.job_id()))
        if self._on_chunk is not None:
            self._on_chunk(chunk.number, total, job.job_id() in self._recorded)


def _told(chunk: Chunk, result: PrimitiveResult) -> str:
    data = [one.data for one in result]
    if not all("evs" in one for one in data):
        return f"counts of {chunk.points} points"
    pairs = [zip(one.evs.ravel(), one.stds.ravel(), strict=True) for one in data]
    return f"{values_told('expectation value', chain(*pairs))} at {chunk.points} points"


def _recorded(experiment: Experiment, plan: SweepPlan) -> SweepPlan:
    """Return the plan that the experiment began with; only its limits may differ from this one."""
    key = plan_key(experiment.chapter)
    recorded = SweepPlan.model_validate(experiment.once(key, plan.model_dump))
    if different := recorded.differences(plan):
        raise ExperimentDivergedError(
            f"Experiment {experiment.identity} began as a sweep with another value of: "
            f"{', '.join(different)}. Nothing was submitted. Restore the arguments, or start anew "
            "with fresh=True.",
            experiment=experiment.uid,
        )
    if recorded.limits != plan.limits:
        _logger.warning(
            "Experiment %s keeps the chunk limits it began with (%s).",
            experiment.identity,
            recorded.limits,
        )
    return recorded
