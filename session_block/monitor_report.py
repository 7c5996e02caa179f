"""The report of an experiment that the Prefect UI shows, as Markdown."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

from qiskit.primitives.containers import PrimitiveResult

from session_block.errors import InvalidInputError
from session_block.figures import convergence
from session_block.references import SessionDetails
from session_block.views import ExperimentView

JOBS_SHOWN = 20
WORKLOADS_URL = "https://quantum.cloud.ibm.com/workloads/"


class ReportWriter:
    """Writes the report of one experiment, and reads each result only once for it.

    Args:
        view: What the ledger tells.
    """

    def __init__(self, view: ExperimentView) -> None:
        self._view = view
        self._values: dict[str, list[tuple[float, float]]] = {}

    def markdown(self, details: SessionDetails | None, *, replayed: int, submitted: int) -> str:
        """Return the report.

        Args:
            details: The session's state, as far as it is known.
            replayed: How many results were there before this run.
            submitted: How many jobs this run has submitted.
        """
        rows = self._view.submissions()
        states = Counter(row["state"] for row in rows)
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        summary = (
            f"{len(rows)} submissions ({told or 'none yet'}); {replayed} results were there "
            f"before, {submitted} jobs were submitted in this run."
        )
        parts = [
            f"# Experiment {self._view.identity}",
            f"{summary} It is finished." if self._view.sealed else summary,
            "## Sessions",
            _sessions(self._view, details),
            "## Jobs",
            _jobs(rows),
        ]
        picture = self._picture(rows)
        if picture is not None:
            parts += ["## Convergence", f"![convergence]({picture})"]
        return "\n\n".join(parts)

    def _picture(self, rows: list[dict[str, Any]]) -> str | None:
        """Return the convergence of an Estimator's values as a data URI, if there is any."""
        for row in rows:
            submission = row["submission"]
            if row["state"] == "result" and submission not in self._values:
                self._values[submission] = _values(self._view.result(submission))
        points = [point for row in rows for point in self._values.get(row["submission"], ())]
        try:
            picture = convergence(
                [value for value, _ in points],
                [error for _, error in points],
                label="expectation value",
            )
        except InvalidInputError:
            # Nothing to draw, or nothing to draw it with.
            return None
        return f"data:image/svg+xml;base64,{base64.b64encode(picture).decode()}"


def _values(result: PrimitiveResult | None) -> list[tuple[float, float]]:
    data = result[0].data if result else None
    if data is None or not hasattr(data, "evs"):
        return []
    pairs = zip(data.evs.ravel(), data.stds.ravel(), strict=True)
    return [(float(value), float(error)) for value, error in pairs]


def _sessions(view: ExperimentView, details: SessionDetails | None) -> str:
    lines = ["| session | backend | opened | state | usage |", "|---|---|---|---|---|"]
    for record in view.sessions:
        if record.session_id is None:
            continue
        current = details if details is not None and details.id == record.session_id else None
        state = record.end or ("in use" if current is None else current.status)
        usage = "" if current is None or current.usage_time is None else f"{current.usage_time:g} s"
        lines.append(
            f"| `{record.session_id}` | {record.intent.get('backend')} | "
            f"{record.intended_at:%Y-%m-%d %H:%M:%S} UTC | {state} | {usage} |"
        )
    return "\n".join(lines) if len(lines) > 2 else "None."  # noqa: PLR2004 - the head


def _jobs(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "None yet."
    lines = ["| job | primitive | state | asked | took |", "|---|---|---|---|---|"]
    for row in reversed(rows[-JOBS_SHOWN:]):
        job = row["job_id"]
        link = "" if job is None else f"[`{job}`]({WORKLOADS_URL}{job})"
        took = (
            ""
            if row["done_at"] is None
            else f"{(row['done_at'] - row['asked_at']).total_seconds():.1f} s"
        )
        kind, asked = row["kind"] or "", f"{row['asked_at']:%H:%M:%S}"
        lines.append(f"| {link} | {kind} | {row['state']} | {asked} | {took} |")
    left_out = len(rows) - JOBS_SHOWN
    more = [f"\nand {left_out} earlier ones."] if left_out > 0 else []
    return "\n".join([*lines, *more])
