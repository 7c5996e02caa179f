"""Long-range entanglement with dynamic circuits.

A batch in which two equal requests are repeated in turn, in all trials. Shrunk: distances 1 and
2, 3 trials, 256 shots.

Source: https://quantum.cloud.ibm.com/docs/tutorials/long-range-entanglement
"""

import numpy as np
from qiskit import QuantumCircuit

from session_block import DurableSampler, IBMSessionCredentials, QuantumSession

distances, num_trials = [1, 2], 3


def measured(circuit, last, basis):
    for qubit in (0, last):
        if basis == "y":
            circuit.sdg(qubit)
        if basis in "xy":
            circuit.h(qubit)
    circuit.measure([0, last], [0, 1])
    return circuit


def by_swaps(distance, basis):
    circuit = QuantumCircuit(distance + 1, 2)
    circuit.h(0)
    for k in range(distance):
        circuit.cx(k, k + 1)
    for k in reversed(range(1, distance)):
        circuit.cx(k - 1, k)
    return measured(circuit, distance, basis)


def by_feedforward(distance, basis):
    circuit = QuantumCircuit(distance + 1, 2)
    circuit.h(0)
    for k in range(distance):
        circuit.cx(k, k + 1)
    for k in range(1, distance):
        circuit.h(k)
        circuit.measure(k, 0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.z(distance)
    return measured(circuit, distance, basis)


block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila", mode="batch")
experiment = block.experiment("long-range")
pm = experiment.transpiler(optimization_level=1, seed_transpiler=5)
isa_uni = pm.run([by_swaps(distance, basis) for distance in distances for basis in "xyz"])
isa_dyn = pm.run([by_feedforward(distance, basis) for distance in distances for basis in "xyz"])

jobs_uni, jobs_dyn = [], []
with experiment:
    sampler = DurableSampler(experiment, implementation="v2")
    for _ in range(num_trials):
        jobs_uni.append(sampler.run(isa_uni, shots=256))
        jobs_dyn.append(sampler.run(isa_dyn, shots=256))
    results_uni = [job.result() for job in jobs_uni]
    results_dyn = [job.result() for job in jobs_dyn]


def parity(pub_result):
    counts = pub_result.data.c.get_counts()
    print(sorted(counts.items()))
    return sum((-1) ** key.count("1") * count for key, count in counts.items()) / 256


for name, results in (("unitary", results_uni), ("dynamic", results_dyn)):
    fidelities = []
    for result in results:
        xx, yy, zz = np.reshape([parity(one) for one in result], (len(distances), 3)).T
        fidelities.append((1 + xx - yy + zz) / 4)
    print(name, np.mean(fidelities, axis=0).tolist(), np.std(fidelities, axis=0).tolist())
