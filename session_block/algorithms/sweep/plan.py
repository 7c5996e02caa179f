"""Pure: the order in which a sweep runs its points, and their division into jobs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from session_block.errors import InvalidInputError
from session_block.references import PrimitiveKind

MAX_EXECUTIONS = 5_000_000
"""Most executions in one job: circuits after broadcasting × shots. IBM's page "Job limits" has said
5 and 10 million, for both primitives and for the Sampler alone; this is the lowest, for both."""

MAX_NUMBERS = 1_000_000
"""Most numbers in a sweep's report. A row has its parameter values, and for each observable a value
and a standard error, or one number for its counts."""

MAX_OUTCOMES = 100_000
"""Most outcomes in a sweep's report, shared equally by its rows."""


class SweepModel(BaseModel):
    """Base of the parts of a plan: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Axis(SweepModel):
    """One parameter of a grid.

    Examples:
        >>> theta = Axis(name="theta", values=[0.0, 0.5, 1.0])
        >>> SweepGrid(axes=[theta]).size
        3
    """

    name: str = Field(min_length=1, title="name", description="Name of the circuits' parameter.")
    values: list[FiniteFloat] = Field(
        min_length=1,
        title="values",
        description="Its values, in order. Angles are in radians.",
    )


class SweepGrid(SweepModel):
    """The parameter values of a sweep: a product of axes, or a list of points.

    Examples:
        A product of axes, or points one by one:

        >>> grid = SweepGrid(axes=[Axis(name="a", values=[0.0, 1.0]), Axis(name="b", values=[0.5])])
        >>> grid.values.tolist()
        [[0.0, 0.5], [1.0, 0.5]]
        >>> SweepGrid(points=[{"a": 0.0, "b": 0.5}, {"a": 1.0, "b": 0.2}]).size
        2
    """

    axes: list[Axis] = Field(
        [],
        title="axes",
        description=(
            "Their product is the grid; the last axis varies fastest. No axes make one point, "
            "for circuits without parameters."
        ),
    )
    points: list[dict[str, FiniteFloat]] | None = Field(
        None,
        title="points",
        description="A list of points, instead of axes. Each point names all parameters.",
    )

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        if self.points is None:
            check_different("axis", [axis.name for axis in self.axes])
            return self
        if self.axes:
            raise InvalidInputError("A grid has axes or points, not both.")
        if not self.points:
            raise InvalidInputError("The list of points is empty, so there is nothing to run.")
        for number, point in enumerate(self.points):
            if set(point) != set(self.points[0]):
                raise InvalidInputError(
                    f"Point {number} names the parameters {sorted(point)}, and point 0 "
                    f"{sorted(self.points[0])}. Give every point a value for every parameter."
                )
        return self

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, in the order of the columns of :attr:`values`.

        Examples:
            >>> SweepGrid(points=[{"theta": 0.0, "phi": 1.0}]).parameters
            ['phi', 'theta']
        """
        if self.points is None:
            return [axis.name for axis in self.axes]
        return sorted(self.points[0])

    @property
    def size(self) -> int:
        """The number of points.

        Examples:
            >>> a, b = Axis(name="a", values=[0.0, 1.0]), Axis(name="b", values=[0.0, 1.0, 2.0])
            >>> SweepGrid(axes=[a, b]).size
            6
        """
        if self.points is None:
            return math.prod(len(axis.values) for axis in self.axes)
        return len(self.points)

    @cached_property
    def values(self) -> np.ndarray:
        """The points in order; shape (points, parameters).

        Examples:
            >>> a, b = Axis(name="a", values=[0.0, 1.0]), Axis(name="b", values=[5.0, 6.0])
            >>> SweepGrid(axes=[a, b]).values.tolist()  # the last axis varies fastest
            [[0.0, 5.0], [0.0, 6.0], [1.0, 5.0], [1.0, 6.0]]
        """
        rows: Any = (
            list(product(*(axis.values for axis in self.axes)))
            if self.points is None
            else [[point[name] for name in self.parameters] for point in self.points]
        )
        return np.array(rows, dtype=float).reshape(self.size, len(self.parameters))


