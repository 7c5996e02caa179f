"""Sampled bit strings and their values: means, conditional value at risk, best strings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from qiskit.primitives import BitArray

from session_block.algorithms.ising import Bits, SpinProblem, Values


class BitString(BaseModel):
    """A sampled bit string.

    Attributes:
        bits: In Qiskit's order: node 0 is rightmost.
        value: Its cut or energy.
        count: How often it was sampled.

    Examples:
        >>> with block.experiment("cut") as experiment:
        ...     report = run_qaoa(experiment, MaxCut(edges=[(0, 1), (1, 2)]), optimizer=None)
        >>> best = max(report.samples, key=lambda one: one.value)
        >>> best.bits in {"010", "101"}, best.value  # the node in the middle against the others
        (True, 2.0)
    """

    model_config = ConfigDict(frozen=True)

    bits: str
    value: float
    count: int


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class Samples:
    """The samples of one circuit; each distinct bit string is listed once.

    Attributes:
        bits: Shape ``(strings, nodes)``; column i is node i.
        counts: How often each was sampled; shape ``(strings,)``.
        values: Their values; shape ``(strings,)``.
        maximised: Whether the highest value is best; otherwise the lowest is.
    """

    bits: Bits
    counts: NDArray[np.int64]
    values: Values
    maximised: bool

    @classmethod
    def of(cls, problem: SpinProblem, measured: BitArray) -> Self:
        """Make samples from measured bits.

        Args:
            problem: The problem that gives each bit string its value.
            measured: One bit per node; shape ``()``.
        """
        octets, counts = np.unique(measured.array, axis=0, return_counts=True)
        # Octets are big-endian: the last column is bit 0.
        bits = np.unpackbits(octets, axis=1)[:, ::-1][:, : problem.num_nodes].astype(bool)
        return cls(bits, counts, problem.values(bits), problem.maximised)

    def mean(self, share: float = 1.0) -> Mean:
        """Return the mean of the best ``share`` of all samples: the conditional value at risk.

        The standard error is the asymptotic one, √(Var[(x − q)⁺] / n) / share, where q is the worst
        value of that share, and x − q is positive for better values (Hong, Hu and Liu, ACM Trans.
        Model. Comput. Simul. 24, 22, 2014). With one sample it is 0.

        Args:
            share: Above 0, at most 1; 1 gives the plain mean.
        """
        goodness = np.sort(np.repeat(self.values * self._sign, self.counts))[::-1]
        shots = goodness.size
        best = goodness[: math.ceil(share * shots)]
        excess = np.maximum(goodness - best[-1], 0.0)
        error = float(excess.std(ddof=1)) if shots > 1 else 0.0
        return Mean(self._sign * float(best.mean()), error / (share * math.sqrt(shots)))

    def best(self) -> BitString:
        """Return the best bit string; of equally good ones, the smallest number."""
        return self._string(int(np.argmax(self.values * self._sign)))

    def commonest(self, number: int) -> list[BitString]:
        """Return the most frequent bit strings, most frequent first; ties in numeric order."""
        order = np.argsort(-self.counts, kind="stable")[:number]
        return [self._string(int(place)) for place in order]

    @property
    def shots(self) -> int:
        """The number of samples."""
        return int(self.counts.sum())

    @property
    def _sign(self) -> int:
        return 1 if self.maximised else -1

    def _string(self, place: int) -> BitString:
        return BitString(
            bits="".join("1" if bit else "0" for bit in self.bits[place, ::-1]),
            value=float(self.values[place]),
            count=int(self.counts[place]),
        )
