"""What a report says of its result: the value, the exact one beside it, and what is doubtful."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_BEST = ("energy", "best_value", "value")
_EXACT = ("exact", "optimum")
_PARAMETERS = ("parameters", "gammas", "betas", "x")
_FAR = 0.01
"""So large a share of an exact energy is no error of sampling or rounding."""

_ERRORS = 5


def best_of(report: Mapping[str, Any] | None) -> float | None:
    """Return the value for which an experiment was made, if its report has one.

    Args:
        report: What it was sealed with: a VQE has an ``energy``, a QAOA a ``best_value``; your own
            report may have either, or a ``value``.
    """
    return _number(report, _BEST)


def exact_of(report: Mapping[str, Any] | None) -> float | None:
    """Return the exact value, if a report has one.

    Args:
        report: A VQE's has it as ``exact`` and a QAOA's as ``optimum``, where the problem is small
            enough; your own report may have either.
    """
    return _number(report, _EXACT)


def reference_of(report: Mapping[str, Any] | None) -> float | None:
    """Return a value to compare with that is not said to be exact, if a report has one.

    Args:
        report: That of your own program may have it as ``reference``, such as a mean-field energy.
    """
    return _number(report, ("reference",))


def parameters_of(report: Mapping[str, Any] | None) -> dict[str, float | list[float]] | None:
    """Return what the best value was found at, by name; ``None`` if a report does not say.

    Args:
        report: A VQE's has ``parameters``, a QAOA's ``gammas`` and ``betas``, SciPy's result ``x``;
            your own report may have any of these, as a number, a list, or a dict by name.
    """
    found: dict[str, float | list[float]] = {}
    for name in _PARAMETERS:
        value: Any = None if report is None else report.get(name)
        named: Mapping[Any, Any] = value if isinstance(value, Mapping) else {name: value}
        for key, one in named.items():
            if _is_number(one) or (isinstance(one, list) and one and all(map(_is_number, one))):
                found[str(key)] = one
    return found or None


def best_bits_of(report: Mapping[str, Any] | None) -> str | None:
    """Return the best bit string, if a report has one; a QAOA's has ``best_bitstring``."""
    found = None if report is None else report.get("best_bitstring")
    return found if isinstance(found, str) else None


def counts_of(report: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Return shots by outcome, most frequent first; ``None`` if a report has none.

    Args:
        report: A QAOA's has its most frequent bit strings as ``samples``; your own report may
            have a dict ``counts``.
    """
    if report is None:
        return None
    found, samples = report.get("counts"), report.get("samples")
    if not isinstance(found, Mapping) and isinstance(samples, list):
        listed = [one for one in samples if isinstance(one, Mapping)]
        found = {one.get("bits"): one.get("count") for one in listed}
    if not isinstance(found, Mapping):
        return None
    counts = {
        outcome: shots
        for outcome, shots in found.items()
        if isinstance(outcome, str) and isinstance(shots, int) and not isinstance(shots, bool)
    }
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))) or None


def evaluations_of(report: Mapping[str, Any] | None) -> list[tuple[float, float]]:
    """Return the value and standard error of each evaluation that a report lists, in order.

    An unknown error is NaN.

    Args:
        report: A VQE's has ``evaluations`` with an ``energy``, a QAOA's with a ``value``.
    """
    listed = None if report is None else report.get("evaluations")
    points = []
    for one in listed if isinstance(listed, list) else []:
        value = _number(one, ("energy", "value")) if isinstance(one, Mapping) else None
        if value is not None:
            error = _number(one, ("standard_error",))
            points.append((value, math.nan if error is None else error))
    return points


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
    return next((one for one in found if _is_number(one)), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _last_error(report: Mapping[str, Any]) -> float:
    evaluations = report.get("evaluations")
    last = evaluations[-1] if isinstance(evaluations, list) and evaluations else {}
    error = last.get("standard_error") if isinstance(last, Mapping) else None
    return float(error) if isinstance(error, int | float) else 0.0
