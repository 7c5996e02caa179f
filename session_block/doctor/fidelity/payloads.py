"""What the suite's jobs run: small programs, encoded as the client encodes them.

Each is made for a device of at least two qubits with the usual gates; what is to fail, fails there
for the one reason that its name says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from math import pi
from typing import Any

_SHOTS = 512
_MOST_SHOTS = 100_000
_PUBS_BEYOND_LIMIT = 101
"""With so many shots each, these are more than the ten million executions of a job."""

_SHOTS_BEYOND_A_SECOND = 40_000


def _encoded(params: dict[str, Any]) -> Any:
    from qiskit_ibm_runtime import RuntimeEncoder

    return json.loads(json.dumps(params, cls=RuntimeEncoder))


def _measured(*gates: str) -> Any:
    """Return a circuit of one qubit with some gates, and a measurement."""
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(1, 1)
    for gate in gates:
        getattr(circuit, gate)(0)
    circuit.measure(0, 0)
    return circuit


def _flipped() -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(1)
    circuit.x(0)
    return circuit


def _fractional(angle: float) -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(2)
    circuit.rzz(angle, 0, 1)
    return circuit


def _dynamic() -> Any:
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def _sampler(circuit: Any, shots: int = _SHOTS, *, pubs: int = 1) -> Any:
    return _encoded(
        {
            "pubs": [[circuit, None, shots]] * pubs,
            "options": {},
            "version": 2,
            "support_qiskit": True,
        }
    )


def _estimator(circuit: Any, level: int = 0, *, observable: str = "Z") -> Any:
    return _encoded(
        {
            "pubs": [[circuit, {observable: 1}, None, None]],
            "options": {},
            "resilience_level": level,
            "version": 2,
            "support_qiskit": True,
        }
    )


def _executor(circuit: Any) -> Any:
    from qiskit_ibm_runtime import Executor
    from qiskit_ibm_runtime.options_models import ExecutorOptions
    from qiskit_ibm_runtime.quantum_program import QuantumProgram
    from qiskit_ibm_runtime.quantum_program.params_converters import (
        QUANTUM_PROGRAM_PARAMS_CONVERTERS,
    )

    program = QuantumProgram(shots=_SHOTS)
    program.append_circuit_item(circuit)
    converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS[Executor._SCHEMA_VERSION]  # noqa: SLF001
    return converter.encoder(program, ExecutorOptions()).model_dump(mode="json")


_MAKERS: Mapping[str, Callable[[], Any]] = {
    "sampler": lambda: _sampler(_measured()),
    "sampler_not_isa": lambda: _sampler(_measured("h")),
    "sampler_too_many_executions": lambda: _sampler(
        _measured(), _MOST_SHOTS, pubs=_PUBS_BEYOND_LIMIT
    ),
    "sampler_longer_than_a_second": lambda: _sampler(_measured(), _SHOTS_BEYOND_A_SECOND),
    "estimator": lambda: _estimator(_flipped()),
    "estimator_level_1": lambda: _estimator(_flipped(), 1),
    "estimator_wide_observable": lambda: _estimator(_flipped(), observable="ZZ"),
    "estimator_angle": lambda: _estimator(_fractional(2 * pi / 3), observable="ZZ"),
    "estimator_fractional_level_2": lambda: _estimator(_fractional(pi / 4), 2, observable="ZZ"),
    "estimator_dynamic": lambda: _estimator(_dynamic()),
    "executor": lambda: _executor(_measured()),
    "executor_not_isa": lambda: _executor(_measured("h")),
}


class _Payloads(Mapping[str, Any]):
    """All payloads by name, ``payload_…``; each is encoded when it is first used."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _MAKERS[name.removeprefix("payload_")]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return (f"payload_{name}" for name in _MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


ALL: Mapping[str, Any] = _Payloads()
