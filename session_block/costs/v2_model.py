"""What a job of IBM's server-side programs (family ``v2``) is charged, fitted to public records.

    constant + executions × (repetition delay + length of the circuit + about 5 µs)

The constant depends on the QPU's family, and is larger if an Estimator mitigates the readout
(resilience level 1 and above). ZNE (level 2) runs each circuit once for each noise factor, with its
gates repeated as often. On Nighthawk the executions that learn the readout errors count too; on
Heron they are part of the constant, whatever the shots [real].

``tests/costs/test_v2_model.py`` fits the coefficients again; :mod:`session_block.costs.accuracy`
says how good they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from session_block.costs.public_records import PublicRecord, completed_records
from session_block.costs.work import Forecast, Work

HERON, NIGHTHAWK = "heron", "nighthawk"
ENOUGH_RECORDS = 3
"""With fewer records of a program, family and level there is no saying how far off it is."""

SECONDS_OFF = 1.0
"""Charges are rounded to seconds, and constants vary by about as much: half of an interval ..."""

SHARE_OFF = 0.1
"""... and this share of the estimate. Together they cover nine of ten records, each left out of
the fit that judges it."""

FACTOR_OFF = 2.0
"""Where there are not enough records the charge may be so many times more or less."""


@dataclass(frozen=True)
class Coefficients:
    """The fitted numbers, in seconds.

    Attributes:
        heron: The constant of a job on a Heron QPU.
        nighthawk: The same on a Nighthawk QPU.
        heron_mitigated: What mitigated readout adds to the constant on Heron.
        nighthawk_mitigated: The same on Nighthawk, beside the executions that learn the errors.
        execution: What each execution takes beside its circuit and the repetition delay.
    """

    heron: float
    nighthawk: float
    heron_mitigated: float
    nighthawk_mitigated: float
    execution: float


COEFFICIENTS = Coefficients(
    heron=2.190,
    nighthawk=2.876,
    heron_mitigated=8.436,
    nighthawk_mitigated=1.277,
    execution=7.093e-6,
)


def seconds(work: Work, coefficients: Coefficients = COEFFICIENTS) -> float:
    """Return the expected charge of a job. A QPU of another family counts as a Heron one."""
    terms, known = _linear(work)
    return float(np.dot(terms, astuple(coefficients)) + known)


def server_forecast(
    work: Work,
    coefficients: Coefficients = COEFFICIENTS,
    records: Iterable[PublicRecord] | None = None,
) -> Forecast:
    """Return what a job is expected to be charged, with an interval.

    Args:
        work: What the job runs.
        coefficients: The model's.
        records: What they were fitted to.
    """
    expected = seconds(work, coefficients)
    alike = Counter(map(_group, completed_records() if records is None else records))
    count = alike[work.program, work.family, work.level]
    off = SECONDS_OFF + SHARE_OFF * expected
    low, high = expected - off, expected + off
    evidence = f"public records, n={count}"
    if count < ENOUGH_RECORDS:
        low, high = min(low, expected / FACTOR_OFF), max(high, expected * FACTOR_OFF)
        at = f" at resilience level {work.level}" if work.program == "estimator" else ""
        which = f"{work.program} jobs{at} on {work.family or 'unknown'} QPUs"
        evidence = f"no public record of {which}" if count == 0 else f"{evidence} of {which}"
    if work.most_sampling > 1:
        high *= work.most_sampling
        evidence = "no public record of PEC, whose executions the platform chooses"
    return Forecast(
        seconds=expected,
        low=max(0.0, low),
        high=high,
        level=work.level,
        executions=work.executions,
        execution_seconds=work.seconds(work.amplified, coefficients.execution),
        model="v2",
        evidence=evidence,
    )


def fit(records: Iterable[PublicRecord]) -> Coefficients:
    """Return the coefficients that fit the charges of Sampler and Estimator jobs best.

    By least squares, each job weighted by how precisely its charge is known: to half a second for
    the rounding, and to 3 % for circuits whose length is not told. Noise learners are left out:
    their executions are not told. What no record tells of counts as nothing.
    """
    fitted = [one for one in records if one.work.program in {"sampler", "estimator"}]
    terms, known = zip(*(_linear(one.work) for one in fitted), strict=True)
    charged = np.array([one.charged_seconds for one in fitted])
    weights = 1 / (0.5 + 0.03 * charged)
    found, *_ = np.linalg.lstsq(
        np.array(terms) * weights[:, None], (charged - np.array(known)) * weights, rcond=None
    )
    return Coefficients(*map(float, found))


def _group(record: PublicRecord) -> tuple[str, str, int]:
    return record.work.program, record.work.family, record.work.level


def _linear(work: Work) -> tuple[np.ndarray[Any, Any], float]:
    """Return what the coefficients of a job's charge are multiplied by, and what is added."""
    is_nighthawk, is_mitigated = work.family == NIGHTHAWK, work.learning is not None
    runs = [*work.amplified]
    if is_nighthawk and work.learning is not None:
        runs.append(work.learning)
    constants = (not is_nighthawk, is_nighthawk)
    mitigated = (constant and is_mitigated for constant in constants)
    executions = sum(one.executions for one in runs)
    return np.array([*constants, *mitigated, executions], float), work.seconds(runs, 0.0)
