"""What a sweep found: a table of rows and chunks, whole or as far as the run has come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from session_block.errors import InvalidInputError
from session_block.ledger import Ledger, default_ledger_url
from session_block.pinning import record_once
from session_block.run_facts import RunFacts
from session_block.sweep_plan import Chunk, Span, SweepPlan
from session_block.views import load_experiment

if TYPE_CHECKING:
    from qiskit.primitives.containers import BitArray, PrimitiveResult

PLAN_KEY = "sweep/plan"
"""The key of ``experiment.once`` under which the plan is recorded."""

ChunkState = Literal["waiting", "submitted", "done", "failed"]


class SweepRow(BaseModel):
    """One point of one circuit in one repetition.

    Attributes:
        index: The row's place in the whole sweep, counted from 0.
        chunk: The chunk that ran it.
        circuit: The circuit's name.
        repetition: Counted from 1.
        parameters: The parameters' values.
        values: Expectation values by the observables' names; none where counts were taken.
        standard_errors: Their standard errors, as the Estimator gives them.
        counts: Shots by outcome, the most frequent first; several classical registers are joined,
            the first one leftmost. Lists up to 100,000 / rows outcomes.
        other_shots: Shots of outcomes that are not listed.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    chunk: int
    circuit: str
    repetition: int
    parameters: dict[str, float]
    values: dict[str, float] = {}
    standard_errors: dict[str, float] = {}
    counts: dict[str, int] = {}
    other_shots: int = 0


class SweepChunk(BaseModel):
    """One job of a sweep.

    Attributes:
        number: Counted from 1.
        label: The label of its request in the experiment.
        points: How many rows it has.
        state: ``done``; ``failed``, its job having failed for good; ``submitted`` or ``waiting``
            while the sweep runs.
        job_id: Its job; ``None`` while it has none.
        message: Why it failed.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    label: str
    points: int
    state: ChunkState
    job_id: str | None = None
    message: str | None = None


class SweepTable(BaseModel):
    """The rows that there are, and the chunks that make them.

    Attributes:
        rows: In the order of the sweep, without those whose chunk is not done.
        chunks: All chunks, in order.
    """

    model_config = ConfigDict(frozen=True)

    rows: list[SweepRow]
    chunks: list[SweepChunk]

    @property
    def done(self) -> int:
        """How many chunks have given their results."""
        return sum(chunk.state == "done" for chunk in self.chunks)

    @property
    def total(self) -> int:
        """How many chunks there are."""
        return len(self.chunks)


class SweepReport(SweepTable):
    """What a finished sweep found.

    Attributes:
        run: Experiment, sessions, jobs and usage.
    """

    run: RunFacts


def rows_of(plan: SweepPlan, chunk: Chunk, result: PrimitiveResult) -> Iterator[SweepRow]:
    """Yield the rows that a chunk's result gives, in order.

    Args:
        plan: The sweep.
        chunk: One of its chunks.
        result: One PUB result for each of the chunk's spans.
    """
    columns = plan.grid.parameters
    for span, pub_result in zip(chunk.spans, result, strict=True):
        before = (span.repetition - 1) * len(plan.circuits) + span.circuit
        for offset, measured in enumerate(_measured(plan, span, pub_result)):
            point = span.first + offset
            yield SweepRow(
                index=before * plan.grid.size + point,
                chunk=chunk.number,
                circuit=plan.circuits[span.circuit].name,
                repetition=span.repetition,
                parameters=dict(zip(columns, plan.grid.values[point].tolist(), strict=True)),
                **measured,
            )


def partial_sweep(
    experiment: str, ledger: Ledger | None = None, *, number: int | None = None
) -> SweepTable:
    """Return what the ledger holds of a sweep, from any process that can read the ledger.

    Touches no network and submits nothing, so it may be called while the sweep runs, as often as
    wanted. That a job failed is told by the platform alone: until the report says so, its chunk is
    ``submitted``.

    Args:
        experiment: The experiment's name, or its UID.
        ledger: Where to look; by default the embedded one, or ``SESSION_BLOCK_LEDGER_URL``.
        number: Which experiment of that name; by default the latest.

    Raises:
        InvalidInputError: The ledger knows no such experiment, or it is no sweep.
        LedgerError: The ledger cannot be read or trusted.
    """
    ledger = Ledger(default_ledger_url()) if ledger is None else ledger
    view = load_experiment(experiment, ledger, number=number)
    if (report := view.report) is not None:
        return read_report(SweepTable, report, str(view.identity))

    def none_recorded() -> Any:
        raise InvalidInputError(
            f"The ledger holds no sweep of experiment {view.identity}. If one was started, it has "
            "not come to its first job; look again later."
        )

    plan = SweepPlan.model_validate(record_once(ledger, view.uid, PLAN_KEY, none_recorded))
    results = {one.label: one.result for one in view.results()}
    jobs = {one["label"]: one["job_id"] for one in view.submissions()}
    chunks = [
        chunk_record(
            chunk,
            "done" if chunk.label in results else "submitted" if jobs.get(chunk.label) else "waiting",
            jobs.get(chunk.label),
        )
        for chunk in plan.chunks
    ]
    rows = [
        row
        for chunk in plan.chunks
        if chunk.label in results
        for row in rows_of(plan, chunk, results[chunk.label])
    ]
    return SweepTable(rows=rows, chunks=chunks)


def read_report[Table: SweepTable](kind: type[Table], report: Any, experiment: str) -> Table:
    ...
