"""Pure: the parameter values of a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from session_block.errors import InvalidInputError


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
