"""Pure: in which order a sweep runs its points, and how they are dealt out to jobs."""

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
"""Most executions of one job: circuits after broadcasting × shots. IBM's page "Job limits" has said
5 and 10 million, for both primitives and for the Sampler alone; the smallest is kept for both."""

MAX_NUMBERS = 1_000_000
"""Most numbers in a sweep's report: of each row its parameter values, and the value and the
standard error of each observable, or one number of counts."""

MAX_OUTCOMES = 100_000
"""Most outcomes in a sweep's report; its rows have equal shares of them."""


class SweepModel(BaseModel):
    """What a sweep's plan consists of: never changed, and with no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Axis(SweepModel):
    """One parameter of a grid."""

    name: str = Field(min_length=1, title="name", description="The circuits' parameter.")
    values: list[FiniteFloat] = Field(
        min_length=1,
        title="values",
        description="Its values, in order; radians, where it is an angle.",
    )


class SweepGrid(SweepModel):
    """The parameter values of a sweep: a product of axes, or a list of points."""

    axes: list[Axis] = Field(
        [],
        title="axes",
        description=(
            "Their product is the grid; the last axis varies fastest. None at all is one point, "
            "for circuits without parameters."
        ),
    )
    points: list[dict[str, FiniteFloat]] | None = Field(
        None,
        title="points",
        description="The points one by one, instead of axes; each names all parameters.",
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
                    f"{sorted(self.points[0])}. Give every point a value of every parameter."
                )
        return self

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, in the order of the columns of :attr:`values`."""
        if self.points is None:
            return [axis.name for axis in self.axes]
        return sorted(self.points[0])

    @property
    def size(self) -> int:
        """How many points there are."""
        if self.points is None:
            return math.prod(len(axis.values) for axis in self.axes)
        return len(self.points)

    @cached_property
    def values(self) -> np.ndarray:
        """The points in order, as an array of the shape (points, parameters)."""
        rows: Any = (
            list(product(*(axis.values for axis in self.axes)))
            if self.points is None
            else [[point[name] for name in self.parameters] for point in self.points]
        )
        return np.array(rows, dtype=float).reshape(self.size, len(self.parameters))


def check_different(what: str, names: Sequence[str]) -> None:
    """Check that names differ.

    Raises:
        InvalidInputError: Two are equal; the message names them.
    """
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError(f"Two of a sweep have the same name: {what} {name!r}.")


class ChunkLimits(SweepModel):
    """How much goes into one job."""

    max_points: int = Field(
        1000,
        ge=1,
        title="max_points",
        description="Most points, each of which is one row of the report.",
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
            "Most executions, circuits after broadcasting × shots; IBM's limit at most. An "
            "observable counts once for each basis that it is measured in, as if it were measured "
            "by itself. What error mitigation adds is not counted: leave room for it."
        ),
    )


class PlannedCircuit(SweepModel):
    """One circuit of a sweep.

    Attributes:
        name: What the report calls it.
        fingerprint: Of a request for one point of it, with its observables and options.
        executions: How many executions one point of it takes.
    """

    name: str
    fingerprint: str
    executions: int


@dataclass(frozen=True)
class Span:
    """Successive points of one circuit in one repetition: a PUB.

    Attributes:
        repetition: Counted from 1.
        circuit: Its place among the plan's circuits.
        first: The first point's place in the grid.
        count: How many points.
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
        """How many points it has."""
        return sum(span.count for span in self.spans)


class SweepPlan(SweepModel):
    """All that a sweep runs, and in which jobs; the experiment records it before the first one.

    Repetitions are outermost, so that each pass over all circuits is whole before the next begins;
    then come circuits, then points.

    Attributes:
        kind: The primitive.
        circuits: In order.
        observables: Names of what is estimated; none for counts.
        grid: The parameter values.
        repetitions: How often each point of each circuit is run.
        limits: How much goes into one job.
    """

    kind: PrimitiveKind
    circuits: list[PlannedCircuit]
    observables: list[str]
    grid: SweepGrid
    repetitions: int = Field(ge=1)
    limits: ChunkLimits

    @property
    def rows(self) -> int:
        """How many rows the report has when all is done."""
        return self.repetitions * len(self.circuits) * self.grid.size

    @property
    def outcomes_per_row(self) -> int:
        """How many outcomes the counts of one row list: :data:`MAX_OUTCOMES` over the rows."""
        return max(1, MAX_OUTCOMES // self.rows)

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The jobs, in the order of their submission; equal plans have equal ones.

        Labels bear a digest of the plan, so that one never stands for another plan's job, not even
        if the ledger, and with it what each label stood for, was lost.
        """
        digest = hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()
        return [
            Chunk(number, f"sweep/{digest[:12]}/{number}", tuple(spans))
            for number, spans in enumerate(self._deal(), start=1)
        ]

    def check_size(self) -> None:
        """Check that the report stays of a size that ledger and flow can carry.

        Raises:
            InvalidInputError: It does not.
        """
        numbers = self.rows * (len(self.grid.parameters) + max(1, 2 * len(self.observables)))
        if numbers > MAX_NUMBERS:
            raise InvalidInputError(
                f"The sweep has {self.rows} rows ({self.grid.size} points × {len(self.circuits)} "
                f"circuits × {self.repetitions} repetitions), and its report {numbers} numbers; "
                f"{MAX_NUMBERS} fit. Split it into several experiments."
            )

    def check_executions(self) -> None:
        """Check that each point fits into a job.

        Raises:
            InvalidInputError: One does not.
        """
        for circuit in self.circuits:
            if circuit.executions > self.limits.max_executions:
                raise InvalidInputError(
                    f"One point of circuit {circuit.name!r} takes {circuit.executions} executions "
                    f"(circuits × shots), and a job at most {self.limits.max_executions}. Take "
                    "fewer shots or a coarser precision, or fewer observables."
                )

    def differences(self, other: SweepPlan) -> list[str]:
        """Return the names of what differs; limits and counts of executions change no result."""
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
        """Fill one job after the other with as many of the next points as its limits let in."""
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
