"""The result of a sweep: a table of rows and chunks, complete or as far as the run has got."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from session_block.algorithms.sweep.plan import Chunk, Span, SweepPlan
from session_block.display import html
from session_block.display.figures import Line
from session_block.display.frames import pandas
from session_block.errors import InvalidInputError
from session_block.experiments.report import RunFacts
from session_block.ledger.store import Ledger
from session_block.ledger.urls import default_ledger_url
from session_block.pubs.fingerprint import fingerprint_label, submission_id
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import Draw
from session_block.records.notebook import run_rows
from session_block.records.views import load_experiment

if TYPE_CHECKING:
    import pandas as pd
    from qiskit.primitives.containers import PrimitiveResult, PubResult

_PLAN_KEY = "sweep/plan"

_LINES = 6
"""So many lines are drawn in one figure."""

ChunkState = Literal["waiting", "submitted", "done", "failed"]


class SweepRow(BaseModel):
    """One point of one circuit in one repetition.

    Attributes:
        index: The row's place in the whole sweep, counted from 0.
        chunk: The chunk that ran it.
        circuit: The circuit's name.
        repetition: Counted from 1.
        parameters: The parameters' values.
        values: Expectation values by observable name; empty if counts were taken.
        standard_errors: Their standard errors, as the Estimator gives them.
        counts: Shots by outcome; several classical registers are joined, the first one rightmost.
            Only the most frequent outcomes, up to 100,000 / rows of the sweep.
        other_shots: Shots of the outcomes left out.

    Examples:
        >>> with block.experiment("bell-sweep") as experiment:
        ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
        >>> row = report.rows[0]
        >>> row.circuit, sorted(row.counts), sum(row.counts.values())
        ('bell', ['00', '11'], 1000)
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
        state: ``done``; ``failed`` if its job failed for good; ``submitted`` or ``waiting`` while
            the sweep runs.
        job_id: Its job; ``None`` while it has none.
        message: Why it failed.

    Examples:
        >>> with block.experiment("bell-sweep") as experiment:
        ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
        >>> [(chunk.number, chunk.points, chunk.state) for chunk in report.chunks]
        [(1, 3, 'done')]
    """

    model_config = ConfigDict(frozen=True)

    number: int
    label: str
    points: int
    state: ChunkState
    job_id: str | None = None
    message: str | None = None


class SweepTable(BaseModel):
    """The rows available so far, and all chunks.

    Attributes:
        rows: In sweep order, only from chunks that are done.
        chunks: All chunks, in order.

    Examples:
        >>> with block.experiment("bell-sweep") as experiment:
        ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
        >>> table = partial_sweep("bell-sweep")
        >>> f"{table.done} of {table.total} jobs, {len(table.rows)} rows"
        '1 of 1 jobs, 3 rows'
    """

    model_config = ConfigDict(frozen=True)

    rows: list[SweepRow]
    chunks: list[SweepChunk]

    @property
    def done(self) -> int:
        """The number of chunks with a result.

        Examples:
            >>> with block.experiment("bell-sweep") as experiment:
            ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
            >>> report.done
            1
        """
        return sum(chunk.state == "done" for chunk in self.chunks)

    @property
    def total(self) -> int:
        """The number of chunks.

        Examples:
            >>> with block.experiment("bell-sweep") as experiment:
            ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
            >>> report.total
            1
        """
        return len(self.chunks)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with a row for each point; needs the extra ``analysis``.

        The index is the row's place in the whole sweep, counted from 0; places of chunks that are
        not done are left out. The columns are ``circuit``, ``repetition``, ``chunk``, ``job_id``,
        and then ``parameters.NAME`` for each parameter, angles in radians. For each observable
        follow ``values.NAME`` in its unit and ``standard_errors.NAME``. If counts were taken,
        ``counts`` are the shots by outcome, most frequent first, and ``other_shots`` those of the
        outcomes left out.

        Raises:
            InvalidInputError: pandas is not installed.

        Examples:
            >>> with block.experiment("bell-sweep") as experiment:
            ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
            >>> frame = report.to_dataframe()
            >>> list(frame["repetition"]), sum(frame["counts"].iloc[0].values())
            ([1, 2, 3], 1000)
        """
        jobs = {one.number: one.job_id for one in self.chunks}
        rows = [_as_columns(one, jobs.get(one.chunk)) for one in self.rows]
        frame: pd.DataFrame = pandas().DataFrame(rows)
        if not rows:
            return frame
        frame.index = pandas().Index([one.index for one in self.rows], name="index")
        return frame

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a figure if it has one parameter, and the first rows."""
        return self._page("Sweep", [])

    def _page(self, title: str, about: Iterable[tuple[str, Any]]) -> str:
        failed = [one for one in self.chunks if one.state == "failed"]
        shown = [_as_columns(one, None) for one in self.rows[: html.ROWS]]
        names = [name for name in (shown[0] if shown else {}) if name not in ("chunk", "job_id")]
        return html.page(
            title,
            html.pairs(
                [
                    ("rows", f"{len(self.rows)} of {sum(one.points for one in self.chunks)}"),
                    ("chunks", f"{self.done} of {self.total} done"),
                    ("failed chunks", len(failed) or None),
                    *about,
                ]
            ),
            _figure(self.rows),
            html.table(
                "First rows",
                ["index", *names],
                [
                    [row.index, *(cells[name] for name in names)]
                    for row, cells in zip(self.rows, shown, strict=False)
                ],
                of=len(self.rows),
            ),
            html.table(
                "Failed chunks",
                ["chunk", "job", "message"],
                [[one.number, one.job_id, one.message] for one in failed[: html.ROWS]],
                of=len(failed),
            ),
        )


class SweepReport(SweepTable):
    """The result of a finished sweep.

    Attributes:
        run: Experiment, sessions, jobs and usage.

    Examples:
        >>> from qiskit.quantum_info import SparsePauliOp
        >>> angles = {"θ[0]": [0.0, np.pi], "θ[1]": [0.0], "θ[2]": [0.0], "θ[3]": [0.0]}
        >>> zz = {"zz": SparsePauliOp("ZZ").apply_layout(ansatz.layout)}
        >>> with block.experiment("zz-sweep") as experiment:
        ...     report = run_sweep(experiment, {"ansatz": ansatz}, angles, zz)
        >>> [row.parameters["θ[0]"] for row in report.rows]
        [0.0, 3.14...]
        >>> [round(row.values["zz"]) for row in report.rows]
        [1, 1]
    """

    run: RunFacts

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a figure if it has one parameter, and the first rows."""
        about = run_rows(self.run.model_dump(mode="json"))
        return self._page(f"Sweep {self.run.experiment!r}", about)


