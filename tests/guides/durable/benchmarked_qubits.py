"""Real-time benchmarking for qubit selection.

One session: measure the qubits, transpile for what was measured, run both circuits interleaved;
options that change, shots as a NumPy integer. Shrunk: 4 qubits, readout and T1 without a library,
2 trials, 1000 shots.

Source: https://quantum.cloud.ibm.com/docs/tutorials/real-time-benchmarking-for-qubit-selection
"""

import copy

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import InstructionProperties, generate_preset_pass_manager

from session_block import DurableSampler, IBMSessionCredentials, QuantumSession

qubits, delays, shots = range(4), [0, 20, 60], np.int64(1e3)
ghz = QuantumCircuit(3, 2)
ghz.h(0)
ghz.cx(0, 1)
ghz.cx(1, 2)
ghz.measure([0, 2], [0, 1])

delay = Parameter("delay")
decay = QuantumCircuit(len(qubits), len(qubits))
decay.x(qubits)
decay.delay(delay, qubits, unit="us")
decay.measure(qubits, qubits)
readout = QuantumCircuit(len(qubits), len(qubits))
readout.measure(qubits, qubits)

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila")
experiment = block.experiment("benchmarked")
backend = experiment.backend
pm = generate_preset_pass_manager(0, backend, initial_layout=list(qubits), seed_transpiler=5)
isa_ghz = generate_preset_pass_manager(3, backend, seed_transpiler=5).run(ghz)

with experiment:
    sampler = DurableSampler(experiment)

    # How well is each qubit read out, and how long does it live?
    zeros = sampler.run(pm.run([readout]), shots=shots).result()[0].data.c
    alive = []
    for micros in delays:
        circuit = pm.run(decay.assign_parameters([micros]))
        alive.append(sampler.run([circuit], shots=shots).result()[0].data.c)
    ones = np.array([bits.array.shape[0] for bits in alive])
    errors = [float(zeros.slice_bits(q).bitcount().mean()) for q in qubits]
    lives = [[float(bits.slice_bits(q).bitcount().mean()) for bits in alive] for q in qubits]
    print("errors", errors, "lives", lives, ones.sum())

    # The transpiler chooses its qubits again, by what was just measured.
    target = copy.deepcopy(backend.target)
    for q, error in zip(qubits, errors, strict=True):
        target.update_instruction_properties(
            "measure", (q,), InstructionProperties(error=error + 1 - lives[q][0])
        )
    chosen = generate_preset_pass_manager(3, target=target, seed_transpiler=5).run(ghz)
    sampler.options.dynamical_decoupling.enable = True
    sampler.options.dynamical_decoupling.sequence_type = "XY4"
    n_trials = 2
    interleaved = sampler.run([isa_ghz, chosen] * n_trials, shots=shots)
    results = interleaved.result()

for name, which in (("reported", results[0::2]), ("measured", results[1::2])):
    print(name, [sorted(one.data.c.get_counts().items()) for one in which])
