"""The backends: recordings of IBM's devices from qiskit-ibm-runtime, under IBM's names.

As at IBM, each device has a mock for dry runs: ``mock_fez`` for ``ibm_fez``. The server process
needs no Qiskit for this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from session_block.local_platform.devices import recordings
from session_block.local_platform.devices.calibrations import Calibration, Calibrations, Gate
from session_block.local_platform.errors import bad_request, unknown_backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from session_block.local_platform.clock import Clock
    from session_block.local_platform.workloads.store import Store

# Recordings have fractional gates in their properties, but not in their configuration. The client
# removes them again if they are not wanted.
_FRACTIONAL = {
    "rx": ("theta", "gate rx(theta) q { U(theta, -pi/2, pi/2) q; }"),
    "rzz": ("theta", "gate rzz(theta) q0, q1 { CX q0, q1; U(0, 0, theta) q1; CX q0, q1; }"),
}
_TWO_QUBITS = 2


@dataclass(frozen=True)
class Device:
    """A backend and the recording it is made from. A mock names its device in ``mock_of``."""

    name: str
    recording: str
    mock_of: str | None = None

    @property
    def is_mock(self) -> bool:
        """Whether the backend is for dry runs: no noise and no QPU time."""
        return self.mock_of is not None

    @property
    def owner(self) -> str:
        """The name for ownership and calibrations: the device's, also for its mock."""
        return self.mock_of or self.name


DEVICES = {
    name: Device(name, recording)
    for name, recording in (
        ("ibm_manila", "manila"),
        ("ibm_nairobi", "nairobi"),
        ("ibm_hanoi", "hanoi"),
        ("ibm_sherbrooke", "sherbrooke"),
        ("ibm_fez", "fez"),
        ("ibm_brussels", "brussels"),
        ("ibm_aachen", "aachen"),
    )
}


