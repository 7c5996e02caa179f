"""The flows that the package ships, as they are found there, and a small run of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from prefect import Flow

from session_block import flows

FLOWS: dict[str, Flow[..., Any]] = {
    name: found
    for module in iter_modules(flows.__path__, f"{flows.__name__}.")
    for name, found in vars(import_module(module.name)).items()
    if isinstance(found, Flow)
}
"""All of them, by name: who adds a flow adds its run below."""


@dataclass(frozen=True)
class SmallRun:
    """Parameters beside the Block, of the kinds that only Prefect's check makes what they are."""

    parameters: dict[str, Any]
    jobs: int


_TURNED = 'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; qubit[1] q; rx(a) q[0];'

RUNS = {
    "vqe": SmallRun({"hamiltonian": [["ZZ", 1.0]], "optimizer_options": {"maxiter": 6}}, jobs=6),
    "qaoa": SmallRun({"problem": {"edges": [[0, 1]]}, "optimizer_options": {"maxiter": 4}}, jobs=5),
    "sweep": SmallRun(
        {
            "circuits": [{"name": "turned", "circuit": _TURNED}],
            "grid": {"axes": [{"name": "a", "values": [0.0, 0.1]}]},
            "observables": [{"name": "Z", "observable": [["Z", 1.0]]}],
            "limits": {"max_points": 1},
        },
        jobs=2,
    ),
    "tidy": SmallRun({}, jobs=0),
}


def by_path(name: str) -> str:
    """Return the entrypoint of a flow in the checkout."""
    return f"flows/{FLOWS[name].fn.__module__.rpartition('.')[2]}.py:{name}"


def by_module(name: str) -> str:
    """Return the entrypoint of a flow wherever the package is installed."""
    return f"{FLOWS[name].fn.__module__}.{name}"
