"""The problems that QAOA optimises: Max-Cut and the Ising model, given as edge lists."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from qiskit.quantum_info import SparsePauliOp

MAX_NODES = 1000
"""More than the qubits of any IBM backend."""

BRUTE_FORCE_NODES = 20
"""Largest number of nodes for which the exact optimum is found by trying all bit strings."""

Edge = Annotated[
    tuple[int, int] | tuple[int, int, float],
    WithJsonSchema(
        {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "integer"}, {"type": "number"}],
            "minItems": 2,
            "maxItems": 3,
        }
    ),
]
"""Two nodes and an optional weight (default 1). The JSON schema makes it one list in a form, not a
choice between two."""

Bits = NDArray[np.bool_]
Values = NDArray[np.float64]


class Terms(NamedTuple):
    """The terms of a bit string's value: Σ J_ij Z_i Z_j + Σ h_i Z_i + constant.

    Attributes:
        couplings: The J_ij, as ``(i, j, J)``.
        fields: The h_i, as ``(i, h)``.
        constant: The part that does not depend on the bits.

    Examples:
        >>> terms = MaxCut(edges=[(0, 1), (1, 2, 3.0)]).terms
        >>> terms.couplings
        [(0, 1, -0.5), (1, 2, -1.5)]
        >>> terms.constant
        2.0
    """

    couplings: list[tuple[int, int, float]]
    fields: list[tuple[int, float]]
    constant: float


class SpinProblem(BaseModel, ABC):
    """A problem that gives each bit string a value; a string has one bit per node of a graph.

    Node i is qubit i; Z_i is 1 if its bit is 0, and −1 if it is 1. Bit strings are in Qiskit's
    order: node 0 is rightmost.

    Attributes:
        maximised: Whether the highest value is best; otherwise the lowest is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    maximised: ClassVar[bool]

    nodes: int | None = Field(
        None,
        title="Nodes",
        description="How many nodes there are; by default, up to the highest one named.",
    )

    @property
    @abstractmethod
    def terms(self) -> Terms:
        """The value as a polynomial of the Z_i.

        Examples:
            >>> Ising(couplings=[(0, 1, -1.0)], fields=[(0, 0.5)], offset=2.0).terms
            Terms(couplings=[(0, 1, -1.0)], fields=[(0, 0.5)], constant=2.0)
        """

    @abstractmethod
    def _named(self) -> list[tuple[int, ...]]:
        """Return the nodes of each entry, in the order given."""

    def model_post_init(self, context: Any, /) -> None:
        """Check that the entries define a valid problem.

        Raises:
            ValueError: They do not; pydantic turns this into a ``ValidationError``.
        """
        super().model_post_init(context)
        named = self._named()
        for entry in named:
            self._check(entry)
        _check_unequal(named)
        if self.nodes is not None and self.nodes < 1:
            raise ValueError(f"There cannot be {self.nodes} nodes; leave nodes out, or give more.")
        if self.num_nodes > MAX_NODES:
            raise ValueError(
                f"{self.num_nodes} nodes are too many: each takes a qubit, and no backend has more "
                f"than {MAX_NODES}. Number the nodes from 0 without gaps, or split the problem."
            )
        if not self.strength:
            raise ValueError(
                "All bit strings have the same value, as nothing has a weight other than 0, so "
                "there is nothing to optimise. Give edges, couplings or fields."
            )

    @property
    def num_nodes(self) -> int:
        """The number of nodes, and so of qubits.

        Examples:
            >>> MaxCut(edges=[(0, 1), (1, 4)]).num_nodes  # nodes 2 and 3 have no edge
            5
        """
        if self.nodes is not None:
            return self.nodes
        return 1 + max((node for entry in self._named() for node in entry), default=-1)

    @property
    def strength(self) -> float:
        """Root mean square, over all nodes, of the weights at a node: √((2 ΣJ² + Σh²) / nodes).

        Examples:
            >>> round(MaxCut(edges=[(0, 1), (1, 2), (0, 2)]).strength, 3)
            0.707
        """
        couplings, fields, _ = self.terms
        squares = 2 * sum(j * j for _, _, j in couplings) + sum(h * h for _, h in fields)
        return math.sqrt(squares / max(self.num_nodes, 1))

    @property
    def spread(self) -> float:
        """Standard deviation of the values of all bit strings: √(ΣJ² + Σh²).

        Examples:
            >>> round(MaxCut(edges=[(0, 1), (1, 2), (0, 2)]).spread, 3)
            0.866
        """
        couplings, fields, _ = self.terms
        return math.hypot(*(j for *_, j in couplings), *(h for _, h in fields))

    def values(self, bits: Bits) -> Values:
        """Return the values of bit strings.

        Args:
            bits: Shape ``(strings, nodes)``; column i is node i.

        Returns:
            Shape ``(strings,)``.

        Examples:
            >>> triangle = MaxCut(edges=[(0, 1), (1, 2), (0, 2)])
            >>> strings = np.array([[False, False, False], [True, False, False]])
            >>> triangle.values(strings).tolist()  # all on one side; node 0 alone
            [0.0, 2.0]
        """
        couplings, fields, constant = self.terms
        spins = np.ascontiguousarray(1 - 2 * bits.T.astype(np.int8))
        total = np.full(bits.shape[0], constant)
        for first, second, coupling in couplings:
            total += coupling * (spins[first] * spins[second])
        for node, field in fields:
            total += field * spins[node]
        return total

    def operator(self) -> SparsePauliOp:
        """Return the value as an observable, without the constant.

        Examples:
            >>> operator = Ising(couplings=[(0, 1, -1.0)], fields=[(0, 0.5)]).operator()
            >>> [(label, coefficient.real) for label, coefficient in operator.to_list()]
            [('ZZ', -1.0), ('IZ', 0.5)]
        """
        couplings, fields, _ = self.terms
        pairs = [("ZZ", [first, second], value) for first, second, value in couplings]
        singles = [("Z", [node], value) for node, value in fields]
        return SparsePauliOp.from_sparse_list([*pairs, *singles], self.num_nodes)

    def extremes(self) -> tuple[float, float] | None:
        """Find the lowest and the highest value by trying all bit strings.

        Returns:
            The two values, or ``None`` with more than 20 nodes.

        Examples:
            >>> MaxCut(edges=[(0, 1), (1, 2), (0, 2)]).extremes()  # no cut takes all three edges
            (0.0, 2.0)
        """
        if self.num_nodes > BRUTE_FORCE_NODES:
            return None
        strings = np.arange(2**self.num_nodes, dtype="<u4")
        octets = strings.view(np.uint8).reshape(-1, 4)
        bits = np.unpackbits(octets, axis=1, count=self.num_nodes, bitorder="little")
        values = self.values(bits.astype(bool))
        return float(values.min()), float(values.max())

    def _check(self, entry: tuple[int, ...]) -> None:
        if min(entry) < 0:
            raise ValueError(f"{_shown(entry)} has a negative node; nodes are counted from 0.")
        if len(set(entry)) < len(entry):
            raise ValueError(
                f"{_shown(entry)} joins a node to itself, so it counts the same for all bit "
                "strings. Leave it out."
            )
        if self.nodes is not None and max(entry) >= self.nodes:
            raise ValueError(
                f"{_shown(entry)} names a node that does not exist: the last of {self.nodes} "
                f"nodes is {self.nodes - 1}."
            )


