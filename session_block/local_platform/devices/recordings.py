"""IBM's devices as recorded in qiskit-ibm-runtime: a configuration and properties for each.

The recordings are JSON files in the installed client. They are found without importing the client,
so that the server process needs no Qiskit. Each is read on first use and cached.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MICROSECOND = 1e-6
# Real: this family's default. The recordings were made before.
_REP_DELAYS = {"Nighthawk": 1.0}
_UNITS = {"s": 1.0, "ms": 1e-3, "us": MICROSECOND, "µs": MICROSECOND, "ns": 1e-9, "": 1.0}


def exists(recording: str) -> bool:
    """Say whether the client has a complete recording with this name."""
    return _file(recording, "conf").is_file() and _file(recording, "props").is_file()


@cache
def configuration(recording: str) -> dict[str, Any]:
    """Return the configuration that the API shows. Callers must not modify it."""
    content = _read(recording, "conf")
    delay = _REP_DELAYS.get((content.get("processor_type") or {}).get("family", ""))
    if delay is None:
        return content
    longest = (content.get("rep_delay_range") or [delay])[-1]
    return {**content, "default_rep_delay": delay, "rep_delay_range": [0.0, longest]}


@cache
def properties(recording: str) -> dict[str, Any]:
    """Return the properties that the API showed when recorded. Callers must not modify them."""
    return _read(recording, "props")


def values(parameters: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the parameters of a qubit or a gate by name: times in seconds, and bare numbers.

    Parameters that are neither times nor probabilities, such as frequencies, are left out.
    """
    return {
        parameter["name"]: parameter["value"] * _UNITS[parameter["unit"]]
        for parameter in parameters
        if parameter["unit"] in _UNITS
    }


def _read(recording: str, kind: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_file(recording, kind).read_text("utf-8"))
    return content


def _file(recording: str, kind: str) -> Path:
    spec = find_spec("qiskit_ibm_runtime")
    if spec is None or spec.origin is None:
        raise RuntimeError("install qiskit-ibm-runtime: the backends come from its data")
    backends = Path(spec.origin).parent / "fake_provider" / "backends"
    return backends / recording / f"{kind}_{recording}.json"