class Backends:
    """The devices, their mocks and their calibrations.

    Raises:
        ValueError: The client has no recording with the name that a device gives.
    """

    def __init__(
        self, store: Store, clock: Clock, seed: int, devices: Mapping[str, Device] = DEVICES
    ) -> None:
        for device in devices.values():
            if not recordings.exists(device.recording):
                raise ValueError(f"{device.name}: no recording is called {device.recording!r}")
        self._devices = {**{mock.name: mock for mock in map(_mock, devices.values())}, **devices}
        self._calibrations = Calibrations(store, clock, seed)

    def all(self) -> list[Device]:
        """Return all devices and their mocks."""
        return list(self._devices.values())

    def find(self, name: str) -> Device:
        """Return a device by its name.

        Raises:
            ApiError: 404 if there is none.
        """
        try:
            return self._devices[name]
        except KeyError:
            raise unknown_backend(name) from None

    def calibration(self, name: str, calibration_id: str | None = None) -> Calibration:
        """Return a device's calibration with this ID, or its current one.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a calibration that it does not have.
        """
        device = self.find(name)
        if calibration_id is None:
            return self._calibrations.current(device.owner, device.recording)
        return self._calibrations.find(device.owner, device.recording, calibration_id)

    def calibrate(
        self, name: str, faulty_qubits: Sequence[int] = (), faulty_gates: Sequence[Gate] = ()
    ) -> Calibration:
        """Calibrate a device now. A device and its mock share their calibrations.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a qubit or a gate that it does not have.
        """
        device = self.find(name)
        recorded = recordings.properties(device.recording)
        for qubit in faulty_qubits:
            if not 0 <= qubit < len(recorded["qubits"]):
                raise bad_request(f"backend {name} has no qubit {qubit}")
        known = {(gate["gate"], tuple(gate["qubits"])) for gate in recorded["gates"]}
        for gate in faulty_gates:
            if gate not in known:
                raise bad_request(f"backend {name} has no gate {gate[0]} on {list(gate[1])}")
        return self._calibrations.make(device.owner, faulty_qubits, faulty_gates)

    def configuration(self, name: str, calibration_id: str | None = None) -> dict[str, Any]:
        """Return a device's configuration as the API shows it, the same for every calibration.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a calibration that it does not have.
        """
        self.calibration(name, calibration_id)
        recording = self.find(name).recording
        configuration = {
            **recordings.configuration(recording),
            "backend_name": name,
            "simulator": False,
        }
        if "if_else" in configuration.get("supported_instructions", ()):
            features = configuration.get("supported_features", [])
            configuration["supported_features"] = sorted({*features, "dynamic_circuits"})
        _add_fractional_gates(configuration, recordings.properties(recording))
        return configuration

    def properties(
        self,
        name: str,
        calibration_id: str | None = None,
        updated_before: float | None = None,
    ) -> dict[str, Any]:
        """Return a device's properties as the API shows them.

        They include the ID of their calibration; that IBM's do not is a guess.

        Args:
            name: Name of the backend.
            calibration_id: The calibration; by default the current one.
            updated_before: Without an ID, take the latest calibration made at or before this
                moment (Unix seconds).

        Returns:
            The properties, or an empty object if no calibration is that old. The client takes an
            empty object for properties that do not exist.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a calibration that it does not have.
        """
        device = self.find(name)
        place = (device.owner, device.recording)
        if calibration_id is None and updated_before is not None:
            calibration = self._calibrations.before(*place, updated_before)
            if calibration is None:
                return {}
        else:
            calibration = self.calibration(name, calibration_id)
        properties = self._calibrations.properties(*place, calibration)
        return {**properties, "backend_name": name, "calibration_id": calibration.id}

    def listing(self, name: str) -> dict[str, Any]:
        """Return a device's entry in the list of backends, without status and queue.

        Raises:
            ApiError: 404 for an unknown backend.
        """
        configuration = self.configuration(name)
        entry: dict[str, Any] = {
            "name": name,
            "is_simulator": False,
            "qubits": configuration["n_qubits"],
            "physical_qubits": configuration["n_qubits"],
            "processor_type": {
                key: str(value) for key, value in configuration["processor_type"].items()
            },
            "clops": _clops(configuration),
            "performance_metrics": _performance(self.properties(name)),
        }
        if self.find(name).is_mock:
            entry["class"] = "mock"
        return entry


def _mock(device: Device) -> Device:
    # The client derives the name for a dry run in the same way.
    name = re.sub(r"^[^_]+", "mock", device.name)
    return Device(name, device.recording, mock_of=device.name)


def _add_fractional_gates(configuration: dict[str, Any], properties: dict[str, Any]) -> None:
    for name, (parameter, definition) in _FRACTIONAL.items():
        places = [gate["qubits"] for gate in properties["gates"] if gate["gate"] == name]
        if not places or name in configuration["basis_gates"]:
            continue
        gate = {
            "name": name,
            "parameters": [parameter],
            "qasm_def": definition,
            "coupling_map": places,
        }
        configuration["gates"] = [*configuration["gates"], gate]
        for key in ("basis_gates", "supported_instructions"):
            configuration[key] = [*configuration[key], name]


def _clops(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    for key, kind in (("clops_h", "hardware"), ("clops_v", "virtual")):
        value = configuration.get(key)
        if isinstance(value, int):
            return {"type": kind, "value": value}
    return None


def _performance(properties: dict[str, Any]) -> dict[str, Any]:
    readout = [recordings.values(qubit)["readout_error"] for qubit in properties["qubits"]]
    errors = [
        (recordings.values(gate["parameters"])["gate_error"], gate["gate"], gate["qubits"])
        for gate in properties["gates"]
        if len(gate["qubits"]) == _TWO_QUBITS and gate["gate"] not in _FRACTIONAL
    ]
    best, name, qubits = min(errors)
    return {
        "two_q_error_best": {"value": best, "unit": "", "gate": name, "qubits": qubits},
        "two_q_error_median": {"value": median(error for error, *_ in errors), "unit": ""},
        "readout_error_median": {"value": median(readout), "unit": ""},
    }