def plan_key(chapter: int) -> str:
    """Return the key of ``experiment.once`` under which a chapter's plan is recorded."""
    return _PLAN_KEY if chapter == 1 else f"{_PLAN_KEY}/{chapter}"


def rows_of(plan: SweepPlan, chunk: Chunk, result: PrimitiveResult) -> Iterator[SweepRow]:
    """Yield the rows of a chunk's result, in order.

    Args:
        plan: The sweep.
        chunk: One of its chunks.
        result: One PUB result per span of the chunk.
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
    """Return the part of a sweep that the ledger holds; works in any process that can read it.

    Uses no network and submits nothing, so it can be called at any time while the sweep runs. The
    ledger does not know that a job failed: its chunk is ``submitted`` until the final report.

    Args:
        experiment: The experiment's name, or its UID.
        ledger: The ledger to read; by default the embedded one, or ``SESSION_BLOCK_LEDGER_URL``.
        number: The number of the experiment of that name; by default the latest.

    Raises:
        InvalidInputError: The ledger knows no such experiment, or it is no sweep.
        LedgerError: The ledger cannot be read or trusted.

    Examples:
        While it runs, from any other process:

        >>> with block.experiment("bell-sweep") as experiment:
        ...     report = run_sweep(experiment, {"bell": circuit}, {}, repetitions=3, shots=1000)
        >>> table = partial_sweep("bell-sweep")
        >>> print(f"{table.done} of {table.total} jobs are done")
        1 of 1 jobs are done
    """
    ledger = Ledger(default_ledger_url()) if ledger is None else ledger
    view = load_experiment(experiment, ledger, number=number)
    if (report := view.report()) is not None:
        return SweepTable.model_validate(checked_report(report, view.identity))

    recorded = Journal(ledger, view.uid).get(Draw, Draw.digest_of(plan_key(view.chapter)))
    if recorded is None:
        raise InvalidInputError(
            f"The ledger holds no sweep of experiment {view.identity}. If one was started, it has "
            "not reached its first job yet; look again later.",
            experiment=view.uid,
        )
    plan = SweepPlan.model_validate(recorded.value)
    chunks = {submission_of(chunk): chunk for chunk in plan.chunks}
    submitted = {one["submission"]: one["job_id"] for one in view.submissions()}
    done: dict[str, str] = {}
    rows: list[SweepRow] = []
    for one in view.results():
        if one.submission in chunks:
            done[one.submission] = one.job_id
            rows.extend(rows_of(plan, chunks[one.submission], one.result))
    records = []
    for submission, chunk in chunks.items():
        if submission in done:
            records.append(chunk_record(chunk, "done", done[submission]))
        else:
            job_id = submitted.get(submission)
            records.append(chunk_record(chunk, "submitted" if job_id else "waiting", job_id))
    return SweepTable(rows=sorted(rows, key=lambda row: row.index), chunks=records)


def chunk_record(
    chunk: Chunk, state: ChunkState, job_id: str | None, message: str | None = None
) -> SweepChunk:
    """Return the report's record of a chunk."""
    return SweepChunk(
        number=chunk.number,
        label=chunk.label,
        points=chunk.points,
        state=state,
        job_id=job_id,
        message=message,
    )


