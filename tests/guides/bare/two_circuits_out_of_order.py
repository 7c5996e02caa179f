"""Estimator examples.

A batch whose results are looked at out of order; one more job if they are not precise enough.
Shrunk: 4 circuits of 4 qubits, a precision of 0.05.

Source: https://quantum.cloud.ibm.com/docs/guides/estimator-examples
"""

import numpy as np
from qiskit.circuit.library import iqp
from qiskit.quantum_info import SparsePauliOp, random_hermitian
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, executor_estimator

n_qubits = 4
rng = np.random.default_rng(1234)
circuits = [iqp(np.real(random_hermitian(n_qubits, seed=rng))) for _ in range(4)]
observables = [SparsePauliOp(letter * n_qubits) for letter in "XYZX"]

backend = QiskitRuntimeService().backend("ibm_manila")
pm = generate_preset_pass_manager(1, backend, seed_transpiler=5)
pubs = []
for circuit, observable in zip(circuits, observables, strict=True):
    isa_circuit = pm.run(circuit)
    pubs.append((isa_circuit, observable.apply_layout(isa_circuit.layout)))

with Batch(backend=backend) as batch:
    estimator = executor_estimator.Estimator(mode=batch)
    estimator.options.resilience_level = 1
    jobs = [estimator.run([pub], precision=0.05) for pub in pubs]
    # The last is looked at first, and the second only if it is worth it.
    last, first = jobs[-1].result()[0], jobs[0].result()[0]
    print("last", last.data.evs, last.data.stds)
    print("first", first.data.evs, first.data.stds)
    if abs(first.data.evs) < 2 * first.data.stds:
        finer = estimator.run([pubs[0]], precision=0.02).result()[0]
        print("finer", finer.data.evs, finer.data.stds)
    for job in jobs[1:3]:
        print("between", job.result()[0].data.evs)
