"""Run jobs in a session.

One session, two optimizers in threads, each with a job tag of its own. Shrunk: the problem (2
qubits, 4 parameters), 8 iterations; each optimizer has a starting point of its own.

Source: https://quantum.cloud.ibm.com/docs/guides/run-jobs-session
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import minimize

from session_block import DurableEstimator, IBMSessionCredentials, QuantumSession

hamiltonian = SparsePauliOp.from_list([("ZZ", 0.5), ("XX", 0.3), ("ZI", -0.4), ("IZ", -0.2)])
ansatz = real_amplitudes(2, reps=1)
starts = np.random.default_rng(17).uniform(0, 2 * np.pi, (2, ansatz.num_parameters))

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila", max_time=900)
experiment = block.experiment("two-optimizers")
pm = experiment.transpiler(optimization_level=1, seed_transpiler=5)
isa_ansatz = pm.run(ansatz)
isa_hamiltonian = hamiltonian.apply_layout(isa_ansatz.layout)


def cost(x, estimator):
    return float(estimator.run([(isa_ansatz, isa_hamiltonian, x)]).result()[0].data.evs)


def optimize(x0, estimator, method):
    return minimize(cost, x0, args=(estimator,), method=method, options={"maxiter": 8})


with experiment:
    estimators = [DurableEstimator(experiment, implementation="v2") for _ in range(2)]
    methods = ["cobyla", "nelder-mead"]
    for estimator, method in zip(estimators, methods, strict=True):
        estimator.options.environment.job_tags = [method]

    with ThreadPoolExecutor() as pool:
        futures = [
            pool.submit(optimize, *own) for own in zip(starts, estimators, methods, strict=True)
        ]

    for method, future in zip(methods, futures, strict=True):
        print(method, future.result().nfev, future.result().fun, future.result().x.tolist())
