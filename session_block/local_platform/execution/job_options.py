"""Reads a job's options: shots, precision, and what is not simulated.

The rules are from the client's documentation of its options. The shots or precision of a PUB come
first; the client also puts those of the ``run`` call there. Next come the numbers of twirling
(randomizations times shots per randomization), if twirling is enabled and both are given. Then
comes ``default_shots``, and last ``default_precision``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625
DEFAULT_RESILIENCE_LEVEL = 1
# Real: at resilience level 1 and above, fewer shots of a PUB run as these.
LEAST_MITIGATED_SHOTS = 64

Options = dict[str, Any]


def of_job(params: Mapping[str, Any]) -> Options:
    """Return the options in a job's parameters."""
    options = dict(params.get("options") or {})
    if "resilience_level" in params:
        options["resilience_level"] = params["resilience_level"]
    return options


def resilience_level(options: Mapping[str, Any]) -> int:
    """Return the resilience level of an estimator's options."""
    level = options.get("resilience_level")
    return level if isinstance(level, int) else DEFAULT_RESILIENCE_LEVEL


def sampler_shots(options: Options) -> int:
    """Return the number of shots for sampler PUBs that do not set their own."""
    twirled = _twirled_shots(options, default=False)
    return int(twirled or options.get("default_shots") or DEFAULT_SHOTS)


def estimator_accuracy(precision: float | None, options: Options) -> tuple[float, int]:
    """Return the precision of an estimator PUB, and the number of shots that it needs.

    Args:
        precision: The PUB's own precision, if any.
        options: The job's options.
    """
    level = resilience_level(options)
    least = LEAST_MITIGATED_SHOTS if level > 0 else 1
    # From level 1 on, the estimator twirls measurements by default.
    shots = _twirled_shots(options, default=level > 0) or options.get("default_shots")
    if not precision and shots:
        shots = max(least, int(shots))
        return 1.0 / math.sqrt(shots), shots
    wanted = float(precision or options.get("default_precision") or DEFAULT_PRECISION)
    return wanted, max(least, math.ceil(1.0 / wanted**2))


def refuse_raw_measurements(options: Options) -> None:
    """Refuse sampler options that ask for anything but classified bits.

    Raises:
        ValueError: The options ask for raw resonator signals (before classification).
    """
    kind = (options.get("execution") or {}).get("meas_type", "classified")
    if kind != "classified":
        raise ValueError(f"measurement level {kind!r} is not simulated, only 'classified' is")


def refuse_bit_flip_checks(options: Options) -> None:
    """Refuse noise learner options that ask for checks of each shot.

    Raises:
        ValueError: The options enable bit-flip checks, or post-selection, as they were called.
    """
    checks = [*(options.get("bit_flip_checks") or {}).values(), options.get("post_selection") or {}]
    if any(check.get("enable") for check in checks):
        raise ValueError("bit-flip checks (post-selection) of a noise learner are not simulated")


def _twirled_shots(options: Options, *, default: bool) -> int | None:
    """Return the shots from both numbers of twirling; None if it is off or one is not given."""
    twirling = options.get("twirling") or {}
    gates, measurements = twirling.get("enable_gates"), twirling.get("enable_measure")
    numbers = (twirling.get("num_randomizations"), twirling.get("shots_per_randomization"))
    if not (gates or (default if measurements is None else measurements)):
        return None
    given = [number for number in numbers if isinstance(number, int)]
    return math.prod(given) if len(given) == len(numbers) else None
