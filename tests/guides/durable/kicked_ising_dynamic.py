"""Simulation of kicked Ising Hamiltonian with dynamic circuits.

A batch of dynamic circuits with named and unnamed registers, with arrays of parameters. Shrunk: 3
spins and 2 ancillas, 2 depths, 3 angles, 300 shots.

Source: https://quantum.cloud.ibm.com/docs/tutorials/dc-hex-ising
"""

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr
from qiskit.quantum_info import SparsePauliOp

from session_block import DurableSampler, IBMSessionCredentials, QuantumSession

theta, zz_angle, depths = Parameter("θ"), np.pi / 8, [1, 2]
params = np.linspace(0, np.pi / 2, 3)[:, np.newaxis]
magnetization = SparsePauliOp.from_sparse_list([("Z", [q], 1 / 3) for q in (0, 1, 2)], 3)


def unitary(depth):
    circuit = QuantumCircuit(3)
    for _ in range(depth):
        circuit.rx(theta, range(3))
        circuit.rzz(zz_angle, 0, 1)
        circuit.rzz(zz_angle, 1, 2)
    circuit.measure_all()
    return circuit


def dynamic(depth):
    data, ancillas = QuantumRegister(3), QuantumRegister(2)
    between, end = ClassicalRegister(2), ClassicalRegister(3, "end")
    circuit = QuantumCircuit(data, ancillas, between, end)
    for _ in range(depth):
        circuit.rx(theta, data)
        for k, ancilla in enumerate(ancillas):
            circuit.cx(data[k], ancilla)
            circuit.cx(data[k + 1], ancilla)
            circuit.rz(zz_angle, ancilla)
            circuit.h(ancilla)
        circuit.measure(ancillas, between)
        with circuit.if_test(expr.bit_xor(between[0], between[1])):
            circuit.z(data[1])
        for k, outer in enumerate((data[0], data[2])):
            with circuit.if_test((between[k], 1)):
                circuit.z(outer)
                circuit.x(ancillas[k])
    circuit.measure(data, end)
    return circuit


block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila", mode="batch")
experiment = block.experiment("kicked-ising")
pm = experiment.transpiler(optimization_level=1, seed_transpiler=5)
unitary_pubs = [(pm.run(unitary(depth)), params) for depth in depths]
dynamic_pubs = [(pm.run(dynamic(depth)), params) for depth in depths]

with experiment:
    sampler = DurableSampler(experiment)
    job_unitary = sampler.run(unitary_pubs, shots=300)
    job_dynamic = sampler.run(dynamic_pubs, shots=300)
    sampler.options.dynamical_decoupling.enable = True
    job_unitary_dd = sampler.run(unitary_pubs, shots=300)
    runs = {"dynamic": job_dynamic, "unitary": job_unitary, "unitary, decoupled": job_unitary_dd}
    for name, job in runs.items():
        for depth, pub_result in zip(depths, job.result(), strict=True):
            bits = pub_result.data["end" if name == "dynamic" else "meas"]
            print(name, depth, bits.expectation_values(magnetization).tolist())
