"""What a report says of its result: the value, the exact one beside it, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BEST = ("energy", "best_value", "value")
_EXACT = ("exact", "optimum")
_FAR = 0.01
"""So large a share of an exact energy is no error of sampling or rounding."""

_ERRORS = 5


def best_of(report: Mapping[str, Any] | None) -> float | None:
    """Return the value for which an experiment was made, if its report has one.

    Args:
        report: What it was sealed with. A VQE's has an ``energy``, a QAOA's a ``best_value``, and
            that of your own program may have either, or a ``value``.
    """
    return _number(report, _BEST)


def exact_of(report: Mapping[str, Any] | None) -> float | None:
    """Return the exact value, if a report has one.

    Args:
        report: A VQE's has it as ``exact`` and a QAOA's as ``optimum``, where the problem is small
            enough; that of your own program may have either.
    """
    return _number(report, _EXACT)


def doubt_of(report: Mapping[str, Any] | None) -> str | None:
    """Return why a result may not be what was looked for; ``None`` if nothing speaks against it.

    The optimiser did not converge, or an energy is more than 1 % and five standard errors above the
    exact one.
    """
    if report is None:
        return None
    if report.get("success") is False:
        message = str(report.get("message") or "it does not say why").rstrip(".")
        return f"the optimiser did not converge: {message}"
    energy, exact = _number(report, ("energy",)), _number(report, ("exact",))
    if energy is None or exact is None:
        return None
    error = _last_error(report)
    above = energy - exact
    if above <= max(_FAR * abs(exact), _ERRORS * error):
        return None
    return (
        f"it is {above:.3g} above the exact value: a local minimum, noise, or an ansatz that "
        "cannot reach it"
    )


def _number(report: Mapping[str, Any] | None, names: tuple[str, ...]) -> float | None:
    found = (None if report is None else report.get(name) for name in names)
    return next(
        (one for one in found if isinstance(one, int | float) and not isinstance(one, bool)), None
    )


def _last_error(report: Mapping[str, Any]) -> float:
    evaluations = report.get("evaluations")
    last = evaluations[-1] if isinstance(evaluations, list) and evaluations else {}
    error = last.get("standard_error") if isinstance(last, Mapping) else None
    return float(error) if isinstance(error, int | float) else 0.0
