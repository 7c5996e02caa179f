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


def parameters_of(report: Mapping[str, Any] | None) -> list[float] | None:
    """Return where the best value was found, if a report says it.

    Args:
        report: A VQE's has ``parameters``, a QAOA's ``gammas`` and ``betas``, and that of SciPy's
            result an ``x``.
    """
    if report is None:
        return None
    found = [report.get(name) for name in ("parameters", "x")]
    found.append([*_list(report.get("gammas")), *_list(report.get("betas"))])
    numbers = [_list(one) for one in found]
    return next((one for one in numbers if one and all(_is_number(item) for item in one)), None)


def counts_of(report: Mapping[str, Any] | None) -> dict[str, int] | None:
    """Return how often bit strings were sampled, if a report says it; most frequent first.

    Args:
        report: A QAOA's has ``samples``; that of your own program may have ``counts``, a mapping.
    """
    if report is None:
        return None
    counts = report.get("counts")
    if not isinstance(counts, Mapping):
        samples = [one for one in _list(report.get("samples")) if isinstance(one, Mapping)]
        counts = {one.get("bits"): one.get("count") for one in samples}
    known = {str(bits): count for bits, count in counts.items() if isinstance(count, int)}
    return dict(sorted(known.items(), key=lambda one: -one[1])) or None


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _last_error(report: Mapping[str, Any]) -> float:
    evaluations = report.get("evaluations")
    last = evaluations[-1] if isinstance(evaluations, list) and evaluations else {}
    error = last.get("standard_error") if isinstance(last, Mapping) else None
    return float(error) if isinstance(error, int | float) else 0.0
