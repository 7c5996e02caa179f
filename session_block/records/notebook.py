"""An experiment as a notebook shows it, from its ledger alone, however large it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from session_block.display import html
from session_block.display.figures import Line
from session_block.display.text import UNKNOWN
from session_block.records import submissions as records
from session_block.records.chapters import chapter_report, latest_chapter
from session_block.records.identity import Identity
from session_block.records.journal import Journal
from session_block.records.keys import BackendChosen, ExperimentBegan, Intent, Result
from session_block.records.outcomes import (
    best_bits_of,
    best_of,
    counts_of,
    doubt_of,
    evaluations_of,
    exact_of,
    parameters_of,
    reference_of,
)
from session_block.records.overviews import state_of
from session_block.records.sessions import read_sessions
from session_block.records.stops import standing_stop
from session_block.records.submissions import Submission
from session_block.records.usage import recorded_usage

Points = Sequence[tuple[float, float]]
"""Values with their standard errors; NaN where one is unknown."""

_RESULTS_DRAWN = 100
"""So many of the latest results are read to draw them, while there is no report that lists them."""

_MOST_ADDED_UP = 1000
"""Usage is added up for at most this many jobs: an output should not take longer."""


def experiment_page(identity: Identity, journal: Journal, progress: Points) -> str:
    """Return an experiment as HTML; reads the ledger, and asks nobody else.

    Args:
        identity: The experiment.
        journal: Its facts.
        progress: The values that its program has reported in this process.

    Raises:
        LedgerError: The ledger cannot be read or trusted.
    """
    chapter = latest_chapter(journal)
    report = chapter_report(journal, chapter)
    sent = journal.count(Intent)
    latest = list(dict.fromkeys(one.submission for one in journal.latest(Intent, _RESULTS_DRAWN)))
    rows = _latest_submissions(journal, latest[-html.ROWS :])
    sessions = [one for one in read_sessions(journal) if one.session_id]
    return html.page(
        f"Experiment {identity}: {state_of(journal)}",
        _stopped(journal),
        html.pairs(outcome(report)),
        _figure(journal, report, progress, latest, sent),
        html.pairs(_about(identity, journal, report, sent, rows, chapter)),
        html.table(
            "Sessions",
            ["session", "backend", "opened", "state"],
            [
                [one.session_id, one.backend, one.intended_at, one.end or one.state]
                for one in sessions[-html.ROWS :]
            ],
            of=len(sessions),
        ),
        html.table(
            "Latest submissions",
            ["job", "primitive", "state", "asked", "done", "label"],
            [_cells(one) for one in reversed(rows)],
            of=max(sent, len(rows)),
        ),
    )


def report_page(title: str, report: Mapping[str, Any]) -> str:
    """Return a report of an algorithm as HTML: what it found, and how.

    Args:
        title: What it is.
        report: Its JSON values, with the ``run`` behind them.
    """
    listed = report["evaluations"]
    names = [name for name in listed[0] if not isinstance(listed[0][name], dict)] if listed else []
    return html.page(
        title,
        html.pairs(outcome(report)),
        convergence_figure(evaluations_of(report), exact_of(report)),
        html.pairs(
            [
                ("optimizer", report["optimizer"]),
                ("its message", report["message"]),
                ("evaluations", len(listed)),
                *run_rows(report["run"]),
            ]
        ),
        html.table(
            "Latest evaluations",
            ["n", *(name.replace("_", " ") for name in names)],
            [
                [number, *(one[name] for name in names)]
                for number, one in reversed(list(enumerate(listed, 1))[-html.ROWS :])
            ],
            of=len(listed),
        ),
    )


def outcome(report: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """Yield what a report found, with names for people; what it does not say is left out."""
    yield "best value", best_of(report)
    yield "exact value", exact_of(report)
    yield "reference", reference_of(report)
    yield "but", doubt_of(report)
    yield "best bit string", best_bits_of(report)
    yield from (parameters_of(report) or {}).items()
    yield "counts", counts_of(report)


def run_rows(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the facts of a run, with names for people.

    Args:
        run: :class:`~session_block.experiments.report.RunFacts` as JSON values.
    """
    number = f" (number {run['number']})" * (run["number"] > 1)
    yield "experiment", f"{run['experiment']}{number}"
    yield "jobs with results", len(run["job_ids"])
    yield "usage until the report", f"{run['usage_seconds']:g} s"
    yield "backend", run["backend"]
    yield "session", run["session_ids"][-1] if run["session_ids"] else None
    yield "id", run["uid"]


