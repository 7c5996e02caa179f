"""The report of an experiment in the Prefect UI: Markdown, and the rows of its table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from session_block.client import JobMetrics
from session_block.display.figures import convergence, data_uri
from session_block.errors import InvalidInputError
from session_block.events import Point
from session_block.records.outcomes import best_of, doubt_of, exact_of
from session_block.records.results import counts_measured, expectation_values
from session_block.records.states import SubmissionState
from session_block.reporting.results_table import (
    KEY_PREFIX,
    NEWEST,
    Row,
    counts_rows,
    results_rows,
)
from session_block.reporting.watched import Watched, workload_page

JOBS_SHOWN = 20

_UNFOLDED = 10
"""A table of more rows is folded."""

_ASKED_EACH_TIME = 3
"""How many jobs without known metrics to ask the platform about, for one report."""

_ASKED_AT_LAST = 10

_BAR = 20

_MARKUP = re.compile(r"[\\`*\[\]<>|~&!#]|(?<![^\W_])_|_(?![^\W_])")

_LINKS = re.compile(r":(?=//)|(?<=\bwww)\.|@")
"""What makes a link of bare text."""


class ReportWriter:
    """Writes the report of one experiment; reads each result only once.

    Args:
        watched: The experiment.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._view = watched.view
        self._replayed = self._view.recorded_results
        self._values: dict[str, list[Point]] = {}

    def markdown(self, submitted: int, *, last: bool = False) -> str:
        """Return the report.

        Args:
            submitted: How many jobs this run has submitted.
            last: Whether this is the last report; it asks the platform about more jobs.
        """
        self._watched.refresh(now=last)
        rows = self._view.submissions()
        points = self._points(rows)
        report = self._view.report()
        picture = _picture(points, self._exact(report))
        kind = "convergence" if self._watched.progress.points else "expectation values"
        parts = [
            f"# {shown_as_text(self._watched.title)}",
            *self._stop(),
            self._outcome(report, points, rows),
            *([] if picture is None else [f"![{kind}]({picture})"]),
            self._cost(),
            self._summary(rows, submitted),
            *self._sessions(),
            *self._jobs(rows, _ASKED_AT_LAST if last else _ASKED_EACH_TIME),
            *self._noise_models(),
            f"All that is recorded: `session-block experiments show {self._view.uid}`",
        ]
        return "\n\n".join(parts)

    def results(self) -> list[Row]:
        """Return the rows of the table of results: what was found, the best and the newest."""
        rows, report = self._view.submissions(), self._view.report()
        points = self._points(rows)
        found = results_rows(
            points,
            report,
            exact=self._exact(report),
            maximised=self._watched.progress.maximised,
        )
        return found or self._counts(rows)

    def _exact(self, report: Mapping[str, Any] | None) -> float | None:
        known = exact_of(report)
        return self._watched.progress.exact if known is None else known

    def _points(self, rows: list[dict[str, Any]]) -> list[Point]:
        """Return the values that the program told, else the Estimator's expectation values."""
        return self._watched.progress.points or self._expectation_values(rows)

    def _outcome(
        self,
        report: Mapping[str, Any] | None,
        points: Sequence[Point],
        rows: list[dict[str, Any]],
    ) -> str:
        """Say what was found, or the latest value while it is looked for."""
        best, exact, doubt = best_of(report), self._exact(report), doubt_of(report)
        beside = "" if exact is None else f" (exact: {exact:.6f})"
        if best is not None:
            but = "" if doubt is None else f" **But** {shown_as_text(doubt)}."
            return f"**Best value: {best:.6f}**{beside}.{but}"
        if report is not None:
            return "It is finished; its report has no value that could stand here."
        if points:
            one = points[-1]
            told = f"**Latest value: {one.value:.6f} ± {one.error:.6f}**{beside}"
            return f"{told}, evaluation {len(points)}."
        if any(row["state"] == SubmissionState.RESULT for row in rows):
            where = (
                f" The counts are in `{KEY_PREFIX}{self._view.uid}`." if self._counts(rows) else ""
            )
            return f"No single value stands for the results.{where}"
        return "No value yet."

    def _cost(self) -> str:
        """Say what the session has cost so far, and how much time it has left."""
        details = self._watched.details
        usage = None if details is None else details.usage_time
        final = details is not None and details.state == "closed"
        told = f"Usage of the session: {_duration(usage)}"
        told += "" if final or usage is None else ", not final"
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

    def _sessions(self) -> list[str]:
        details, lines = self._watched.details, []
        for record in self._view.sessions:
            if record.session_id is None:
                continue
            seen = details if details is not None and details.id == record.session_id else None
            state = record.end or (record.state if seen is None else seen.status)
            left = None if record.end or seen is None else self._watched.seconds_left()
            usage = None if seen is None else seen.usage_time
            lines.append(
                f"| {_link(record.intent.url, record.session_id)} | "
                f"{shown_as_text(record.backend or '')} | "
                f"{record.intended_at:%Y-%m-%d %H:%M:%S} | {shown_as_text(state)} | "
                f"{'none' if record.end else _duration(left)} | {_duration(usage)} |"
            )
        head = [
            "| session | backend | opened (UTC) | state | time left | usage |",
            "|---|---|---|---|---|---|",
        ]
        nothing = (
            "No session is open, and none was: the first job opens one, if the mode is not job."
        )
        budget = self._budget()
        return [
            "## Sessions",
            *(_folded(f"{len(lines)} sessions", head, lines) if lines else [nothing]),
            *([] if budget is None else [budget]),
        ]

    def _budget(self) -> str | None:
        left = self._watched.left
        if left is None or (left.jobs is None and left.usage_seconds is None):
            return None
        parts = [
            None if left.jobs is None else f"{left.jobs} jobs",
            None if left.usage_seconds is None else f"{_duration(left.usage_seconds)} of usage",
        ]
        return f"Budget: {' and '.join(part for part in parts if part)} left."

    def _jobs(self, rows: list[dict[str, Any]], most_asked: int) -> list[str]:
        if not rows:
            return ["## Jobs", "No job was submitted yet."]
        lines = []
        for row in reversed(rows[-JOBS_SHOWN:]):
            metrics = None
            if row["job_id"] is not None:
                metrics = self._watched.known_metrics(row["job_id"])
                if metrics is None and most_asked:
                    most_asked -= 1
                    metrics = self._watched.metrics(row["job_id"])
            lines.append(_job(row, metrics))
        head = [
            "| job | primitive | state | asked (UTC) | queued | ran | usage |",
            "|---|---|---|---|---|---|---|",
        ]
        left_out = len(rows) - JOBS_SHOWN
        if left_out <= 0:
            return ["## Jobs", *_folded(f"{len(rows)} jobs", head, lines)]
        return [
            "## Jobs",
            *_folded(f"The last {JOBS_SHOWN} of {len(rows)} jobs", head, lines),
            f"and {left_out} earlier ones: `session-block submissions list {self._view.uid}`",
        ]

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

    def _counts(self, rows: list[dict[str, Any]]) -> list[Row]:
        """Return a row for each of the Sampler's newest results."""
        found: list[tuple[int, dict[str, int]]] = []
        for number, row in reversed(list(enumerate(rows, 1))):
            if len(found) == NEWEST:
                break
            if row["state"] == SubmissionState.RESULT and row["kind"] == "sampler":
                counts = counts_measured(self._view.result(row["submission"]))
                found += [] if counts is None else [(number, counts)]
        return counts_rows(found)

    def _expectation_values(self, rows: list[dict[str, Any]]) -> list[Point]:
        for row in rows:
            submission = row["submission"]
            if row["state"] == SubmissionState.RESULT and submission not in self._values:
                pairs = expectation_values(self._view.result(submission))
                self._values[submission] = [Point(value, error) for value, error in pairs]
        return [point for row in rows for point in self._values.get(row["submission"], ())]


