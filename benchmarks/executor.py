"""Part (i): an evaluation of 100 qubits on the executor family, with resilience levels 1 and 2.

There the client draws and encodes every twirled circuit, and makes the values out of bits. In a
session that time is billed. It is the process's CPU time: from ``run()`` to the job, and from the
job's end at the platform to the values. The circuit is one of Clifford gates, so that the platform
can simulate it.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from benchmarks.measuring import Figure, Part, Table, ratios
from benchmarks.rig import Rig, answer
from benchmarks.work import block_at, place

_BACKEND = "ibm_sherbrooke"
_QUBITS = 100
_LEVELS = (1, 2)
_MEASURED = 2
_LAYOUT_SEED = 1
_LOOK_SECONDS = 0.05


def measure(rig: Rig) -> Part:
    """Evaluate with the bare client and durably, in turn."""
    part = Part()
    rounds, levels = (1, _LEVELS[:1]) if rig.quick else (3, _LEVELS)
    runs: dict[tuple[int, str], list[dict[str, float]]] = {
        (level, loop): [] for level in levels for loop in ("bare", "library")
    }
    with rig.platform("executor") as platform:
        for number in range(rounds):
            for (level, loop), found in runs.items():
                spec = {
                    **place(platform),
                    "platform": str(platform.info.state_dir),
                    "experiment": f"executor-{level}-{number}",
                    "level": level,
                    "skipped": 0 if rig.quick else 1,
                }
                environment = platform.environment if loop == "bare" else {}
                found.append(rig.child("executor", loop, spec=spec, environment=environment))
    part.data["runs"] = [
        {"level": level, "loop": loop, "rounds": found} for (level, loop), found in runs.items()
    ]
    rows = []
    for (level, loop), found in runs.items():
        bare = runs[level, "bare"]
        before, after = (
            ratios([one[phase] for one in found], [one[phase] for one in bare])
            for phase in ("before", "after")
        )
        if loop == "library":
            part.figures[f"executor/before/{level}"] = before
            part.figures[f"executor/after/{level}"] = after
        rows.append(
            [
                str(level),
                loop,
                Figure.of(1000 * one["before"] for one in found).text(0),
                before.text(2),
                Figure.of(1000 * one["after"] for one in found).text(0),
                after.text(2),
                "–" if loop == "bare" else Figure.of(one["kb"] for one in found).text(1),
            ]
        )
    head = [
        "level",
        "loop",
        "CPU before the submission, ms",
        "/ bare",
        "CPU after the job's end, ms",
        "/ bare",
        "ledger, kB",
    ]
    title = f"(i) an evaluation of {_QUBITS} qubits on the executor family"
    part.tables.append(Table(title, head, rows))
    return part


def main() -> None:
    """Evaluate, with the loop that the second argument names."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    {"bare": _bare, "library": _library}[sys.argv[2]](json.load(sys.stdin))


def _pub(number: int) -> tuple[QuantumCircuit, SparsePauliOp]:
    """Return a graph state along a path of the device, and one of its stabilizers."""
    from qiskit import generate_preset_pass_manager
    from qiskit_ibm_runtime.fake_provider import FakeSherbrooke

    circuit = QuantumCircuit(_QUBITS)
    circuit.h(range(_QUBITS))
    for first in (0, 1):
        for qubit in range(first, _QUBITS - 1, 2):
            circuit.cz(qubit, qubit + 1)
    for _ in range(number):
        circuit.z(_QUBITS - 1)  # another circuit for each evaluation
    made = generate_preset_pass_manager(
        1, backend=FakeSherbrooke(), seed_transpiler=_LAYOUT_SEED
    ).run(circuit)
    observable = SparsePauliOp.from_sparse_list([("ZXZ", [0, 1, 2], 1.0)], num_qubits=_QUBITS)
    return made, observable.apply_layout(made.layout)


def _timed(spec: dict[str, Any], run: Callable[[Any], Any], ended: Callable[[Any], object]) -> Any:
    """Return the CPU seconds of an evaluation before its submission and after its job's end."""
    before, after = [], []
    for number in range(spec["skipped"] + _MEASURED):  # the first one imports
        pub = _pub(number)
        began = time.process_time()
        job = run(pub)
        before.append(time.process_time() - began)
        ended(job)
        began = time.process_time()
        float(job.result()[0].data.evs)
        after.append(time.process_time() - began)
    return {
        "before": mean(before[spec["skipped"] :]),
        "after": mean(after[spec["skipped"] :]),
    }


def _options(spec: dict[str, Any]) -> dict[str, Any]:
    return {"resilience_level": spec["level"]}


def _ended(state_dir: str) -> Callable[[Any], None]:
    """Return a function that waits for a job's end, and asks the platform itself."""
    from session_block.local_platform import Admin, find

    found = find(Path(state_dir))
    if found is None:
        raise RuntimeError(f"no platform serves {state_dir}")
    platform = Admin.of(found)

    def wait(job: Any) -> None:
        while True:
            state = {one["id"]: one["state"] for one in platform.jobs(limit=5)}[job.job_id()]
            if state == "completed":
                return
            if state in {"failed", "cancelled"}:
                raise RuntimeError(f"job {job.job_id()} is {state}")
            time.sleep(_LOOK_SECONDS)

    return wait


def _bare(spec: dict[str, Any]) -> None:
    from qiskit_ibm_runtime import QiskitRuntimeService, Session
    from qiskit_ibm_runtime.executor_estimator import Estimator

    with Session(QiskitRuntimeService().backend(_BACKEND)) as session:
        estimator = Estimator(mode=session, options=_options(spec))
        answer(_timed(spec, lambda pub: estimator.run([pub]), _ended(spec["platform"])))


def _library(spec: dict[str, Any]) -> None:
    from session_block import DurableEstimator

    block = block_at(spec, _BACKEND, implementation="executor")
    experiment = block.experiment(spec["experiment"])
    estimator = DurableEstimator(experiment, options=_options(spec))
    found = _timed(spec, lambda pub: estimator.run([pub]), _ended(spec["platform"]))
    size = sum(
        len(one.key) + len(json.dumps(one.body)) + len(one.payload or b"")
        for one in block.ledger().everything()
        if one.experiment == experiment.uid
    )
    found["kb"] = size / 1000 / (spec["skipped"] + _MEASURED)
    answer(found)
    experiment.close_session()


if __name__ == "__main__":
    main()
