"""What a resumed run must not make again: random draws and transpiled circuits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime import IBMBackend

from session_block.errors import InvalidInputError, LedgerError
from session_block.fingerprint import fingerprint_circuit
from session_block.ledger import Ledger
from session_block.results import decode_circuit, encode_circuit


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


def pin_circuit(
    ledger: Ledger,
    experiment: str,
    circuit: QuantumCircuit,
    backend: Callable[[], IBMBackend],
    *,
    optimization_level: int,
    seed_transpiler: int,
) -> QuantumCircuit:
    """Return the ISA circuit of the first time that this circuit was transpiled so.

    Calibrations, and with them what the transpiler makes of a circuit, change from day to day; a
    resumed run needs the circuit with which it began.
    """
    identity = f"{fingerprint_circuit(circuit)}/{optimization_level}/{seed_transpiler}"
    key = f"circuit/{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
    fact = ledger.get(experiment, key)
    if fact is None:
        device = backend()
        pass_manager = generate_preset_pass_manager(
            backend=device,
            optimization_level=optimization_level,
            seed_transpiler=seed_transpiler,
        )
        ledger.create(
            experiment,
            key,
            {"name": circuit.name, "backend": device.name, "seed_transpiler": seed_transpiler},
            encode_circuit(pass_manager.run(circuit)),
        )
        fact = ledger.get(experiment, key)
    if fact is None or fact.payload is None:
        raise LedgerError(f"The ledger lost the pinned circuit {circuit.name!r}.")
    return decode_circuit(fact.payload)