def check_different(what: str, names: Sequence[str]) -> None:
    """Check that all names differ.

    Raises:
        InvalidInputError: Two are equal; the message names them.
    """
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"Two of a sweep have the same name: {what} {name!r}.")


class ChunkLimits(SweepModel):
    """How much goes into one job.

    Examples:
        >>> angles = {"θ[0]": [0.0, 0.5, 1.0], "θ[1]": [0.0], "θ[2]": [0.0], "θ[3]": [0.0]}
        >>> two_points = ChunkLimits(max_points=2)
        >>> plan = plan_sweep({"ansatz": ansatz}, angles, {"energy": observable}, limits=two_points)
        >>> [chunk.points for chunk in plan.chunks]
        [2, 1]
    """

    max_points: int = Field(
        1000,
        ge=1,
        title="max_points",
        description="Most points. Each point is one row of the report.",
    )
    max_pubs: int = Field(
        100,
        ge=1,
        title="max_pubs",
        description="Most PUBs. A PUB holds points of one circuit and one repetition.",
    )
    max_executions: int = Field(
        MAX_EXECUTIONS,
        ge=1,
        le=MAX_EXECUTIONS,
        title="max_executions",
        description=(
            "Most executions: circuits after broadcasting × shots, up to IBM's limit. Each "
            "observable counts once per basis, as if it were measured alone. What error "
            "mitigation adds is not counted: leave room for it."
        ),
    )


class PlannedCircuit(SweepModel):
    """One circuit of a sweep.

    Attributes:
        name: What the report calls it.
        fingerprint: Fingerprint of a request for one point, with observables and options.
        executions: The executions that one point takes.

    Examples:
        >>> [only] = plan_sweep({"bell": circuit}, {}, shots=1000).circuits
        >>> only.name, only.executions
        ('bell', 1000)
    """

    name: str
    fingerprint: str
    executions: int


@dataclass(frozen=True)
class Span:
    """Consecutive points of one circuit in one repetition: a PUB.

    Attributes:
        repetition: Counted from 1.
        circuit: Index of the circuit in the plan.
        first: Index of the first point in the grid.
        count: The number of points.
    """

    repetition: int
    circuit: int
    first: int
    count: int


@dataclass(frozen=True)
class Chunk:
    """What one job runs.

    Attributes:
        number: Counted from 1.
        label: The label of its request in the experiment.
        spans: Its PUBs.
    """

    number: int
    label: str
    spans: tuple[Span, ...]

    @property
    def points(self) -> int:
        """The number of its points."""
        return sum(span.count for span in self.spans)


