"""Changes a recorded device as a new calibration does: drift and faults.

Pure functions with equal results in every process, so that the server shows what the workers
simulate.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SPREAD = 0.2
_LARGEST_ERROR = 0.99
_READOUT = ("readout_error", "prob_meas0_prep1", "prob_meas1_prep0")


class _Factors:
    """A factor near 1 for each name. Equal keys and names give equal factors."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, *name: object) -> float:
        # Not for secrets: every process must get the same calibration.
        generator = random.Random(f"{self._key}/{name}")  # noqa: S311
        return generator.uniform(1 - SPREAD, 1 + SPREAD)


def drifted(properties: dict[str, Any], *, seed: int, backend: str, number: int) -> dict[str, Any]:
    """Return the properties after the calibration with this number; 0 is the recording itself.

    T1, T2, readout errors and gate errors are each multiplied by a factor between 0.8 and 1.2,
    derived from seed, backend, number and qubits. Gates on the same qubits share a factor. T2
    stays at most twice T1, and errors stay below 1. Durations do not change.
    """
    if number == 0:
        return properties
    factor = _Factors(f"{seed}/{backend}/{number}")
    return {
        **properties,
        "qubits": [
            _drifted_qubit(qubit, index, factor) for index, qubit in enumerate(properties["qubits"])
        ],
        "gates": [_drifted_gate(gate, factor) for gate in properties["gates"]],
    }


def dated(properties: dict[str, Any], moment: str) -> dict[str, Any]:
    """Return the properties dated to a moment (ISO date and time), except frequencies."""

    def renewed(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            parameter if parameter["unit"] == "GHz" else {**parameter, "date": moment}
            for parameter in parameters
        ]

    return {
        **properties,
        "last_update_date": moment,
        "qubits": [renewed(qubit) for qubit in properties["qubits"]],
        "gates": [
            {**gate, "parameters": renewed(gate["parameters"])} for gate in properties["gates"]
        ],
    }


def faulty(
    properties: dict[str, Any],
    qubits: Collection[int],
    gates: Collection[tuple[str, tuple[int, ...]]],
) -> dict[str, Any]:
    """Return the properties with some qubits and gates marked as not operational."""
    mark = {
        "date": properties["last_update_date"],
        "name": "operational",
        "unit": "",
        "value": 0,
    }
    return {
        **properties,
        "qubits": [
            [*qubit, mark] if index in qubits else qubit
            for index, qubit in enumerate(properties["qubits"])
        ],
        "gates": [
            {**gate, "parameters": [*gate["parameters"], mark]}
            if (gate["gate"], tuple(gate["qubits"])) in gates
            else gate
            for gate in properties["gates"]
        ],
    }


def _drifted_qubit(
    parameters: list[dict[str, Any]], index: int, factor: Callable[..., float]
) -> list[dict[str, Any]]:
    changed = {}
    for parameter in parameters:
        name, value = parameter["name"], parameter["value"]
        if name in ("T1", "T2"):
            changed[name] = value * factor(name, index)
        elif name in _READOUT:
            changed[name] = min(value * factor("readout", index), _LARGEST_ERROR)
    if "T1" in changed and "T2" in changed:
        changed["T2"] = min(changed["T2"], 2 * changed["T1"])
    return [
        {**parameter, "value": changed.get(parameter["name"], parameter["value"])}
        for parameter in parameters
    ]


def _drifted_gate(gate: dict[str, Any], factor: Callable[..., float]) -> dict[str, Any]:
    qubits = tuple(gate["qubits"])
    measures = gate["gate"].startswith("measure")
    share = factor("readout", *qubits) if measures else factor("gate", *sorted(qubits))
    return {
        **gate,
        "parameters": [
            {**parameter, "value": min(parameter["value"] * share, _LARGEST_ERROR)}
            if parameter["name"] == "gate_error"
            else parameter
            for parameter in gate["parameters"]
        ],
    }
