"""The backends: devices of IBM's as qiskit-ibm-runtime recorded them, under IBM's names.

The recordings are JSON files in the installed client, which this module finds without importing
it: the server process needs no Qiskit. They are read when first asked for, and kept.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from session_block.local_platform.errors import bad_request, not_found


@dataclass(frozen=True)
class Device:
    """A backend by name: the recording it is made from, and what its listing shows."""

    name: str
    recording: str
    qubits: int
    family: str


DEVICES = {
    device.name: device
    for device in (
        Device("ibm_manila", "manila", 5, "Falcon"),
        Device("ibm_nairobi", "nairobi", 7, "Falcon"),
        Device("ibm_hanoi", "hanoi", 27, "Falcon"),
        Device("ibm_sherbrooke", "sherbrooke", 127, "Eagle"),
        Device("ibm_fez", "fez", 156, "Heron"),
    )
}


class Backends:
    """The devices' data, each read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: dict[tuple[str, str], dict[str, Any]] = {}

    def configuration(self, name: str, calibration_id: str | None = None) -> dict[str, Any]:
        """Return a device's configuration as the API shows it.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a calibration that does not exist.
        """
        return self._data(name, "conf", calibration_id)

    def properties(self, name: str, calibration_id: str | None = None) -> dict[str, Any]:
        """Return a device's recorded properties as the API shows them.

        Raises:
            ApiError: 404 for an unknown backend, 400 for a calibration that does not exist.
        """
        return self._data(name, "props", calibration_id)

    def _data(self, name: str, kind: str, calibration_id: str | None) -> dict[str, Any]:
        device = find(name)
        if calibration_id is not None:
            raise bad_request(f"backend {name} has no calibration {calibration_id!r}")
        with self._lock:
            if (name, kind) not in self._cache:
                file = f"{kind}_{device.recording}.json"
                data = json.loads((_recordings() / device.recording / file).read_text("utf-8"))
                data["backend_name"] = name
                if kind == "conf":
                    data["simulator"] = False
                self._cache[name, kind] = data
            return self._cache[name, kind]


def find(name: str) -> Device:
    """Return a device by its name.

    Raises:
        ApiError: 404 when there is none.
    """
    try:
        return DEVICES[name]
    except KeyError:
        raise not_found("Backend", name) from None


def _recordings() -> Path:
    spec = find_spec("qiskit_ibm_runtime")
    if spec is None or spec.origin is None:
        raise RuntimeError("qiskit-ibm-runtime is not installed; the backends come from its data")
    return Path(spec.origin).parent / "fake_provider" / "backends"