class SweepPlan(SweepModel):
    """What a sweep runs, and in which jobs. The experiment records it before the first job.

    Repetitions are the outermost loop, so that one pass over all circuits is complete before the
    next begins; then come circuits, then points.

    Attributes:
        kind: The primitive.
        circuits: In order.
        observables: Names of the observables; empty to take counts.
        grid: The parameter values.
        repetitions: How often each point of each circuit is run.
        limits: How much goes into one job.

    Examples:
        >>> plan = plan_sweep({"bell": circuit}, {}, repetitions=5, shots=1000)
        >>> plan.kind, plan.rows, len(plan.chunks)
        ('sampler', 5, 1)
    """

    kind: PrimitiveKind
    circuits: list[PlannedCircuit]
    observables: list[str]
    grid: SweepGrid
    repetitions: int = Field(ge=1)
    limits: ChunkLimits

    @property
    def rows(self) -> int:
        """The number of rows in the complete report.

        Examples:
            >>> plan_sweep({"bell": circuit, "again": circuit}, {}, repetitions=5).rows
            10
        """
        return self.repetitions * len(self.circuits) * self.grid.size

    @property
    def outcomes_per_row(self) -> int:
        """Most outcomes listed in one row: :data:`MAX_OUTCOMES` divided by the number of rows.

        Examples:
            >>> plan_sweep({"bell": circuit}, {}, repetitions=5).outcomes_per_row
            20000
        """
        return max(1, MAX_OUTCOMES // self.rows)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The jobs, in order of submission; equal plans have equal jobs.

        Labels contain a digest of the plan. So a label never refers to another plan's job, not even
        after the ledger, which knows what each label stood for, was lost.

        Examples:
            >>> limits = ChunkLimits(max_pubs=2)
            >>> plan = plan_sweep({"bell": circuit}, {}, repetitions=5, limits=limits)
            >>> [(chunk.number, chunk.points) for chunk in plan.chunks]
            [(1, 2), (2, 2), (3, 1)]
        """
        digest = hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()
        return [
            Chunk(number, f"sweep/{digest[:12]}/{number}", tuple(spans))
            for number, spans in enumerate(self._deal(), start=1)
        ]

    def check_size(self) -> None:
        """Check that the report is small enough for the ledger and the flow run.

        Raises:
            InvalidInputError: It does not.

        Examples:
            >>> plan_sweep({"bell": circuit}, {}, repetitions=2_000_000)  # plans are checked
            Traceback (most recent call last):
            ...
            session_block.errors.InvalidInputError: The sweep has 2000000 rows ...
        """
        numbers = self.rows * (len(self.grid.parameters) + max(1, 2 * len(self.observables)))
        if numbers > MAX_NUMBERS:
            raise InvalidInputError(
                f"The sweep has {self.rows} rows ({self.grid.size} points × {len(self.circuits)} "
                f"circuits × {self.repetitions} repetitions), and its report {numbers} numbers; "
                f"{MAX_NUMBERS} fit. Split it into several experiments."
            )

    def check_executions(self) -> None:
        """Check that each point fits into one job.

        Raises:
            InvalidInputError: One does not.

        Examples:
            >>> few = ChunkLimits(max_executions=500)
            >>> plan_sweep({"bell": circuit}, {}, shots=1000, limits=few)  # plans are checked
            Traceback (most recent call last):
            ...
            session_block.errors.InvalidInputError: One point of circuit 'bell' takes ...
        """
        for circuit in self.circuits:
            if circuit.executions > self.limits.max_executions:
                raise InvalidInputError(
                    f"One point of circuit {circuit.name!r} takes {circuit.executions} executions "
                    f"(circuits × shots); a job may have {self.limits.max_executions}. Use fewer "
                    "shots, a coarser precision, or fewer observables."
                )

    def differences(self, other: SweepPlan) -> list[str]:
        """Return the names of what differs, except limits and executions: they change no result.

        Examples:
            >>> plan = plan_sweep({"bell": circuit}, {}, repetitions=2)
            >>> plan.differences(plan_sweep({"bell": circuit}, {}, repetitions=3))
            ['repetitions']
        """
        mine, theirs = self._identity(), other._identity()
        return [name for name in mine if mine[name] != theirs[name]]

    def _identity(self) -> dict[str, Any]:
        known = self.model_dump(exclude={"limits": True, "circuits": {"__all__": {"executions"}}})
        circuits = {one["name"]: one["fingerprint"] for one in known.pop("circuits")}
        return {
            **known,
            "names of circuits": list(circuits),
            "circuits, observables, shots, precision or options": list(circuits.values()),
        }

    def _deal(self) -> Iterator[list[Span]]:
        """Fill one job after another with as many of the next points as its limits allow."""
        limits = self.limits
        spans: list[Span] = []
        points, executions = limits.max_points, limits.max_executions
        for repetition, number in product(
            range(1, self.repetitions + 1), range(len(self.circuits))
        ):
            cost = self.circuits[number].executions
            first = 0
            while first < self.grid.size:
                count = min(points, executions // cost, self.grid.size - first)
                if not count or len(spans) == limits.max_pubs:
                    yield spans
                    spans = []
                    points, executions = limits.max_points, limits.max_executions
                    continue
                spans.append(Span(repetition, number, first, count))
                first += count
                points -= count
                executions -= count * cost
        yield spans
