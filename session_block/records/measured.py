"""What the submissions of an experiment measured, as rows for a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from session_block.records.journal import Journal
from session_block.records.keys import FinalJobUsage, Result
from session_block.records.outcomes import exact_of
from session_block.records.results import counts_measured, expectation_values, result_of


def measured_rows(
    journal: Journal, rows: Sequence[Mapping[str, Any]], report: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return rows of submissions with what each measured; see ``Experiment.to_dataframe``.

    Args:
        journal: The experiment's journal.
        rows: One for each submission.
        report: The experiment's report, if it has one.
    """
    charged = {one.job_id: one.seconds for one in journal.all(FinalJobUsage)}
    points, exact = _points_by_value(report), exact_of(report)
    found = []
    for row in rows:
        result = result_of(journal.get(Result, row["submission"]))
        pairs, counts = expectation_values(result), counts_measured(result)
        value, error = min(pairs, default=(None, None))
        found.append(
            {
                **row,
                "value": value,
                "standard_error": error,
                "values": len(pairs) or None,
                "counts": counts,
                "shots": None if counts is None else sum(counts.values()),
                "parameters": None if value is None else points.get(value),
                "exact": exact,
                "usage_seconds": charged.get(row["job_id"]),
            }
        )
    return found


def _points_by_value(report: Mapping[str, Any] | None) -> dict[float, list[float]]:
    """Return the parameters of a VQE's evaluations by their energies; equal energies are left out.

    Energies come out of the same results, so they are equal to the last bit.
    """
    listed = None if report is None else report.get("evaluations")
    found: dict[float, list[float]] = {}
    several = set()
    for one in listed if isinstance(listed, list) else []:
        told = one if isinstance(one, Mapping) else {}
        energy, point = told.get("energy"), told.get("parameters")
        if not isinstance(energy, float) or not isinstance(point, list):
            continue
        if found.setdefault(energy, point) != point:
            several.add(energy)
    return {energy: point for energy, point in found.items() if energy not in several}
