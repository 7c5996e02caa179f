"""Part (h): one submission of many circuits with 127 qubits and 1,000 gates each.

The fingerprint is timed alone and as part of the submission: from ``run()`` to the job for the bare
client, from ``submit_sampler()`` to the recorded job for this package. The platform cancels the
jobs at once, since their simulation does not matter.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from qiskit import QuantumCircuit

from benchmarks.measuring import Figure, Part, Table, peak_mb, ratios
from benchmarks.rig import Rig, answer
from benchmarks.work import block_at, place

_BACKEND = "ibm_sherbrooke"
_QUBITS, _GATES, _SHOTS = 127, 1_000, 100


def measure(rig: Rig) -> Part:
    """Submit with the bare client and durably, in turn."""
    part = Part()
    rounds, pubs = (1, 10) if rig.quick else (3, 100)
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "library": []}
    with rig.platform("large") as platform:
        platform.add_fault(
            kind="end_job", state="cancelled", reason="Not to be simulated.", after_seconds=0
        )
        for number in range(rounds):
            for loop, found in runs.items():
                spec = {**place(platform), "experiment": f"large-{number}", "pubs": pubs}
                environment = platform.environment if loop == "bare" else {}
                found.append(rig.child("large", loop, spec=spec, environment=environment))
    part.data["runs"] = runs
    submit = {loop: [one["submit"] for one in found] for loop, found in runs.items()}
    part.figures["large/submission"] = ratios(submit["library"], submit["bare"])
    rows = [
        [
            loop,
            _text(found, "fingerprint") if loop == "library" else "–",
            _text(found, "submit"),
            ratios(submit[loop], submit["bare"]).text(2),
            _text(found, "peak_mb", 0),
            _text(found, "grown_mb", 0),
        ]
        for loop, found in runs.items()
    ]
    head = [
        "loop",
        "fingerprint, s",
        "submission, s",
        "/ bare",
        "memory at most, MB",
        "grown by, MB",
    ]
    title = f"(h) {pubs} PUBs of {_QUBITS} qubits and {_GATES:,} gates"
    part.tables.append(Table(title, head, rows))
    return part


def _text(runs: list[dict[str, float]], name: str, digits: int = 2) -> str:
    return Figure.of(one[name] for one in runs).text(digits)


def main() -> None:
    """Submit once, with the loop that the second argument names."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    {"bare": _bare, "library": _library}[sys.argv[2]](json.load(sys.stdin))


def _circuits(spec: dict[str, Any]) -> list[QuantumCircuit]:
    from qiskit_ibm_runtime.fake_provider import FakeSherbrooke

    edges = [tuple(edge) for edge in FakeSherbrooke().target.build_coupling_map()]
    random = np.random.default_rng(1)
    return [_circuit(edges, random) for _ in range(spec["pubs"])]


def _circuit(edges: list[tuple[int, ...]], random: np.random.Generator) -> QuantumCircuit:
    circuit = QuantumCircuit(_QUBITS)
    for kind in random.integers(3, size=_GATES):
        match kind:
            case 0:
                circuit.ecr(*edges[random.integers(len(edges))])
            case 1:
                circuit.sx(int(random.integers(_QUBITS)))
            case _:
                circuit.rz(random.uniform(-3, 3), int(random.integers(_QUBITS)))
    circuit.measure_all()
    return circuit


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _submitted(submit: Callable[[], object]) -> dict[str, float]:
    before = psutil.Process().memory_info().rss / 1e6
    seconds = _timed(submit)
    peak = peak_mb()
    return {"submit": seconds, "peak_mb": peak, "grown_mb": max(0, peak - before)}


def _bare(spec: dict[str, Any]) -> None:
    from qiskit_ibm_runtime import QiskitRuntimeService, Session
    from qiskit_ibm_runtime.executor_sampler import Sampler

    circuits = _circuits(spec)
    with Session(QiskitRuntimeService().backend(_BACKEND)) as session:
        sampler = Sampler(mode=session)
        answer(_submitted(lambda: sampler.run(circuits, shots=_SHOTS)))


def _library(spec: dict[str, Any]) -> None:
    from session_block.pubs.request import sampler_request

    circuits = _circuits(spec)
    experiment = block_at(spec, _BACKEND).experiment(spec["experiment"])
    experiment.open_session()
    found = _submitted(lambda: experiment.submit_sampler(circuits, shots=_SHOTS))
    request = sampler_request(circuits, shots=_SHOTS)
    found["fingerprint"] = _timed(lambda: request.fingerprint)
    answer(found)
    experiment.close_session()


if __name__ == "__main__":
    main()
