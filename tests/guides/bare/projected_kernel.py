"""Enhance feature classification using projected quantum kernels.

Two batches in a row, a primitive and three PUBs for each data point, collected after each batch.
Shrunk: 2 features, 3 and 2 data points, few randomizations.

Source: https://quantum.cloud.ibm.com/docs/tutorials/projected-quantum-kernels
"""

import numpy as np
from qiskit.circuit.library import zz_feature_map
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService

num_qubits = 2
rng = np.random.default_rng(3)
feature_map = zz_feature_map(num_qubits, reps=1)
paulis = [
    [SparsePauliOp(one) for one in pauli] for pauli in (["IX", "XI"], ["IY", "YI"], ["IZ", "ZI"])
]

backend = QiskitRuntimeService().backend("ibm_manila")
options = {
    "resilience": {"measure_mitigation": True, "zne_mitigation": True},
    "twirling": {"num_randomizations": 4, "shots_per_randomization": 100},
}
projections = {}
for name, points in {
    "train": rng.random((3, num_qubits)),
    "test": rng.random((2, num_qubits)),
}.items():
    jobs = []
    with Batch(backend=backend) as batch:
        pm = generate_preset_pass_manager(optimization_level=3, backend=backend, seed_transpiler=5)
        for point in points:
            circuit = pm.run(feature_map.assign_parameters(point))
            pubs = [
                (circuit, [one.apply_layout(circuit.layout) for one in group]) for group in paulis
            ]
            estimator = EstimatorV2(mode=batch, options=options)
            jobs.append(estimator.run(pubs))
    projections[name] = np.array([[one.data.evs for one in job.result()] for job in jobs])

distances = projections["test"][:, np.newaxis] - projections["train"]
print("kernel", np.exp(-np.square(distances).sum(axis=(2, 3))).tolist())
