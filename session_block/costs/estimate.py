"""Estimate what a run will cost before anything is submitted.

The usage of a job follows IBM's rule of thumb (guide "Workload usage"): an overhead of two seconds,
plus the delay and the circuit's duration for each execution. Executions are shots × parameter
points × measurement bases. Two things are not counted: error mitigation, which adds executions that
the platform chooses, and the wall-clock time that a session bills between jobs.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import PauliList
from qiskit.transpiler import Target
from qiskit_ibm_runtime import IBMBackend

from session_block.costs.budget import Left
from session_block.errors import InvalidInputError
from session_block.pubs.families import is_unset
from session_block.pubs.request import PrimitiveRequest

OVERHEAD_SECONDS = 2.0
DEFAULT_REP_DELAY_SECONDS = 250e-6
DEFAULT_SHOTS = 4096
DEFAULT_PRECISION = 0.015625


class Estimate(BaseModel):
    """What one request will cost, and what may be spent; ``times(n)`` scales it to n such.

    Attributes:
        jobs: The number of jobs.
        executions: How often circuits run in all jobs together: shots × points × bases.
        usage_seconds: The expected QPU usage of all jobs together.
        allocation_left_seconds: What the instance's allocation has left; ``None`` for no limit.
        budget_jobs_left: How many jobs the limits of the Block and the experiment leave; ``None``
            for no limit.
        budget_seconds_left: How much usage these limits leave; ``None`` for no limit.
        fits: Whether the jobs fit into what is left.

    Examples:
        >>> estimate = experiment.estimate_sampler([circuit], shots=1000)
        >>> estimate.jobs, estimate.executions, estimate.fits
        (1, 1000, True)
        >>> print(f"{estimate.times(20).usage_seconds:.0f} s for 20 jobs")
        45 s for 20 jobs
    """

    model_config = ConfigDict(frozen=True)

    jobs: int
    executions: int
    usage_seconds: float
    allocation_left_seconds: float | None
    budget_jobs_left: int | None
    budget_seconds_left: float | None
    fits: bool

    def times(self, jobs: int) -> Estimate:
        """Return the estimate for several such requests.

        Raises:
            InvalidInputError: It is no whole number, or negative.

        Examples:
            >>> estimate = experiment.estimate_sampler([circuit], shots=1000)
            >>> estimate.times(20).executions
            20000
        """
        try:
            jobs = operator.index(jobs)
        except TypeError:
            raise InvalidInputError(f"{jobs!r} is no number of jobs; give an integer.") from None
        if jobs < 0:
            raise InvalidInputError(f"There cannot be {jobs} jobs. Give 0 or more.")
        usage = jobs * self.usage_seconds
        limits = (self.allocation_left_seconds, self.budget_seconds_left)
        return self.model_copy(
            update={
                "jobs": jobs * self.jobs,
                "executions": jobs * self.executions,
                "usage_seconds": usage,
                "fits": (
                    (self.budget_jobs_left is None or jobs * self.jobs <= self.budget_jobs_left)
                    and all(limit is None or usage <= limit for limit in limits)
                ),
            }
        )


def estimate(
    request: PrimitiveRequest, backend: IBMBackend, allocation: dict[str, Any], left: Left
) -> Estimate:
    """Return the estimate for one request.

    Args:
        request: What is run, by one job or by several.
        backend: Where it runs.
        allocation: What the instance has left, as ``service.usage()`` returns it.
        left: What the budget leaves.
    """
    executions, seconds = _executed(request, backend)
    jobs = len(request.parts)
    return Estimate(
        jobs=jobs,
        executions=executions,
        usage_seconds=jobs * OVERHEAD_SECONDS + seconds,
        allocation_left_seconds=allocation.get("usage_remaining_seconds"),
        budget_jobs_left=left.jobs,
        budget_seconds_left=left.usage_seconds,
        fits=False,
    ).times(1)


def _executed(request: PrimitiveRequest, backend: IBMBackend) -> tuple[int, float]:
    """Return the number of executions of a request, and the seconds they take."""
    delay = _set(request.options.execution.rep_delay) or getattr(
        backend, "default_rep_delay", DEFAULT_REP_DELAY_SECONDS
    )
    executions, seconds = 0, 0.0
    for pub in request.pubs:
        runs = _executions(pub, request.options)
        executions += runs
        seconds += runs * (delay + _length_seconds(pub.circuit, backend.target))
    return executions, seconds


def _executions(pub: SamplerPub | EstimatorPub, options: Any) -> int:
    if isinstance(pub, SamplerPub):
        shots = pub.shots or _set(options.default_shots) or DEFAULT_SHOTS
        return int(shots) * int(pub.parameter_values.size)
    precision = pub.precision or _set(options.default_precision) or DEFAULT_PRECISION
    shots = None if pub.precision else _set(options.default_shots)
    return int(shots or math.ceil(1 / precision**2)) * _bases(pub)


def _bases(pub: EstimatorPub) -> int:
    """Return the number of measurement bases of a PUB, summed over its parameter points."""
    shape = pub.parameter_values.shape
    points = np.arange(math.prod(shape)).reshape(shape)
    paulis: list[set[str]] = [set() for _ in range(points.size)]
    for point, observable in np.broadcast(points, np.asarray(pub.observables)):
        paulis[point].update(label for label in observable if label.strip("I"))
    groups = {
        wanted: len(PauliList(sorted(wanted)).group_commuting(qubit_wise=True)) if wanted else 0
        for wanted in map(frozenset, paulis)
    }
    return sum(groups[frozenset(wanted)] for wanted in paulis)


def _length_seconds(circuit: QuantumCircuit, target: Target) -> float:
    """Return how long a circuit takes, in seconds.

    If Qiskit cannot tell, as for a circuit with branches, this is the depth times the duration of
    the slowest instruction.
    """
    try:
        return float(circuit.estimate_duration(target, unit="s"))
    except QiskitError:
        slowest = max(
            (one.duration or 0.0 for place in target.values() for one in place.values() if one),
            default=0.0,
        )
        return float(circuit.depth() * slowest)


def _set(option: Any) -> Any:
    return None if is_unset(option) else option
