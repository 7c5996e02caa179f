"""The circuits and observables of a sweep: checked before anything is sent, and planned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import numpy as np
from pydantic import ValidationError
from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import PauliList, SparsePauliOp

from session_block.algorithms.sweep.plan import (
    Axis,
    ChunkLimits,
    PlannedCircuit,
    Span,
    SweepGrid,
    SweepPlan,
    check_different,
)
from session_block.costs.work import DEFAULT_PRECISION, DEFAULT_SHOTS
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment
from session_block.experiments.job import DurableJob
from session_block.experiments.parted_job import PartedJob
from session_block.experiments.primitives import DurableEstimator, DurableSampler
from session_block.pubs.families import default_implementation
from session_block.pubs.options import input_errors
from session_block.pubs.request import PrimitiveRequest, estimator_request, sampler_request
from session_block.records.versions import CURRENT, Versions
from session_block.references import Implementation

T = TypeVar("T")
Named = Mapping[str, T] | Iterable[tuple[str, T]]
"""Named things, in order: a mapping, or pairs."""

Grid = SweepGrid | Mapping[str, Iterable[float]]
"""A grid, or the values of its axes by parameter name."""

_BASES = str.maketrans("01+-rl", "ZZXXYY")
"""Maps each projector of an observable to the Pauli that measures it."""


def plan_sweep(
    circuits: Named[QuantumCircuit],
    grid: Grid,
    observables: Named[SparsePauliOp] | None = None,
    *,
    repetitions: int = 1,
    shots: int | None = None,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation | None = None,
    limits: ChunkLimits | None = None,
) -> SweepPlan:
    """Return what a sweep would run, and in which jobs (``plan.chunks``); runs nothing.

    The arguments and errors are those of :func:`session_block.algorithms.sweep.run.run_sweep`.

    Examples:
        >>> plan = plan_sweep({"bell": circuit}, {}, repetitions=5, shots=1000)
        >>> len(plan.chunks), sum(one.executions for one in plan.circuits) * plan.repetitions
        (1, 5000)
    """
    family = implementation or default_implementation()
    work = SweepWork.of(circuits, observables, shots, precision, options, family)
    return work.plan(grid, repetitions, limits)


@dataclass(frozen=True)
class SweepWork:
    """What a sweep runs at each of its points.

    Attributes:
        circuits: By name.
        observables: By name; empty to take counts.
        shots: Shots per point, for counts.
        precision: Target standard error, for observables.
        options: The client's own options.
        implementation: ``v2`` or ``executor``, the client's two families of primitives.
    """

    circuits: dict[str, QuantumCircuit]
    observables: dict[str, SparsePauliOp]
    shots: int | None
    precision: float | None
    options: Any
    implementation: Implementation

    @classmethod
    def of(
        cls,
        circuits: Named[QuantumCircuit],
        observables: Named[SparsePauliOp] | None,
        shots: int | None,
        precision: float | None,
        options: Any,
        implementation: Implementation,
    ) -> Self:
        """Check what can be checked without the grid.

        Raises:
            InvalidInputError: Something is missing, named twice, or belongs to the other primitive.
        """
        named = _by_name("circuit", circuits)
        if not named:
            raise InvalidInputError("There are no circuits, so there is nothing to run.")
        estimated = {} if observables is None else _by_name("observable", observables)
        if observables is not None and not estimated:
            raise InvalidInputError("There are no observables. Leave them out to take counts.")
        if estimated and shots is not None:
            raise InvalidInputError(
                "Observables are estimated to a precision, not by shots. Give precision=, or "
                "options={'default_shots': …}."
            )
        if not estimated and precision is not None:
            raise InvalidInputError("Counts are taken by shots, not to a precision. Give shots=.")
        return cls(named, estimated, shots, precision, options, implementation)

    def runner(self, experiment: Experiment) -> Callable[[list[Any], str], DurableJob | PartedJob]:
        """Return a function that submits PUBs under a label."""
        if self.observables:
            estimator = DurableEstimator(
                experiment, options=self.options, implementation=self.implementation
            )
            return lambda pubs, label: estimator.run(pubs, precision=self.precision, label=label)
        sampler = DurableSampler(
            experiment, options=self.options, implementation=self.implementation
        )
        return lambda pubs, label: sampler.run(pubs, shots=self.shots, label=label)

    def plan(
        self,
        grid: Grid,
        repetitions: int,
        limits: ChunkLimits | None,
        versions: Versions = CURRENT,
    ) -> SweepPlan:
        """Return the plan, with circuit fingerprints by the rules of the given versions.

        Raises:
            InvalidInputError: The grid does not fit the circuits, the request is wrong, or the
                sweep is too large for a job or a report.
        """
        try:
            chosen = grid if isinstance(grid, SweepGrid) else _of_axes(grid)
            plan = SweepPlan(
                kind="estimator" if self.observables else "sampler",
                circuits=[self._planned(name, chosen, versions) for name in self.circuits],
                observables=list(self.observables),
                grid=chosen,
                repetitions=repetitions,
                limits=limits or ChunkLimits(),
            )
        except ValidationError as error:
            raise InvalidInputError(f"The sweep is wrong: {_told(error)}.") from error
        plan.check_size()
        plan.check_executions()
        return plan

    def pub(self, span: Span, plan: SweepPlan) -> tuple[Any, ...]:
        """Return the PUB of a span."""
        values = plan.grid.values[span.first : span.first + span.count]
        return self._pub(plan.circuits[span.circuit].name, plan.grid.parameters, values)

    def _pub(self, name: str, parameters: list[str], values: np.ndarray) -> tuple[Any, ...]:
        """Return the PUB of a circuit at points of shape (points, parameters).

        Counts have shape (points,), expectation values (points, observables).
        """
        circuit = self.circuits[name]
        if not self.observables:
            return (circuit, {tuple(parameters): values} if parameters else None)
        at = {tuple(parameters): values[:, np.newaxis, :]} if parameters else None
        return (circuit, list(self.observables.values()), at)

    def _planned(self, name: str, grid: SweepGrid, versions: Versions) -> PlannedCircuit:
        has, wanted = {one.name for one in self.circuits[name].parameters}, set(grid.parameters)
        if missing := sorted(has - wanted):
            raise InvalidInputError(
                f"The grid gives no values for the parameters {missing} of circuit {name!r}."
            )
        if unknown := sorted(wanted - has):
            raise InvalidInputError(
                f"Circuit {name!r} has no parameters {unknown}, but the grid gives them values. It "
                f"has {sorted(has)}."
            )
        if not self.observables and not self.circuits[name].cregs:
            raise InvalidInputError(
                f"Circuit {name!r} has no classical register, so there is nothing to count. "
                "Measure it, or give observables."
            )
        try:
            request = self._request([self._pub(name, grid.parameters, np.zeros((1, len(wanted))))])
        except InvalidInputError as error:
            raise InvalidInputError(f"Circuit {name!r}: {error}") from error
        pub = request.pubs[0]
        return PlannedCircuit(
            name=name,
            fingerprint=request.fingerprint_by(versions.fingerprint),
            executions=_shots(pub, request.options) * _bases(pub),
        )

    def _request(self, pubs: Iterable[Any]) -> PrimitiveRequest:
        """Return a request for PUBs, without sending it; making one checks them."""
        if self.observables:
            return estimator_request(
                pubs,
                precision=self.precision,
                options=self.options,
                implementation=self.implementation,
            )
        return sampler_request(
            pubs, shots=self.shots, options=self.options, implementation=self.implementation
        )


def _of_axes(axes: Mapping[str, Iterable[float]]) -> SweepGrid:
    with input_errors("The grid is"):
        return SweepGrid(
            axes=[Axis(name=name, values=[float(one) for one in axes[name]]) for name in axes]
        )


def _told(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"]
        for one in error.errors()
    )


def _by_name(what: str, named: Named[T]) -> dict[str, T]:
    pairs = list(named.items() if isinstance(named, Mapping) else named)
    check_different(what, [name for name, _ in pairs])
    return dict(pairs)


def _shots(pub: SamplerPub | EstimatorPub, options: Any) -> int:
    """Return how often a PUB's circuits run: an upper bound, if its options allow several."""
    if isinstance(pub, SamplerPub):
        wanted = pub.shots or _number(options.default_shots) or DEFAULT_SHOTS
    else:
        precision = pub.precision or _number(options.default_precision) or DEFAULT_PRECISION
        by_options = None if pub.precision else _number(options.default_shots)
        wanted = by_options or math.ceil(1 / precision**2)
    twirling = options.twirling
    randomizations = _number(twirling.num_randomizations) or 0
    return int(max(wanted, randomizations * (_number(twirling.shots_per_randomization) or 0)))


def _bases(pub: SamplerPub | EstimatorPub) -> int:
    """Return the number of measurement bases per point, with each observable measured alone."""
    if isinstance(pub, SamplerPub):
        return 1
    total = 0
    for observable in cast(ObservablesArray, pub.observables).ravel():
        paulis = {label.translate(_BASES) for label in observable}
        wanted = sorted(label for label in paulis if label.strip("I"))
        total += len(PauliList(wanted).group_commuting(qubit_wise=True)) if wanted else 1
    return total


def _number(option: Any) -> Any:
    """Return a numeric option, or ``None`` if it is unset or ``auto``."""
    return option if isinstance(option, int | float) else None