def submission_of(chunk: Chunk) -> str:
    """Return the submission ID of a chunk's label."""
    return submission_id(fingerprint_label(chunk.label), 1)


def checked_report(report: dict[str, Any], experiment: Identity) -> dict[str, Any]:
    """Return the report of a finished experiment if it is a sweep's.

    Raises:
        InvalidInputError: It is not.
    """
    if "chunks" not in report:
        raise InvalidInputError(
            f"Experiment {experiment} is finished, and was not a sweep. Use another name, or start "
            "anew with fresh=True."
        )
    return report


def _measured(plan: SweepPlan, span: Span, result: PubResult) -> Iterator[dict[str, Any]]:
    """Yield the measured fields of the row of each point in a span."""
    if plan.observables:
        shape = (span.count, len(plan.observables))
        values = np.reshape(result.data.evs, shape).tolist()
        errors = np.reshape(result.data.stds, shape).tolist()
        for value, error in zip(values, errors, strict=True):
            yield {
                "values": dict(zip(plan.observables, value, strict=True)),
                "standard_errors": dict(zip(plan.observables, error, strict=True)),
            }
        return
    bits = result.join_data().reshape(span.count)
    for point in range(span.count):
        counts = bits.get_counts(point)
        listed = dict(sorted(counts.items(), key=_frequency)[: plan.outcomes_per_row])
        yield {"counts": listed, "other_shots": bits.num_shots - sum(listed.values())}


def _as_columns(row: SweepRow, job_id: str | None) -> dict[str, Any]:
    """Return a row by the names of a data frame's columns, which cannot be taken twice."""
    measured: dict[str, Any] = {"counts": row.counts, "other_shots": row.other_shots}
    if row.values:
        measured = {}
        for name, value in row.values.items():
            measured[f"values.{name}"] = value
            measured[f"standard_errors.{name}"] = row.standard_errors.get(name)
    return {
        "circuit": row.circuit,
        "repetition": row.repetition,
        "chunk": row.chunk,
        "job_id": job_id,
        **{f"parameters.{name}": value for name, value in row.parameters.items()},
        **measured,
    }


def _figure(rows: Sequence[SweepRow]) -> str:
    """Return the figure of expectation values over the one parameter; empty if it has others."""
    if not rows or len(rows[0].parameters) != 1:
        return ""
    [parameter] = rows[0].parameters
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        for name, value in row.values.items():
            error = row.standard_errors.get(name, math.nan)
            label = f"{row.circuit}, {name}" + f" ({row.repetition})" * (row.repetition > 1)
            lines.setdefault(label, []).append((row.parameters[parameter], value, error))
    drawn = [
        Line(label, *map(list, zip(*sorted(points), strict=True)))
        for label, points in list(lines.items())[:_LINES]
    ]
    figure = html.figure(drawn, x_label=parameter, y_label="value")
    more = len(lines) - _LINES
    return figure + html.paragraph(f"{more} more lines are not drawn.") * (more > 0)


def _frequency(outcome: tuple[str, int]) -> tuple[int, str]:
    """Return the sort key of an outcome: most frequent first, ties by bits."""
    return -outcome[1], outcome[0]
