"""A long experiment of many points: dealt out to jobs, resumable at each of them.

A sweep runs circuits over a grid of parameter values, several times if wanted. Its points are dealt
out to jobs of bounded size, the chunks. Each chunk is asked for under a label of its own, so it is
recognised whatever the order in which a resumed run asks, and however many jobs it keeps in flight;
what a label stands for is checked, so a result is never taken for that of other points. The plan
from which the chunks follow is recorded before the first job, and a resumed run keeps it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, get_args

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.sweep.plan import Axis, Chunk, ChunkLimits, SweepGrid, SweepPlan
from session_block.algorithms.sweep.report import (
    PLAN_KEY,
    SweepChunk,
    SweepReport,
    SweepRow,
    SweepTable,
    checked_report,
    chunk_record,
    partial_sweep,
    rows_of,
)
from session_block.algorithms.sweep.work import Grid, Named, SweepWork, plan_sweep
from session_block.errors import ExperimentDivergedError, InvalidInputError, JobFailedError
from session_block.experiments.experiment import Experiment
from session_block.experiments.job import DurableJob
from session_block.experiments.report import run_facts
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
"""What a sweep does when the job of a chunk has failed for good."""

OnChunk = Callable[[int, int, bool], None]
"""Takes a chunk's number, how many there are, and whether its result had been recorded before."""

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
    implementation: Implementation = "v2",
    limits: ChunkLimits | None = None,
    jobs_ahead: int = 2,
    on_failure: OnFailure = "stop",
    on_chunk: OnChunk | None = None,
) -> SweepReport:
    """Run circuits over a grid of parameter values, in jobs of bounded size.

    An interrupted run goes on at any chunk: finished ones are answered from the ledger, jobs in
    flight are found again. :func:`partial_sweep` reads the rows that there are, also while it runs.
    The experiment is sealed with the report; a sealed one returns it at once.

    Args:
        experiment: Where jobs are submitted and recorded.
        circuits: By name; all have just the grid's parameters. Without ``observables`` they are
            measured.
        grid: The parameter values, in the circuits' units; a mapping gives the axes of a product,
            of which the last varies fastest.
        observables: By name, on as many qubits as the circuits; ``None`` to take counts.
        repetitions: How often each point of each circuit is run.
        shots: Shots of each point, for counts; ``None`` for the options' default.
        precision: Standard error that is aimed at, for observables; ``None`` for the options'
            default.
        options: The client's own options for the primitive.
        implementation: Which family of the client's primitives to use.
        limits: How much goes into one job. A resumed run keeps those with which it began.
        jobs_ahead: How many jobs may be in flight at once; each run may have another number.
        on_failure: ``stop`` raises when the job of a chunk has failed for good; ``skip`` leaves its
            rows out, and the report says why. A job that somebody cancelled, or that was refused,
            always stops the run.
        on_chunk: Called after each chunk, in order, with its number, counted from 1, how many there
            are, and whether its result had been recorded before.

    Returns:
        The rows in order (repetitions, circuits, points; the last varies fastest), the chunks, and
        what tells where they come from.

    Raises:
        InvalidInputError: Circuits, grid, observables and options do not fit each other, one point
            alone is too large for a job, or the whole is too large for a report; nothing was sent.
        ExperimentDivergedError: The experiment began as another sweep; nothing was sent.
        SubmissionError: A job went wrong; running again goes on there.
    """
    if (sealed := experiment.report()) is not None:
        return SweepReport.model_validate(checked_report(sealed, experiment.identity))
    if jobs_ahead < 1:
        raise InvalidInputError(f"jobs_ahead is {jobs_ahead}; a sweep needs 1 or more.")
    if on_failure not in get_args(OnFailure):
        raise InvalidInputError(f"on_failure must be 'stop' or 'skip', not {on_failure!r}.")
    work = SweepWork.of(circuits, observables, shots, precision, options, implementation)
    plan = _recorded(experiment, work.plan(grid, repetitions, limits, experiment.versions))
    experiment.progress(of=len(plan.chunks))
    submit = work.runner(experiment)
    collected = _Collected(plan, set(experiment.job_ids), on_failure, on_chunk)
    in_flight: deque[tuple[Chunk, DurableJob]] = deque()
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
        run=run_facts(experiment, experiment.usage_seconds()),
    )
    return SweepReport.model_validate(experiment.seal(report.model_dump()))


class _Collected:
    """The results of chunks, as they are waited for."""

    def __init__(
        self, plan: SweepPlan, recorded: set[str], on_failure: OnFailure, on_chunk: OnChunk | None
    ) -> None:
        self.rows: list[SweepRow] = []
        self.chunks: list[SweepChunk] = []
        self._plan = plan
        self._recorded = recorded
        self._on_failure = on_failure
        self._on_chunk = on_chunk

    def add(self, chunk: Chunk, job: DurableJob) -> None:
        """Wait for a chunk's job, and take what it gives."""
        total = len(self._plan.chunks)
        try:
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


def _recorded(experiment: Experiment, plan: SweepPlan) -> SweepPlan:
    """Return the plan with which the experiment began; it must be this one but for the limits."""
    recorded = SweepPlan.model_validate(experiment.once(PLAN_KEY, plan.model_dump))
    if different := recorded.differences(plan):
        raise ExperimentDivergedError(
            f"Experiment {experiment.identity} began as a sweep with another value of: "
            f"{', '.join(different)}. Nothing was submitted. Restore the arguments, or start anew "
            "with fresh=True.",
            experiment=experiment.uid,
        )
    if recorded.limits != plan.limits:
        _logger.warning(
            "Experiment %s keeps the limits of its chunks with which it began (%s).",
            experiment.identity,
            recorded.limits,
        )
    return recorded
