"""What a resumed run must not make again: random draws and transpiled circuits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.transpiler import Target
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime import IBMBackend
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.utils.validations import validate_isa_circuits

from session_block.errors import InvalidInputError, LedgerError
from session_block.fingerprint import fingerprint_circuit
from session_block.ledger import Ledger
from session_block.results import decode_circuit, encode_circuit

OPTIMIZATION_LEVEL = 1
SEED = 0


def record_once(ledger: Ledger, experiment: str, key: str, draw: Callable[[], Any]) -> Any:
    """Return the JSON value that the first ``draw()`` under this key gave.

    Raises:
        InvalidInputError: The drawn value is no JSON value.
    """
    fact_key = f"once/{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    fact = ledger.get(experiment, fact_key)
    if fact is None:
        value = draw()
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"once({key!r}) drew a {type(value).__qualname__}, which is no JSON value "
                f"({error}). Draw numbers, text, lists or dicts of these, or a NumPy array."
            ) from error
        ledger.create(experiment, fact_key, {"key": key, "value": value})
        fact = ledger.get(experiment, fact_key)
    if fact is None:
        raise LedgerError(f"The ledger lost what once({key!r}) had recorded.")
    return fact.body["value"]


class Pins:
    """Transpiles each circuit of an experiment once, and keeps what came of it.

    Calibrations, and with them what the transpiler makes of a circuit, change from day to day, and
    with its version; a resumed run needs the circuit with which it began.

    Args:
        ledger: Where circuits are kept, as QPY.
        experiment: The experiment's UID.
        backend: Gives the backend that circuits are transpiled for.
        target: Gives what a circuit may consist of.
    """

    def __init__(
        self,
        ledger: Ledger,
        experiment: str,
        backend: Callable[[], IBMBackend],
        target: Callable[[], Target],
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._backend = backend
        self._target = target
        self._known: dict[str, QuantumCircuit | None] = {}

    def transpiled(
        self, circuit: QuantumCircuit, optimization_level: int, seed_transpiler: int
    ) -> QuantumCircuit:
        """Return the ISA circuit that stands for a circuit; made now if there is none yet."""
        key = _key(circuit, optimization_level, seed_transpiler)
        if self._known.get(key) is None:
            pinned = self._latest(key)
            self._known[key] = (
                self._pin(key, 1, circuit, optimization_level, seed_transpiler)
                if pinned is None
                else pinned
            )
        found = self._known[key]
        if found is None:
            raise LedgerError(f"The ledger lost the pinned circuit {circuit.name!r}.")
        return found

    def fitting(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return a circuit as it is if it fits the backend, else the ISA circuit for it.

        Which of the two is recorded, so that asking again touches no network.
        """
        key = _key(circuit, OPTIMIZATION_LEVEL, SEED)
        if key not in self._known:
            if self._ledger.get(self._experiment, f"fits/{key}") is not None:
                self._known[key] = None
            elif (pinned := self._latest(key)) is not None:
                self._known[key] = pinned
            elif self._fits(circuit):
                self._ledger.create(self._experiment, f"fits/{key}", {"name": circuit.name})
                self._known[key] = None
            else:
                self._known[key] = self._pin(key, 1, circuit, OPTIMIZATION_LEVEL, SEED)
        found = self._known[key]
        return circuit if found is None else found

    def repin(
        self, circuit: QuantumCircuit, optimization_level: int, seed_transpiler: int
    ) -> QuantumCircuit:
        """Transpile a circuit once more, for the backend as it is now; later jobs run that one."""
        key = _key(circuit, optimization_level, seed_transpiler)
        number = len(self._ledger.facts(self._experiment, f"circuit/{key}/")) + 1
        pinned = self._pin(key, number, circuit, optimization_level, seed_transpiler)
        self._known[key] = pinned
        return pinned

    def _fits(self, circuit: QuantumCircuit) -> bool:
        try:
            validate_isa_circuits([circuit], self._target())
        except IBMInputValueError:
            return False
        return True

    def _latest(self, key: str) -> QuantumCircuit | None:
        facts = self._ledger.facts(self._experiment, f"circuit/{key}/")
        return self._read(max(facts, key=lambda one: one.key).key) if facts else None

    def _read(self, key: str) -> QuantumCircuit:
        fact = self._ledger.get(self._experiment, key)
        if fact is None or fact.payload is None:
            raise LedgerError(f"The ledger lost the pinned circuit {key}.")
        return decode_circuit(fact.payload)

    def _pin(
        self,
        key: str,
        number: int,
        circuit: QuantumCircuit,
        optimization_level: int,
        seed_transpiler: int,
    ) -> QuantumCircuit:
        device = self._backend()
        pass_manager = generate_preset_pass_manager(
            backend=device,
            optimization_level=optimization_level,
            seed_transpiler=seed_transpiler,
        )
        fact_key = f"circuit/{key}/{number:03d}"
        self._ledger.create(
            self._experiment,
            fact_key,
            {"name": circuit.name, "backend": device.name, "seed_transpiler": seed_transpiler},
            encode_circuit(pass_manager.run(circuit)),
        )
        return self._read(fact_key)


class PinnedTranspiler:
    """What algorithms take for a transpiler: each circuit is transpiled once, and pinned.

    Args:
        transpile: Transpiles one circuit.
    """

    def __init__(self, transpile: Callable[[QuantumCircuit], QuantumCircuit]) -> None:
        self._transpile = transpile

    def run(self, circuits: QuantumCircuit | Sequence[QuantumCircuit], **options: Any) -> Any:
        """Return the ISA circuit, or the ISA circuits.

        Raises:
            InvalidInputError: Options were given; they belong to ``experiment.transpiler()``.
        """
        if options:
            raise InvalidInputError(
                f"The pinned transpiler takes no options ({', '.join(options)}): give "
                "optimization_level and seed_transpiler to experiment.transpiler()."
            )
        if isinstance(circuits, QuantumCircuit):
            return self._transpile(circuits)
        return [self._transpile(circuit) for circuit in circuits]


def _key(circuit: QuantumCircuit, optimization_level: int, seed_transpiler: int) -> str:
    identity = f"{fingerprint_circuit(circuit)}/{optimization_level}/{seed_transpiler}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
