"""Pauli correlation encoding to reduce Maxcut requirements.

One session, three PUBs in each job, and a loss function that stops the optimizer by an exception.
Shrunk: 9 nodes on 3 qubits, 1 layer, 7 evaluations.

Source: https://quantum.cloud.ibm.com/docs/tutorials/pauli-correlation-encoding-for-qaoa
"""

import numpy as np
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import minimize

from session_block import DurableEstimator, IBMSessionCredentials, QuantumSession

num_qubits, max_iter = 3, 7
edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 0), (0, 4)]
pairs = [[0, 1], [0, 2], [1, 2]]
nodes = [
    [SparsePauliOp.from_sparse_list([(2 * pauli, pair, 1)], num_qubits) for pair in pairs]
    for pauli in "XYZ"
]
ansatz = efficient_su2(num_qubits, su2_gates=["ry", "rz"], reps=1)

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila")
experiment = block.experiment("pauli-correlation")
pm = experiment.transpiler(optimization_level=3, seed_transpiler=5)
qc = pm.run(ansatz)
encoding = [[operator.apply_layout(qc.layout) for operator in group] for group in nodes]
history = []


class Enough(Exception):
    """As many evaluations as were wanted."""


def loss(x):
    if len(history) == max_iter:
        raise Enough
    job = estimator.run([(qc, group, x) for group in encoding])
    soft = np.tanh(
        num_qubits * np.concatenate([pub_result.data.evs for pub_result in job.result()])
    )
    value = sum(soft[i] * soft[j] for i, j in edges) + len(edges) / 4 * np.mean(soft**2) ** 2
    print(f"iteration {len(history)}: {value}")
    history.append((float(value), soft))
    return value


with experiment:
    estimator = DurableEstimator(experiment, options={"default_shots": 1024})
    x0 = np.random.default_rng(42).random(qc.num_parameters)
    try:
        minimize(loss, x0, method="COBYLA", options={"rhobeg": 1.0})
    except Enough:
        print("stopped after", len(history))

best = min(history, key=lambda one: one[0])[1]
print("cut", sum(np.sign(best[i]) != np.sign(best[j]) for i, j in edges), np.sign(best).tolist())
