"""What the UI calls evaluations, and how it tells their values."""

from __future__ import annotations

from collections.abc import Iterable


def evaluations_named(before: int, count: int) -> str:
    """Return a name for the task run of a job, after its evaluations, counted from 1.

    Args:
        before: The number of evaluations before the job.
        count: The number in the job.

    Example:
        >>> evaluations_named(11, 1)
        'evaluation 12'
        >>> evaluations_named(11, 3)
        'evaluations 12 to 14'
    """
    if count == 1:
        return f"evaluation {before + 1}"
    return f"evaluations {before + 1} to {before + count}"


def values_told(what: str, values: Iterable[tuple[float, float]]) -> str:
    """Return a line that tells values with their standard errors; of several the range.

    Args:
        what: What they are.
        values: The values and errors; at least one.

    Example:
        >>> values_told("energy", [(-1.857275, 0.0012)])
        'energy -1.857275 ± 0.001200'
        >>> values_told("energy", [(-1.8, 0.1), (-1.2, 0.1), (-1.6, 0.1)])
        'energy from -1.800000 to -1.200000, 3 values'
    """
    listed = [(float(value), float(error)) for value, error in values]
    if len(listed) == 1:
        return f"{what} {listed[0][0]:.6f} ± {listed[0][1]:.6f}"
    found = [value for value, _ in listed]
    return f"{what} from {min(found):.6f} to {max(found):.6f}, {len(found)} values"
