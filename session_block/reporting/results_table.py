"""The table of an experiment's results in the Prefect UI, which ``deployment run --watch`` reads.

It is short: what was found, the best evaluation, and the newest ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from session_block.events import Point
from session_block.records.outcomes import (
    best_of,
    counts_of,
    doubt_of,
    parameters_of,
)

KEY_PREFIX = "results-"
"""The artifact's key is this and the experiment's UID."""

RESULT = "result"
"""The evaluation that a finished experiment's outcome is called."""

BEST = ", best"
"""How the number of the best evaluation ends."""

NEWEST = 8
"""With the outcome and the best one a page of the UI's table."""

_PARAMETERS, _COUNTS = 8, 4

Row = dict[str, str | float | None]
"""Its columns; those that are empty in every row are left out. ``parameters`` and ``counts`` are
texts, and ``note`` says what speaks against the outcome."""

_COLUMNS = ("evaluation", "value", "standard error", "exact", "parameters", "counts", "note")


def results_rows(
    points: Sequence[Point],
    report: Mapping[str, Any] | None,
    *,
    exact: float | None,
    maximised: bool,
) -> list[Row]:
    """Return the table's rows, the most important ones first.

    Args:
        points: The values so far, in order.
        report: What the experiment was sealed with; ``None`` if it was not.
        exact: The exact value that is looked for, if it is known.
        maximised: Whether the highest value is best; otherwise the lowest is.

    Example:
        >>> [row] = results_rows([Point(-1.2, 0.1, (0.5,))], None, exact=-1.5, maximised=False)
        >>> row["evaluation"], row["value"], row["exact"], row["parameters"]
        ('1, best', -1.2, -1.5, '0.5')
    """
    rows = [] if report is None else _outcome(report, exact)
    if points:
        sign = -1 if maximised else 1
        best = min(range(len(points)), key=lambda place: sign * points[place].value)
        newest = range(len(points) - 1, max(len(points) - NEWEST, 0) - 1, -1)
        rows.append(_evaluation(best, points[best], exact, BEST))
        rows += [_evaluation(place, points[place], exact) for place in newest if place != best]
    return _without_empty_columns(rows)


def counts_rows(results: Iterable[tuple[int, Mapping[str, int]]]) -> list[Row]:
    """Return the rows of a Sampler's results without values.

    Args:
        results: The number of each request, counted from 1, and how often each bit string was
            sampled.
    """
    rows = [_row(str(number), counts=counts_told(counts)) for number, counts in results]
    return _without_empty_columns(rows)


def parameters_told(parameters: Sequence[float]) -> str:
    """Return parameters as text, the first ones if there are many.

    Example:
        >>> parameters_told([0.123456789, -2.0])
        '0.1235, -2'
    """
    told = ", ".join(f"{one:.4g}" for one in parameters[:_PARAMETERS])
    return told if len(parameters) <= _PARAMETERS else f"{told}, … ({len(parameters)} in all)"


def counts_told(counts: Mapping[str, int]) -> str:
    """Return the most frequent bit strings as text.

    Example:
        >>> counts_told({"01": 3, "10": 9})
        '10 ×9, 01 ×3'
    """
    most = sorted(counts.items(), key=lambda one: -one[1])
    told = ", ".join(f"{bits} ×{count}" for bits, count in most[:_COUNTS])
    return told if len(most) <= _COUNTS else f"{told}, …"


def _outcome(report: Mapping[str, Any], exact: float | None) -> list[Row]:
    """Return the row of what was found; none if the report has no value that fits."""
    best, counts, parameters = best_of(report), counts_of(report), parameters_of(report)
    if best is None and counts is None:
        return []
    row = _row(
        RESULT,
        best,
        exact=exact,
        parameters=None if parameters is None else parameters_told(_in_a_row(parameters)),
        counts=None if counts is None else counts_told(counts),
        note=doubt_of(report),
    )
    return [row]


def _in_a_row(parameters: Mapping[str, float | list[float]]) -> list[float]:
    listed = [one if isinstance(one, list) else [one] for one in parameters.values()]
    return [number for some in listed for number in some]


def _evaluation(place: int, point: Point, exact: float | None, mark: str = "") -> Row:
    at = None if point.at is None else parameters_told(point.at)
    return _row(f"{place + 1}{mark}", point.value, point.error, exact, parameters=at)


def _row(
    evaluation: str,
    value: float | None = None,
    error: float | None = None,
    exact: float | None = None,
    **texts: str | None,
) -> Row:
    return {
        "evaluation": evaluation,
        "value": None if value is None else float(f"{value:.8g}"),
        "standard error": None if error is None else float(f"{error:.2g}"),
        "exact": None if exact is None else float(f"{exact:.8g}"),
        **texts,
    }


def _without_empty_columns(rows: list[Row]) -> list[Row]:
    kept = [name for name in _COLUMNS if any(row.get(name) is not None for row in rows)]
    return [{name: row.get(name) for name in kept} for row in rows]
