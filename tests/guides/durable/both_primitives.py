"""Run jobs in a session.

One session, both primitives, an early end of a loop, and the session's details. Shrunk: the problem
(3 qubits), 500 shots.

Source: https://quantum.cloud.ibm.com/docs/guides/run-jobs-session
"""

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager

from session_block import DurableEstimator, DurableSampler, IBMSessionCredentials, QuantumSession

ghz = QuantumCircuit(3)
ghz.h(0)
ghz.cx(0, 1)
ghz.cx(1, 2)
measured = ghz.measure_all(inplace=False)
stabilizers = [SparsePauliOp(pauli) for pauli in ("XXX", "ZZI", "IZZ")]

block = QuantumSession(credentials=IBMSessionCredentials(), backend_name="ibm_manila")
with block.experiment("ghz") as session:
    pm = generate_preset_pass_manager(1, backend=session.backend, seed_transpiler=5)
    isa_measured, isa_ghz = pm.run([measured, ghz])
    sampler, estimator = DurableSampler(session), DurableEstimator(session)

    counts = sampler.run([isa_measured], shots=500).result()[0].data.meas.get_counts()
    print("counts", sorted(counts.items()))
    for stabilizer in stabilizers:
        pub = (isa_ghz, stabilizer.apply_layout(isa_ghz.layout))
        data = estimator.run([pub]).result()[0].data
        print(stabilizer.paulis[0], float(data.evs), float(data.stds))
        if data.evs < 0.5:
            print("This is no GHZ state.")
            break
    counts = sampler.run([isa_measured], shots=501).result()[0].data.meas.get_counts()
    print("counts at the end", sorted(counts.items()))
    print(session.session_details().mode)
