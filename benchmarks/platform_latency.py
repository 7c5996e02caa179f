"""How fast the local platform's API answers, at rest and while 20 jobs are running or queued."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import httpx
from qiskit.circuit.library import real_amplitudes
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime.executor_sampler import Sampler

from benchmarks.measuring import Part, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from qiskit_ibm_runtime import QiskitRuntimeService

    from benchmarks.rig import Rig

JOBS = 20
SAMPLES = 300
QUBITS = 20
BACKENDS = ("ibm_hanoi", "ibm_sherbrooke", "ibm_fez")
_SHOWN = ("median", "p95")
EMPTY_JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}


def measure(rig: Rig) -> Part:
    """Send each request at rest and under load."""
    samples = SAMPLES // 6 if rig.quick else SAMPLES
    with rig.platform("latency") as platform:
        headers = {
            "Authorization": f"apikey {platform.info.token}",
            "Service-CRN": platform.info.instance,
        }
        with httpx.Client(base_url=platform.info.url, headers=headers, trust_env=False) as api:
            job_id = api.post("/jobs", json=EMPTY_JOB).json()["id"]
            requests: dict[str, Callable[[], httpx.Response]] = {
                "GET /jobs/{job_id}": lambda: api.get(f"/jobs/{job_id}"),
                "GET /jobs": lambda: api.get("/jobs", params={"limit": 20}),
                "GET /instances/usage": lambda: api.get("/instances/usage"),
                "POST /jobs": lambda: api.post("/jobs", json=EMPTY_JOB),
            }
            resting = {name: _measured(send, samples) for name, send in requests.items()}
            _submit_heavy_jobs(platform.service())
            loaded = {name: _measured(send, samples) for name, send in requests.items()}
            states = platform.stats()["jobs"]["by_state"]
    part = Part(data={"resting_ms": resting, "loaded_ms": loaded, "jobs_at_the_end": states})
    head = ["request", "at rest: median", "95th percentile", "loaded: median", "95th percentile"]
    rows = [
        [name, *(f"{of[name][which]:.2f}" for of in (resting, loaded) for which in _SHOWN)]
        for name in requests
    ]
    title = f"The local platform's answers, ms, at rest and with {JOBS} jobs running or queued"
    part.tables.append(Table(title, head, rows))
    return part


def _submit_heavy_jobs(service: QiskitRuntimeService) -> None:
    for number in range(JOBS):
        backend = service.backend(BACKENDS[number % len(BACKENDS)])
        circuit = real_amplitudes(QUBITS, reps=3)
        circuit.measure_all()
        circuit = circuit.assign_parameters([0.1 * i for i in range(circuit.num_parameters)])
        isa_circuit = generate_preset_pass_manager(0, backend, seed_transpiler=1).run(circuit)
        Sampler(backend).run([isa_circuit], shots=20_000)


def _measured(send: Callable[[], httpx.Response], samples: int) -> dict[str, float]:
    taken = []
    for _ in range(samples):
        begin = time.perf_counter()
        send().raise_for_status()
        taken.append(1000 * (time.perf_counter() - begin))
    return {
        "median": round(statistics.median(taken), 2),
        "p95": round(statistics.quantiles(taken, n=20)[-1], 2),
    }
