"""The Markdown report of an experiment in the Prefect UI."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qiskit.primitives.containers import PrimitiveResult

from session_block.client import JobMetrics
from session_block.errors import InvalidInputError
from session_block.records.outcomes import best_of, doubt_of, exact_of
from session_block.records.states import SubmissionState
from session_block.reporting.watched import Watched, job_page

Pair = tuple[float, float]
"""A value and its standard error."""

_INK = "#808080"

_LINE = "#3b82f6"

_REFERENCE = "#f59e0b"

JOBS_SHOWN = 20

_ASKED_EACH_TIME = 3
"""How many jobs without known metrics to ask the platform about, for one report."""

_ASKED_AT_LAST = 10

_BAR = 20

_MARKUP = re.compile(r"[\\`*\[\]<>|~&!#]|(?<![^\W_])_|_(?![^\W_])")

_LINKS = re.compile(r":(?=//)|(?<=\bwww)\.|@")
"""What makes a link of bare text."""


def convergence(
    values: Sequence[float],
    errors: Sequence[float] | None = None,
    *,
    reference: float | None = None,
    label: str = "energy",
) -> bytes:
    """Plot a value over the evaluations, and return the figure as SVG.

    Args:
        values: One for each evaluation, in order.
        errors: Their standard errors.
        reference: A known value to compare with, such as the exact ground energy.
        label: Name of the value.

    Raises:
        InvalidInputError: There is nothing to draw, or matplotlib is not installed.
    """
    if not len(values):
        raise InvalidInputError("There are no evaluations yet, so there is nothing to draw.")
    figure = _figure()
    axes = figure.subplots()
    numbers = range(1, len(values) + 1)
    axes.errorbar(numbers, values, yerr=errors, color=_LINE, marker=".", capsize=2, label=label)
    if reference is not None:
        axes.axhline(reference, color=_REFERENCE, linestyle="--", label="reference")
        axes.legend(frameon=False, labelcolor=_INK)
    axes.set_xlabel("evaluation", color=_INK)
    axes.set_ylabel(label, color=_INK)
    axes.tick_params(colors=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", transparent=True, bbox_inches="tight")
    return picture.getvalue()


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InvalidInputError("Figures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(7, 4))


class ReportWriter:
    """Writes the report of one experiment; reads each result only once.

    Args:
        watched: The experiment.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._view = watched.view
        self._replayed = self._view.recorded_results
        self._values: dict[str, list[Pair]] = {}

    def markdown(self, submitted: int, *, last: bool = False) -> str:
        """Return the report.

        Args:
            submitted: How many jobs this run has submitted.
            last: Whether this is the last report; it asks the platform about more jobs.
        """
        self._watched.refresh(now=last)
        rows = self._view.submissions()
        points = [(point.value, point.error) for point in self._watched.progress.points]
        report = self._view.report()
        exact = exact_of(report)
        picture = _picture(points or self._expectation_values(rows), exact)
        kind = "convergence" if points else "expectation values"
        parts = [
            f"# {shown_as_text(str(self._view.identity))}",
            *self._stop(),
            self._outcome(report, points),
            *([] if picture is None else [f"![{kind}]({picture})"]),
            self._cost(),
            self._summary(rows, submitted),
            "## Sessions",
            self._sessions(),
            "## Jobs",
            self._jobs(rows, _ASKED_AT_LAST if last else _ASKED_EACH_TIME),
            *self._noise_models(),
        ]
        return "\n\n".join(parts)

    def _outcome(self, report: Mapping[str, Any] | None, points: Sequence[Pair]) -> str:
        """Say what was found, or the latest value while it is looked for."""
        best, exact, doubt = best_of(report), exact_of(report), doubt_of(report)
        if best is not None:
            beside = "" if exact is None else f" (exact: {exact:.6f})"
            but = "" if doubt is None else f" **But** {shown_as_text(doubt)}."
            return f"**Best value: {best:.6f}**{beside}.{but}"
        if report is not None:
            return "It is finished; its report has no value that could stand here."
        if points:
            value, error = points[-1]
            return f"**Latest value: {value:.6f} ± {error:.6f}**, evaluation {len(points)}."
        return "No value yet."

    def _cost(self) -> str:
        """Say what the session has cost so far, and how much time it has left."""
        details = self._watched.details
        usage = None if details is None else details.usage_time
        known = "unknown" if usage is None else _duration(usage)
        final = details is not None and details.state == "closed"
        told = f"Usage of the session: {known}" + ("" if final or usage is None else ", not final")
        if (expected := self._view.expected_seconds) is not None:
            likely, low, high = map(_duration, expected)
            told += f". Expected of its jobs alone: {likely} ({low} to {high})"
        left = self._watched.seconds_left()
        return f"{told}." if left is None else f"{told}. Time left: {_duration(left)}."

    def _summary(self, rows: list[dict[str, Any]], submitted: int) -> str:
        states = Counter(row["state"] for row in rows)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        text = (
            f"{len(rows)} submissions ({told or 'none yet'}); {self._replayed} results were there "
            f"before, {submitted} jobs were submitted in this run."
        )
        total = self._watched.progress.total
        if total:
            share = min(1.0, states[SubmissionState.RESULT] / total)
            bar = "█" * round(share * _BAR) + "░" * (_BAR - round(share * _BAR))
            text += f"\n\n`{bar}` {states[SubmissionState.RESULT]} of {total} results ({share:.0%})"
        return f"{text} It is finished." if self._view.sealed else text

    def _stop(self) -> list[str]:
        because = self._view.stopped_because
        if because is None:
            return []
        told = (
            f"**Stopped**: {shown_as_text(because)}. Nothing more is bought until somebody says go "
            f"on: `session-block experiments resume {self._view.uid}`, or a retry of the flow run."
        )
        return [told]

    def _sessions(self) -> str:
        details = self._watched.details
        lines = [
            "| session | backend | opened (UTC) | state | time left | usage |",
            "|---|---|---|---|---|---|",
        ]
        for record in self._view.sessions:
            if record.session_id is None:
                continue
            seen = details if details is not None and details.id == record.session_id else None
            state = record.end or (record.state if seen is None else seen.status)
            left = None if record.end or seen is None else self._watched.seconds_left()
            usage = None if seen is None else seen.usage_time
            lines.append(
                f"| `{record.session_id}` | {shown_as_text(record.backend or '')} | "
                f"{record.intended_at:%Y-%m-%d %H:%M:%S} | {shown_as_text(state)} | "
                f"{_duration(left)} | {_duration(usage)} |"
            )
        table = "\n".join(lines) if len(lines) > 2 else "None."  # noqa: PLR2004 - the head
        budget = self._budget()
        return table if budget is None else f"{table}\n\n{budget}"

    def _budget(self) -> str | None:
        left = self._watched.left
        if left is None or (left.jobs is None and left.usage_seconds is None):
            return None
        parts = [
            None if left.jobs is None else f"{left.jobs} jobs",
            None if left.usage_seconds is None else f"{_duration(left.usage_seconds)} of usage",
        ]
        return f"Budget: {' and '.join(part for part in parts if part)} left."

    def _jobs(self, rows: list[dict[str, Any]], most_asked: int) -> str:
        if not rows:
            return "None yet."
        lines = [
            "| job | primitive | state | asked (UTC) | queued | ran | usage |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in reversed(rows[-JOBS_SHOWN:]):
            metrics = None
            if row["job_id"] is not None:
                metrics = self._watched.known_metrics(row["job_id"])
                if metrics is None and most_asked:
                    most_asked -= 1
                    metrics = self._watched.metrics(row["job_id"])
            lines.append(_job(row, metrics))
        left_out = len(rows) - JOBS_SHOWN
        more = [f"\nand {left_out} earlier ones."] if left_out > 0 else []
        return "\n".join([*lines, *more])

    def _noise_models(self) -> list[str]:
        models = self._view.noise_models
        if not models:
            return []
        lines = [
            "| learned by | job | learned (UTC) | age when taken | calibrated (UTC) |",
            "|---|---|---|---|---|",
        ]
        for one in models:
            calibrated = "" if one.calibrated_at is None else _moment(one.calibrated_at)
            lines.append(
                f"| {shown_as_text(one.experiment)} | `{one.job_id}` | {_moment(one.learned_at)} | "
                f"{_duration(one.age_seconds)} | {calibrated} |"
            )
        return ["## Noise models", "\n".join(lines)]

    def _expectation_values(self, rows: list[dict[str, Any]]) -> list[Pair]:
        for row in rows:
            submission = row["submission"]
            if row["state"] == SubmissionState.RESULT and submission not in self._values:
                self._values[submission] = _values(self._view.result(submission))
        return [point for row in rows for point in self._values.get(row["submission"], ())]


def shown_as_text(text: str) -> str:
    r"""Return text as Markdown that shows it as it is: on a shared ledger, others choose names.

    Example:
        >>> print(shown_as_text("[/] | <b>"))
        \[/\] \| \<b\>
    """
    escaped = _MARKUP.sub(r"\\\g<0>", text)
    return _LINKS.sub(lambda found: f"&#{ord(found[0])};", escaped)


def _picture(points: Sequence[Pair], exact: float | None) -> str | None:
    """Plot values and their errors; return a data URI, or ``None`` if nothing can be drawn."""
    try:
        picture = convergence(
            [value for value, _ in points],
            [error for _, error in points],
            reference=exact,
            label="value",
        )
    except InvalidInputError:
        # No values yet, or no matplotlib.
        return None
    return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"


def _values(result: Any | None) -> list[Pair]:
    data = result[0].data if isinstance(result, PrimitiveResult) and result else None
    if data is None or not hasattr(data, "evs"):
        return []
    pairs = zip(data.evs.ravel(), data.stds.ravel(), strict=True)
    return [(float(value), float(error)) for value, error in pairs]


def _job(row: dict[str, Any], metrics: JobMetrics | None) -> str:
    job_id = row["job_id"]
    page = None if job_id is None else job_page(row["url"], job_id)
    took = None if metrics is None else metrics.duration
    link = "" if job_id is None else f"`{job_id}`" if page is None else f"[`{job_id}`]({page})"
    cells = (
        link,
        row["kind"] or "",
        _state(row["state"], metrics),
        f"{row['asked_at']:%H:%M:%S}",
        "" if took is None else _duration(took.queued),
        "" if took is None else _duration(took.ran),
        "" if metrics is None else _duration(metrics.usage_seconds),
    )
    return f"| {' | '.join(cells)} |"


def _state(state: str, metrics: JobMetrics | None) -> str:
    if state != SubmissionState.JOB or metrics is None or metrics.finished is not None:
        return state
    if metrics.running is not None:
        return "running"
    return "queued" if metrics.position is None else f"queued at place {metrics.position}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    """Format a duration for people: seconds, or from two minutes up minutes and hours."""
    if seconds is None:
        return ""
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
