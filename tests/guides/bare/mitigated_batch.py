"""Combine error mitigation options with the Estimator primitive.

A batch of one PUB under five sets of options, each a change of the one before; collected in
reverse. Shrunk: 4 qubits, 1000 shots.

Source: https://quantum.cloud.ibm.com/docs/tutorials/combine-error-mitigation-techniques
"""

import numpy as np
from qiskit.circuit.library import efficient_su2, unitary_overlap
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService

n_qubits = 4
rng = np.random.default_rng(1234)
ansatz = efficient_su2(n_qubits, entanglement="pairwise", reps=1)
assigned = ansatz.assign_parameters(rng.uniform(-np.pi, np.pi, size=ansatz.num_parameters))
mirror = unitary_overlap(assigned, assigned, insert_barrier=True)
observable = SparsePauliOp.from_sparse_list([("Z", [-1], 1.0)], num_qubits=n_qubits)

backend = QiskitRuntimeService().backend("ibm_manila")
pm = generate_preset_pass_manager(optimization_level=3, backend=backend, seed_transpiler=5)
isa_circuit = pm.run(mirror)
pub = (isa_circuit, observable.apply_layout(isa_circuit.layout))

jobs = {}
with Batch(backend=backend) as batch:
    estimator = EstimatorV2(mode=batch)
    estimator.options.default_shots = 1000
    estimator.options.resilience_level = 0
    jobs["nothing"] = estimator.run([pub])

    estimator.options.dynamical_decoupling.enable = True
    estimator.options.dynamical_decoupling.sequence_type = "XpXm"
    jobs["+ decoupling"] = estimator.run([pub])

    estimator.options.resilience.measure_mitigation = True
    jobs["+ readout"] = estimator.run([pub])

    estimator.options.twirling.enable_gates = True
    estimator.options.twirling.num_randomizations = "auto"
    jobs["+ twirling"] = estimator.run([pub])

    estimator.options.resilience.zne_mitigation = True
    estimator.options.resilience.zne.noise_factors = (1, 3, 5)
    estimator.options.resilience.zne.extrapolator = ("exponential", "linear")
    jobs["+ extrapolation"] = estimator.run([pub])

    results = {name: job.result()[0].data for name, job in reversed(jobs.items())}

for name, data in results.items():
    print(f"{name:>16}: {float(data.evs)} ± {float(data.stds)}")
