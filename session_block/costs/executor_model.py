"""What a job of the family ``executor`` is charged. No charge of one is public, so this is a guess.

    constant + executions × (repetition delay + length of the circuit + 5 µs)

Executions are countable: the shots of the quantum program × the sizes of its items, those that
learn the readout (TREX), the randomizations and ZNE's amplified circuits included. The form is that
of the server-side jobs, the numbers are not: theirs are never used here.

The interval is ×/÷ 2, until the ledger holds five finished jobs of the same program, resilience
level and backend. From these the constant and the price of an execution are learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from session_block.costs.work import Forecast, Work
from session_block.records.keys import JobCharged

CONSTANT_SECONDS = 2.0
"""IBM's rule of thumb for any job [docs]."""

EXECUTION_SECONDS = 5e-6
"""What an execution takes beside its circuit and the delay [guess]."""

ENOUGH_JOBS = 5
"""After so many finished jobs of its kind an estimate is learned."""

LATEST_JOBS = 50
"""So many of the latest jobs of a kind count."""

FACTOR_OFF = 2.0
"""Until then the charge may be so many times more or less."""

_SECONDS_OFF = 1.0
_FACTOR_OFF_LEARNED = 1.15
"""The least by which a learned estimate may be off: charges are whole seconds."""

_KNOWN_LENGTH = 2.0
"""A job that is longer than this many times the longest known one is only guessed."""


def executor_forecast(work: Work, charged: Sequence[JobCharged] = ()) -> Forecast:
    """Return what a job is expected to be charged, with an interval.

    Args:
        work: What the job runs.
        charged: What finished jobs of its kind were charged, oldest first.
    """
    length = work.seconds(work.runs, EXECUTION_SECONDS)
    constant, price = CONSTANT_SECONDS, 1.0
    factor, off, evidence = FACTOR_OFF, 0.0, "no public record"
    if len(charged) >= ENOUGH_JOBS:
        known = charged[-LATEST_JOBS:]
        constant, price = learned(known)
        factor, off = _spread(known, constant, price), _SECONDS_OFF
        evidence = f"this ledger, n={len(known)}"
        if length > _KNOWN_LENGTH * max(one.execution_seconds for one in known):
            factor = max(factor, FACTOR_OFF)
    expected = constant + price * length
    return Forecast(
        seconds=expected,
        low=max(0.0, min(expected / factor, expected - off)),
        high=max(expected * factor, expected + off),
        level=work.level,
        executions=work.executions,
        execution_seconds=length,
        model="executor",
        evidence=evidence,
    )


def learned(charged: Sequence[JobCharged]) -> tuple[float, float]:
    """Return the constant, and the price of a second of executions, that fit the charges best.

    By least squares with the guess as one more observation. So jobs of one length change what they
    tell about, and no more.
    """
    lengths = np.array([one.execution_seconds for one in charged])
    seconds = np.array([one.seconds for one in charged])
    weights = 1 / (0.5 + 0.05 * seconds)
    observed = np.column_stack([np.ones_like(lengths), lengths]) * weights[:, None]
    guess = np.diag([1 / CONSTANT_SECONDS, 1.0])
    found, *_ = np.linalg.lstsq(
        np.vstack([observed, guess]), np.concatenate([seconds * weights, [1.0, 1.0]]), rcond=None
    )
    constant, price = found
    return max(0.0, float(constant)), max(0.0, float(price))


def _spread(charged: Sequence[JobCharged], constant: float, price: float) -> float:
    """Return the largest factor between a charge and its fit."""
    factor = _FACTOR_OFF_LEARNED
    for one in charged:
        fitted = constant + price * one.execution_seconds
        # A charge that was rounded to nothing tells no factor.
        high, low = max(fitted, one.seconds), max(min(fitted, one.seconds), 0.5)
        factor = max(factor, high / low if high - low > _SECONDS_OFF else 1.0)
    return factor
