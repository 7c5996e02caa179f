"""What IBM charges for a job that completed, in whole seconds.

Real, from the charges that owners of jobs published: a constant, plus executions × (repetition
delay + length of the circuit + about 5 µs), rounded to seconds. All of these jobs were of the
server-side programs (family ``v2``). The constants are those of Heron and Nighthawk devices.

- Error mitigation of an estimator at resilience level 1 and above costs 9.3 s more on Heron,
  whatever the shots. On Nighthawk it costs 2.7 s more at 4096 shots; half of this are the
  executions that learn the readout errors: 32 randomizations of as many shots as a PUB has.
- ZNE runs each circuit once for each noise factor, with its gates repeated as often. So it triples
  the time on Heron, where the delay counts, and multiplies it by about 5 on Nighthawk.

Guesses: other devices are charged like Heron ones. An executor job is charged the same constant
and formula on its countable executions; nobody has published what one costs. PEC and PEA cost
nothing of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution.job_options import resilience_level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from session_block.local_platform.execution.timing import Load

EXECUTION_OVERHEAD_SECONDS = 5e-6
ZNE_FACTORS = (1, 3, 5)
_ZNE_LEVEL = 2
_RANDOMIZATIONS = 32


@dataclass(frozen=True)
class Tariff:
    """The constants of a family of devices, in seconds.

    Attributes:
        job: What every job costs.
        mitigation: What an estimator job with mitigated readout costs in addition.
        learns_by_shots: Whether it is also charged the executions that learn the readout errors.
    """

    job: float
    mitigation: float
    learns_by_shots: bool = False


HERON = Tariff(2.0, 9.3)
NIGHTHAWK = Tariff(3.0, 1.4, learns_by_shots=True)


@dataclass(frozen=True)
class Mitigation:
    """The error mitigation of an estimator job that costs time.

    Attributes:
        learning_shots: Executions that learn the readout errors; None if they are not mitigated.
        noise_factors: How often ZNE repeats the gates; one factor of 1 without it.
    """

    learning_shots: int | None = None
    noise_factors: tuple[float, ...] = (1.0,)


NO_MITIGATION = Mitigation()


def mitigation(options: Mapping[str, Any], shots: int) -> Mitigation:
    """Return the mitigation that an estimator's options ask for.

    Args:
        options: The job's options.
        shots: The largest number of shots of a PUB.
    """
    level = resilience_level(options)
    resilience = options.get("resilience") or {}
    measures = resilience.get("measure_mitigation")
    zne = resilience.get("zne_mitigation")
    learning = resilience.get("measure_noise_learning") or {}
    numbers = (
        (learning.get("num_randomizations"), _RANDOMIZATIONS),
        (learning.get("shots_per_randomization"), shots),
    )
    given = [value if isinstance(value, int) else usual for value, usual in numbers]
    factors = (resilience.get("zne") or {}).get("noise_factors")
    factors = factors if isinstance(factors, list | tuple) else ZNE_FACTORS
    return Mitigation(
        math.prod(given) if (level > 0 if measures is None else measures) else None,
        tuple(map(float, factors)) if (level >= _ZNE_LEVEL if zne is None else zne) else (1.0,),
    )


def tariff(recording: str) -> Tariff:
    """Return the constants for a recorded device."""
    family = recordings.configuration(recording)["processor_type"]["family"]
    return NIGHTHAWK if family == "Nighthawk" else HERON


def execution_seconds(load: Load, mitigated: Mitigation = NO_MITIGATION) -> float:
    """Return what a job's own executions cost, without the constants."""
    once = load.seconds - load.gate_seconds + load.executions * EXECUTION_OVERHEAD_SECONDS
    return sum(once + factor * load.gate_seconds for factor in mitigated.noise_factors)


def charge(
    constants: Tariff, load: Load, mitigated: Mitigation, learning_seconds: float = 0.0
) -> int:
    """Return the charge of a job in whole seconds.

    Args:
        constants: Those of the device.
        load: What the job runs.
        mitigated: Its error mitigation.
        learning_seconds: How long one execution takes that learns the readout errors.
    """
    seconds = constants.job + execution_seconds(load, mitigated)
    if mitigated.learning_shots is not None:
        seconds += constants.mitigation
        if constants.learns_by_shots:
            seconds += mitigated.learning_shots * (learning_seconds + EXECUTION_OVERHEAD_SECONDS)
    return math.floor(seconds + 0.5)
