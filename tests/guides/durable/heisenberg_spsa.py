"""Ground-state energy estimation of the Heisenberg chain with VQE.

One session, SPSA by hand with unseeded random numbers, a pass manager with scheduling of its own,
a job tag. Shrunk: 3 spins, 1 layer, 4 iterations.

Source: https://quantum.cloud.ibm.com/docs/tutorials/spin-chain-vqe
"""

import numpy as np
from qiskit.circuit.library import XGate, efficient_su2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import PassManager, generate_preset_pass_manager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDynamicalDecoupling

from session_block import DurableEstimator, IBMSessionCredentials, QuantumSession

num_spins = 3
terms = [(2 * pauli, [i, i + 1], 0.5) for i in range(num_spins - 1) for pauli in "XYZ"]
terms += [("Z", [i], field) for i, field in enumerate(np.linspace(-1, 1, num_spins))]
hamiltonian = SparsePauliOp.from_sparse_list(terms, num_qubits=num_spins)
ansatz = efficient_su2(num_spins, reps=1)
history = []


def cost(x):
    energy = estimator.run([(isa_ansatz, isa_hamiltonian, [x])]).result()[0].data.evs[0]
    history.append(float(energy))
    return energy


def spsa(x, maxiter):
    for k in range(maxiter):
        step, width = 0.3 / (k + 31) ** 0.9, 0.1 / (k + 1) ** 0.4
        direction = rng.choice([-1, 1], size=len(x))
        up, down = cost(x + width * direction), cost(x - width * direction)
        x = x - step * (up - down) / (2 * width) * direction
    return x


block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila")
with block.experiment("heisenberg") as experiment:
    backend = experiment.backend
    pm = generate_preset_pass_manager(3, backend=backend, seed_transpiler=5)
    decoupling = PadDynamicalDecoupling(target=backend.target, dd_sequence=[XGate(), XGate()])
    pm.scheduling = PassManager([ALAPScheduleAnalysis(target=backend.target), decoupling])
    isa_ansatz = pm.run(ansatz)
    isa_hamiltonian = hamiltonian.apply_layout(isa_ansatz.layout)

    rng = np.random.default_rng(experiment.once("seed", lambda: np.random.SeedSequence().entropy))
    estimator = DurableEstimator(experiment)
    estimator.options.environment.job_tags = ["heisenberg"]
    x_end = spsa(rng.random(ansatz.num_parameters), maxiter=4)
    print("lowest energy", cost(x_end), "after", len(history), "evaluations")

print(history, x_end.tolist())