def convergence_figure(points: Points, exact: float | None, *, first: int = 1) -> str:
    """Return the figure of values over the evaluations; empty without values.

    Args:
        points: The values, in order.
        exact: The exact value, to compare with.
        first: The number of the first one.
    """
    numbers = range(first, first + len(points))
    values, errors = [value for value, _ in points], [error for _, error in points]
    shown = None if all(map(math.isnan, errors)) else errors
    line = Line("value", numbers, values, shown)
    return html.figure([line], x_label="evaluation", y_label="value", reference=exact)


def _stopped(journal: Journal) -> str:
    stop = standing_stop(journal)
    if stop is None:
        return ""
    return html.paragraph(
        f"Stopped: {stop.because}. Nothing more is bought until somebody says go on: "
        f"session-block experiments resume {journal.scope}"
    )


def _figure(
    journal: Journal,
    report: Mapping[str, Any] | None,
    progress: Points,
    latest: Sequence[str],
    sent: int,
) -> str:
    points = evaluations_of(report) or progress
    if points:
        return convergence_figure(points, exact_of(report))
    from session_block.records.results import expectation_values, result_of

    found = [expectation_values(result_of(journal.get(Result, one))) for one in latest]
    drawn = convergence_figure([point for points in found for point in points], exact_of(report))
    if not drawn or sent <= _RESULTS_DRAWN:
        return drawn
    return drawn + html.paragraph(f"Expectation values of the latest {len(latest)} submissions.")


def _about(
    identity: Identity,
    journal: Journal,
    report: Mapping[str, Any] | None,
    sent: int,
    rows: Sequence[Submission],
    chapter: int,
) -> Iterator[tuple[str, Any]]:
    chosen, began = journal.get(BackendChosen), journal.get(ExperimentBegan)
    moments = [one.result.recorded_at for one in rows if one.result is not None]
    yield "results", f"{journal.count(Result)}, of {sent} requests sent"
    yield "usage", _usage(journal, report, sent)
    yield "backend", UNKNOWN if chosen is None else chosen.name
    yield "began", None if began is None else began.recorded_at
    yield "latest result", max((one for one in moments if one is not None), default=None)
    yield "chapter", chapter if chapter > 1 else None
    yield "id", identity.uid


def _usage(journal: Journal, report: Mapping[str, Any] | None, sent: int) -> str:
    if sent <= _MOST_ADDED_UP:
        usage = recorded_usage(journal)
        if usage.known_seconds is not None:
            return f"{usage.seconds:g} s" + ("" if usage.complete else ", not final")
    run = None if report is None else report.get("run")
    seconds = run.get("usage_seconds") if isinstance(run, Mapping) else None
    if isinstance(seconds, int | float):
        return f"{seconds:g} s until the report"
    return f"{UNKNOWN} (session-block usage asks)"


def _latest_submissions(journal: Journal, submissions: Sequence[str]) -> list[Submission]:
    return [records.read_submission(journal, one) for one in submissions]


def _cells(one: Submission) -> list[Any]:
    latest, done = one.generations[-1], one.result
    return [
        latest.job_id if done is None else done.job_id,
        latest.intent.kind,
        one.state.value,
        one.generations[0].intent.recorded_at,
        None if done is None else done.recorded_at,
        latest.intent.label,
    ]
