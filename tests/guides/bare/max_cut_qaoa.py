"""Quantum approximate optimization algorithm.

A session in which COBYLA asks the Estimator, then the Sampler in job mode. Shrunk: 1 layer, 8
evaluations, 1000 and 2000 shots; only the small graph.

Source: https://quantum.cloud.ibm.com/docs/tutorials/quantum-approximate-optimization-algorithm
"""

import numpy as np
from qiskit.circuit.library import qaoa_ansatz
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import QiskitRuntimeService, Session, executor_estimator, executor_sampler
from scipy.optimize import minimize

n = 5
edges = [(0, 1), (0, 2), (0, 4), (1, 2), (2, 3), (3, 4)]
cut = SparsePauliOp.from_sparse_list([("ZZ", [i, j], 1.0) for i, j in edges], num_qubits=n)
circuit = qaoa_ansatz(cut, reps=1)
circuit.measure_all()
values = []


def cost(params, ansatz, hamiltonian, estimator):
    pub = (ansatz, hamiltonian.apply_layout(ansatz.layout), params)
    values.append(float(estimator.run([pub]).result()[0].data.evs))
    return values[-1]


backend = QiskitRuntimeService().backend("ibm_manila")
with Session(backend=backend) as session:
    pm = generate_preset_pass_manager(3, backend=backend, seed_transpiler=5)
    candidate = pm.run(circuit)
    estimator = executor_estimator.Estimator(mode=session)
    estimator.options.default_shots = 1000
    estimator.options.dynamical_decoupling.enable = True
    estimator.options.dynamical_decoupling.sequence_type = "XY4"
    estimator.options.twirling.enable_gates = True
    args, options = (candidate, cut, estimator), {"maxiter": 8}
    found = minimize(cost, [np.pi / 2, np.pi], args=args, method="COBYLA", options=options)
print(found.fun, found.x.tolist(), values)

optimized = candidate.assign_parameters(found.x)
sampler = executor_sampler.Sampler(mode=backend)
sampler.options.dynamical_decoupling.enable = True
job = sampler.run([(optimized,)], shots=int(2e3))
counts = job.result()[0].data.meas.get_int_counts()
likely = max(sorted(counts), key=counts.get)
sides = [int(bit) for bit in reversed(np.binary_repr(likely, width=n))]
print(sides, "cuts", sum(sides[i] != sides[j] for i, j in edges), sorted(counts.items())[:8])
