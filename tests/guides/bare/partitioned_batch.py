"""Run jobs in a batch.

The least busy backend; a list of circuits in several jobs of one batch, collected after it.
Shrunk: 10 circuits of 3 qubits, 3 in a job, 200 shots.

Source: https://quantum.cloud.ibm.com/docs/guides/run-jobs-batch
"""

import numpy as np
from qiskit.circuit.random import random_circuit
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, SamplerV2

circuits = [random_circuit(3, 2, measure=True, seed=seed) for seed in range(10)]

backend = QiskitRuntimeService().least_busy(operational=True, min_num_qubits=5)
pm = generate_preset_pass_manager(optimization_level=1, backend=backend, seed_transpiler=5)
isa_circuits = pm.run(circuits)

max_circuits = 3
partitions = [isa_circuits[i : i + max_circuits] for i in range(0, len(isa_circuits), max_circuits)]
jobs = []
with Batch(backend=backend):
    sampler = SamplerV2()
    for partition in partitions:
        jobs.append(sampler.run(partition, shots=200))

for job in jobs:
    for pub_result in job.result():
        counts = pub_result.data.c.get_int_counts()
        print(max(counts, key=counts.get), np.mean(list(counts.values())))