def shown_as_text(text: str) -> str:
    r"""Return text as Markdown that shows it as it is: on a shared ledger, others choose names.

    Example:
        >>> print(shown_as_text("[/] | <b>"))
        \[/\] \| \<b\>
    """
    escaped = _MARKUP.sub(r"\\\g<0>", text)
    return _LINKS.sub(lambda found: f"&#{ord(found[0])};", escaped)


def _picture(points: Sequence[Point], exact: float | None) -> str | None:
    """Plot values and their errors; return a data URI, or ``None`` if nothing can be drawn."""
    try:
        picture = convergence(
            [point.value for point in points],
            [point.error for point in points],
            reference=exact,
            label="value",
        )
    except InvalidInputError:
        # No values yet, or no matplotlib.
        return None
    return data_uri(picture)


def _folded(summary: str, head: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return a table, folded if it is long; a reader that cannot fold shows it whole."""
    table = "\n".join([*head, *lines])
    if len(lines) <= _UNFOLDED:
        return [table]
    return [f"<details><summary>{summary}</summary>", table, "</details>"]


def _link(url: str | None, workload_id: str) -> str:
    page = workload_page(url, workload_id)
    return f"`{workload_id}`" if page is None else f"[{workload_id}]({page})"


def _job(row: dict[str, Any], metrics: JobMetrics | None) -> str:
    job_id = row["job_id"]
    cells = (
        "not submitted yet" if job_id is None else _link(row["url"], job_id),
        row["kind"] or "unknown",
        _state(row["state"], metrics),
        f"{row['asked_at']:%H:%M:%S}",
        *(("not asked",) * 3 if metrics is None else _times(metrics)),
    )
    return f"| {' | '.join(cells)} |"


def _times(metrics: JobMetrics) -> tuple[str, str, str]:
    """Return how long a job waited and ran, and what was charged."""
    took, unknown = metrics.duration, "unknown" if metrics.finished else "not yet"
    usage = unknown if metrics.usage_seconds is None else _duration(metrics.usage_seconds)
    if took is None:
        return unknown, unknown, usage
    return _duration(took.queued), _duration(took.ran), usage


def _state(state: str, metrics: JobMetrics | None) -> str:
    if state != SubmissionState.JOB or metrics is None or metrics.finished is not None:
        return state
    if metrics.running is not None:
        return "running"
    return "queued" if metrics.position is None else f"queued at place {metrics.position}"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str:
    """Format a duration for people: seconds, or from two minutes up minutes and hours.

    What is not known is not zero.
    """
    if seconds is None:
        return "unknown"
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
