"""Wire cutting for expectation values estimation.

A batch with a dictionary of jobs, one for each part of a cut circuit, collected after it;
registers without names. Shrunk: 3 qubits and one cut, cut by hand, 1024 shots; the uncut circuit
runs in the batch, too.

Source: https://quantum.cloud.ibm.com/docs/tutorials/wire-cutting
"""

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister

from session_block import DurableSampler, IBMSessionCredentials, QuantumSession

theta, phi = 0.7, 1.9
shots = 2**10


def upstream(basis):
    q, c = QuantumRegister(2), ClassicalRegister(2)
    circuit = QuantumCircuit(q, c)
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    if basis == "Y":
        circuit.sdg(1)
    if basis in "XY":
        circuit.h(1)
    circuit.measure(q, c)
    return circuit


def downstream(state):
    q, c = QuantumRegister(2), ClassicalRegister(2)
    circuit = QuantumCircuit(q, c)
    if state == "1":
        circuit.x(0)
    if state in "+i":
        circuit.h(0)
    if state == "i":
        circuit.s(0)
    circuit.ry(phi, 0)
    circuit.cx(0, 1)
    circuit.measure(q, c)
    return circuit


whole = QuantumCircuit(3)
whole.ry(theta, 0)
whole.cx(0, 1)
whole.ry(phi, 1)
whole.cx(1, 2)
whole.measure_all()
subexperiments = {
    "up": [upstream(basis) for basis in "ZXY"],
    "down": [downstream(state) for state in "01+i"],
}

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila", mode="batch")
experiment = block.experiment("wire-cutting")
pm = experiment.transpiler(optimization_level=2, seed_transpiler=5)
isa_subexperiments = {label: pm.run(circuits) for label, circuits in subexperiments.items()}
isa_whole = pm.run(whole)

with experiment:
    sampler = DurableSampler(experiment, implementation="v2")
    sampler.options.environment.job_tags = ["wire-cutting"]
    jobs = {
        label: sampler.run(circuits, shots=shots) for label, circuits in isa_subexperiments.items()
    }
    uncut_job = sampler.run([isa_whole], shots=shots)
results = {label: job.result() for label, job in jobs.items()}
uncut = uncut_job.result()[0].data.meas.get_counts()


def mean(pub_result, weight):
    (bits,) = pub_result.data.values()
    return sum(weight(key) * count for key, count in bits.get_counts().items()) / shots


signs = {"0": 1, "1": -1}
up = {basis: results["up"][k] for k, basis in enumerate("ZXY")}
down = [mean(one, lambda key: signs[key[0]] * signs[key[1]]) for one in results["down"]]
one = mean(up["Z"], lambda key: signs[key[1]])
tomography = [mean(up[basis], lambda key: signs[key[0]] * signs[key[1]]) for basis in "XYZ"]
states = [down[2] - (down[0] + down[1]) / 2, down[3] - (down[0] + down[1]) / 2]
states += [(down[0] - down[1]) / 2]
expected = one * (down[0] + down[1]) / 2 + np.dot(tomography, states)
direct = sum(count * np.prod([signs[bit] for bit in key]) for key, count in uncut.items()) / shots
print("cut", expected, "uncut", direct, tomography, states)
