"""How a device differs from its recording after it was calibrated anew: drift, and faults.

Pure, and equal in every process, so that the server shows what the workers simulate.
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
    """One factor near 1 for each name that is asked for; equal for an equal key."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, *name: object) -> float:
        # No secret: the same calibration has to come out in every process.
        generator = random.Random(f"{self._key}/{name}")  # noqa: S311
        return generator.uniform(1 - SPREAD, 1 + SPREAD)


def drifted(properties: dict[str, Any], *, seed: int, backend: str, number: int) -> dict[str, Any]:
    """Return the properties after the calibration of that number; 0 is the recording itself.

    T1, T2, readout errors and gate errors are each multiplied by a factor between 0.8 and 1.2
    that follows from seed, backend, number, and the qubits concerned. Gates on the same qubits
    share one. T2 stays at most twice T1, and errors below 1; durations do not change.
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
    """Return the properties as updated at a moment (ISO date and time), all but frequencies."""

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
