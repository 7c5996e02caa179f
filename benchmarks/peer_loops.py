"""Runs the same VQE with a peer package, in the peer's own Python, without this package.

``peer_loops.py FILE PEER``, with the work on standard input. Both peers run a primitive as one or
two tasks of the flow, in job mode: neither has sessions.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prefect import flow
from qiskit import QuantumCircuit, qpy
from qiskit.quantum_info import SparsePauliOp

Run = Callable[[list[Any]], Awaitable[Any]]
"""Takes PUBs and returns the result."""


def _prefect_qiskit(spec: dict[str, Any]) -> Run:
    from prefect_qiskit.runtime import QuantumRuntime
    from prefect_qiskit.vendors.ibm_quantum import IBMQuantumCredentials

    credentials = IBMQuantumCredentials(
        api_key=spec["token"],
        crn=spec["instance"],
        auth_url=f"{spec['origin']}/iam",
        runtime_url=f"{spec['origin']}/experimental/api/v1/",
    )
    credentials.save("bench-peer", overwrite=True)
    QuantumRuntime(resource_name=spec["backend"], credentials=credentials).save(
        "bench-peer", overwrite=True
    )
    runtime = QuantumRuntime.load("bench-peer")

    async def run(pubs: list[Any]) -> Any:
        return await runtime.estimator(pubs)

    return run


def _qcsc(spec: dict[str, Any]) -> Run:
    from qcsc_prefect.integrations.qiskit import QCSCEstimatorV2, QiskitRuntimeConfig

    QiskitRuntimeConfig(backend_name=spec["backend"]).save("bench-peer", overwrite=True)
    estimator = QCSCEstimatorV2(runtime_block_name="bench-peer")

    async def run(pubs: list[Any]) -> Any:
        return (await estimator.run_and_fetch(pubs))["result"]

    return run


PEERS = {"prefect-qiskit": _prefect_qiskit, "qcsc-prefect-qiskit": _qcsc}


def main() -> None:
    """Run the loop, and write its times."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    spec = json.load(sys.stdin)
    circuit: QuantumCircuit = qpy.load(io.BytesIO(base64.b64decode(spec["circuit"])))[0]
    observable = SparsePauliOp.from_list([tuple(term) for term in spec["observable"]])
    run = PEERS[sys.argv[2]](spec)
    evaluations: list[dict[str, Any]] = []

    @flow(name="benchmark-vqe")
    async def benchmark_vqe() -> None:
        for point in spec["points"]:
            began = time.time()
            value = float((await run([(circuit, observable, point)]))[0].data.evs)
            evaluations.append({"began": began, "ended": time.time(), "value": value})

    cpu = time.process_time()
    began = time.time()
    asyncio.run(benchmark_vqe())
    written = {
        "loop": sys.argv[2],
        "whole": (began, time.time()),
        "evaluations": evaluations,
        "cpu_seconds": time.process_time() - cpu,
    }
    Path(sys.argv[1]).write_text(json.dumps(written))


if __name__ == "__main__":
    main()