class MaxCut(SpinProblem):
    """Max-Cut: split a graph's nodes in two so that the edges between have the highest weight.

    The value is the cut: the sum of the weights w_ij of all edges whose ends have different bits,
    Σ w_ij (1 − Z_i Z_j) / 2.

    Examples:
        >>> weighted = MaxCut(edges=[(0, 1), (1, 2), (0, 2, 0.5)])
        >>> weighted.extremes()  # the worst cut and the best one
        (0.0, 2.0)
        >>> Ising(couplings=weighted.terms.couplings, offset=weighted.terms.constant).extremes()
        (0.0, 2.0)
    """

    maximised: ClassVar[bool] = True

    edges: list[Edge] = Field(
        title="Edges",
        description="Pairs of nodes, or triples of two nodes and a weight. The default is 1.",
    )

    @property
    def terms(self) -> Terms:
        """The cut as a polynomial of the Z_i.

        Examples:
            >>> MaxCut(edges=[(0, 1)]).terms  # 1/2 − 1/2 Z_0 Z_1
            Terms(couplings=[(0, 1, -0.5)], fields=[], constant=0.5)
        """
        weighted = [(edge[0], edge[1], edge[2] if len(edge) > 2 else 1.0) for edge in self.edges]  # noqa: PLR2004
        couplings = [(first, second, -weight / 2) for first, second, weight in weighted]
        return Terms(couplings, [], sum(weight for *_, weight in weighted) / 2)

    def _named(self) -> list[tuple[int, ...]]:
        return [edge[:2] for edge in self.edges]


class Ising(SpinProblem):
    """The Ising model: find the spins Z_i = ±1 of the lowest energy.

    The value is the energy, Σ J_ij Z_i Z_j + Σ h_i Z_i + offset.

    Examples:
        >>> chain = Ising(couplings=[(0, 1, 1.0), (1, 2, 1.0)], fields=[(0, 0.1)])
        >>> chain.extremes()  # neighbours differ, and node 0 is 1: −1 − 1 − 0.1
        (-2.1, 2.1)
    """

    maximised: ClassVar[bool] = False

    couplings: list[tuple[int, int, float]] = Field(
        [], title="Couplings", description="Triples of two nodes and J."
    )
    fields: list[tuple[int, float]] = Field(
        [], title="Fields", description="Pairs of a node and h."
    )
    offset: float = Field(0.0, title="Offset", description="Added to every energy.")

    @property
    def terms(self) -> Terms:
        """The energy as a polynomial of the Z_i.

        Examples:
            >>> Ising(couplings=[(0, 1, -1.0)], fields=[(0, 0.5)], offset=2.0).terms
            Terms(couplings=[(0, 1, -1.0)], fields=[(0, 0.5)], constant=2.0)
        """
        return Terms(self.couplings, self.fields, self.offset)

    def _named(self) -> list[tuple[int, ...]]:
        return [*(entry[:2] for entry in self.couplings), *(entry[:1] for entry in self.fields)]


def _check_unequal(named: Iterable[tuple[int, ...]]) -> None:
    seen: set[tuple[int, ...]] = set()
    for entry in named:
        key = tuple(sorted(entry))
        if key in seen:
            raise ValueError(f"{_shown(entry)} is given twice; give it once, with the sum.")
        seen.add(key)


def _shown(entry: Sequence[int]) -> str:
    return f"{'Field' if len(entry) == 1 else 'Edge'} {list(entry)}"


TUTORIAL = MaxCut(edges=[(0, 1), (0, 2), (0, 4), (1, 2), (2, 3), (3, 4)])
"""The graph of IBM's QAOA tutorial. The largest cut is 5."""
