"""What the rules look at: a request, where it would run, and what the client would send for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qiskit import QuantumCircuit
from qiskit.transpiler import Target
from qiskit_ibm_runtime import IBMBackend

from session_block.client import EXECUTOR, Program
from session_block.prechecks.circuits import first_fractional
from session_block.pubs.families import is_unset
from session_block.pubs.request import PrimitiveRequest, Request

NOISE_LEARNER = "noise-learner"
_MITIGATING_LEVEL = 2


@dataclass(frozen=True)
class Device:
    """Where a request would run.

    Attributes:
        backend: The backend, as the client's object.
        target: What circuits may consist of there.
    """

    backend: IBMBackend
    target: Target

    @cached_property
    def max_experiments(self) -> int | None:
        """How many circuits a job may have, as the backend says; ``None`` if it does not."""
        most = getattr(self.backend.configuration(), "max_experiments", None)
        return most if isinstance(most, int) else None


@dataclass(frozen=True)
class Subject:
    """One job to be.

    Attributes:
        request: What is asked.
        device: Where it would run.
        program: What the client would send; ``None`` before it is made, or if it cannot be.
    """

    request: Request
    device: Device
    program: Program | None = None

    @property
    def family(self) -> str:
        """Whose rules count: ``v2``, ``executor``, or the platform's name of another program."""
        return self.request.implementation or self.request.kind

    @property
    def is_estimator(self) -> bool:
        """Whether it asks the Estimator, of either family."""
        return self.request.kind == "estimator"

    @property
    def is_server_side(self) -> bool:
        """Whether the platform's own program post-processes it: the Sampler's or Estimator's."""
        return self.request.implementation == "v2" and isinstance(self.request, PrimitiveRequest)

    @property
    def is_quantum_program(self) -> bool:
        """Whether it is the user's own program for the Executor."""
        return self.request.kind == self.request.implementation == EXECUTOR

    @cached_property
    def circuits(self) -> Sequence[QuantumCircuit]:
        """The circuits that have to fit the backend."""
        return self.request.circuits

    @property
    def pubs(self) -> Sequence[Any]:
        """The PUBs, if it is a request of a primitive."""
        return self.request.pubs if isinstance(self.request, PrimitiveRequest) else ()

    @property
    def num_circuits(self) -> int:
        """How many PUBs, or items of a program, the job would have."""
        made = self._encoded
        sizes = None if made is None else made.item_sizes
        return len(self.circuits) if sizes is None else len(sizes)

    @property
    def executions(self) -> int | None:
        """How many executions the job takes; ``None`` if the platform alone can tell."""
        made = self._encoded
        return None if made is None else made.executions

    @property
    def _encoded(self) -> Program | None:
        """What the client's Executor made; what a user gave by name may be of any form."""
        return self.program if self.request.implementation == EXECUTOR else None

    def option(self, *path: str) -> Any:
        """Return an option by its path; ``None`` if it has the default or does not exist."""
        return option_of(self.request.options, *path)

    @property
    def level(self) -> int:
        """The Estimator's resilience level."""
        level = self.option("resilience_level")
        return level if isinstance(level, int) else 1

    @property
    def twirls_gates(self) -> bool:
        """Whether gates are twirled, by an option or because of the resilience level."""
        asked = self.option("twirling", "enable_gates")
        if asked is None:
            return self.is_estimator and self.level >= _MITIGATING_LEVEL
        return bool(asked)

    @property
    def amplifies_noise(self) -> bool:
        """Whether ZNE is on, by an option or because of the resilience level."""
        asked = self.option("resilience", "zne_mitigation")
        if asked is None:
            return self.is_estimator and self.level >= _MITIGATING_LEVEL
        return bool(asked)

    def fractional(self) -> tuple[int, str] | None:
        """Return which circuit has a fractional gate, and its name."""
        return first_fractional(self.circuits)

    def learned(self) -> Iterator[QuantumCircuit]:
        """Give the circuits whose noise is to be learned; of boxes, what is in them."""
        given = self.request.inputs
        listed = given.get("layers", given.get("circuits"))
        for one in listed if isinstance(listed, list | tuple) else ():
            operation = getattr(one, "operation", None)
            if operation is not None:
                yield from getattr(operation, "blocks", ())
            elif isinstance(one, tuple | list):
                yield from (part for part in one[:1] if isinstance(part, QuantumCircuit))
            elif isinstance(circuit := getattr(one, "circuit", one), QuantumCircuit):
                yield circuit


def option_of(options: Any, *path: str) -> Any:
    """Return an option of either family, or of a dict, by its path; ``None`` if it is not set."""
    value = options
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        if value is None or is_unset(value):
            return None
    return value
