"""What the options of a sampler or estimator job say of its shots and of what it measures.

The rules are those of the client's documentation of its options. Shots or a precision that a PUB
has are obeyed, and so are those of the call, which the client puts into its PUBs. Without them
the numbers of randomizations and of shots for each, if twirling is enabled and both are given,
come before ``default_shots``, and that before ``default_precision``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625
DEFAULT_RESILIENCE_LEVEL = 1

Options = dict[str, Any]


def of_job(params: Mapping[str, Any]) -> Options:
    """Return the options in a job's parameters."""
    options = dict(params.get("options") or {})
    if "resilience_level" in params:
        options["resilience_level"] = params["resilience_level"]
    return options


def sampler_shots(options: Options) -> int:
    """Return how often a sampler runs each PUB that does not say so itself."""
    twirled = _twirled_shots(options, default=False)
    return int(twirled or options.get("default_shots") or DEFAULT_SHOTS)


def estimator_accuracy(precision: float | None, options: Options) -> tuple[float, int]:
    """Return the precision to which an estimator works out a PUB, and the shots that this takes.

    Args:
        precision: The PUB's own precision.
        options: The job's options.
    """
    level = options.get("resilience_level", DEFAULT_RESILIENCE_LEVEL)
    # From level 1 on the estimator twirls measurements by itself.
    shots = _twirled_shots(options, default=level > 0) or options.get("default_shots")
    if not precision and shots:
        return 1.0 / math.sqrt(shots), int(shots)
    wanted = float(precision or options.get("default_precision") or DEFAULT_PRECISION)
    return wanted, math.ceil(1.0 / wanted**2)


def refuse_raw_measurements(options: Options) -> None:
    """Make sure that a sampler is to return bits.

    Raises:
        ValueError: It is to return what a resonator gives before it is classified.
    """
    kind = (options.get("execution") or {}).get("meas_type", "classified")
    if kind != "classified":
        raise ValueError(f"measurement level {kind!r} is not simulated, only 'classified' is")


def _twirled_shots(options: Options, *, default: bool) -> int | None:
    """Return the product of both numbers of twirling; None if it is not enabled or one is open."""
    twirling = options.get("twirling") or {}
    gates, measurements = twirling.get("enable_gates"), twirling.get("enable_measure")
    numbers = (twirling.get("num_randomizations"), twirling.get("shots_per_randomization"))
    if not (gates or (default if measurements is None else measurements)):
        return None
    given = [number for number in numbers if isinstance(number, int)]
    return math.prod(given) if len(given) == len(numbers) else None
