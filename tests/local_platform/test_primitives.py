from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import EstimatorV2, Executor, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.quantum_program import QuantumProgram

from .support import H2, H2_GROUND_ENERGY, bell, ground_state, isa

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

legacy = pytest.mark.filterwarnings("ignore:The (Estimator|Sampler)V2 class is deprecated")


@pytest.fixture(scope="module")
def session(backend: IBMBackend) -> Iterator[Session]:
    """One session for all primitives."""
    session = Session(backend)
    yield session
    session.close()


@legacy
def test_estimator_is_exact(session: Session, backend: IBMBackend) -> None:
    """The estimator gives the published ground-state energy of H2, with no error."""
    circuit = isa(ground_state(), backend)
    result = EstimatorV2(session).run([(circuit, H2.apply_layout(circuit.layout))]).result()
    assert result[0].data.evs.shape == ()
    assert result[0].data.evs == pytest.approx(H2_GROUND_ENERGY, abs=1e-8)
    assert result[0].data.stds == 0.0
    assert result[0].metadata["target_precision"] == 0.015625


@legacy
def test_estimator_broadcasts(session: Session, backend: IBMBackend) -> None:
    """Parameters and observables broadcast against each other as the V2 primitives say."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(1)
    circuit.ry(theta, 0)
    circuit = isa(circuit, backend)
    angles = np.linspace(0, np.pi, 5)
    observables = [
        [SparsePauliOp(letter).apply_layout(circuit.layout)] for letter in ("Z", "X", "Y")
    ]
    result = EstimatorV2(session).run([(circuit, observables, angles)]).result()
    expected = np.array([np.cos(angles), np.sin(angles), np.zeros(5)])
    assert result[0].data.evs == pytest.approx(expected, abs=1e-12)


@legacy
def test_sampler_draws_from_the_state(session: Session, backend: IBMBackend) -> None:
    """The sampler gives as many shots as asked for, in the right proportion, under their name."""
    job = SamplerV2(session).run([isa(bell(), backend)], shots=10_000)
    counts = job.result()[0].data.meas.get_counts()
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 10_000
    assert abs(counts["00"] - 5000) < 250


def test_executor_sampler(session: Session, backend: IBMBackend) -> None:
    """The sampler that the client computes itself works through the executor program."""
    counts = Sampler(session).run([isa(bell(), backend)]).result()[0].data.meas.get_counts()
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 4096


def test_executor_estimator(session: Session, backend: IBMBackend) -> None:
    """The estimator that the client computes itself agrees within its own error."""
    circuit = isa(ground_state(), backend)
    result = Estimator(session).run([(circuit, H2.apply_layout(circuit.layout))]).result()
    assert result[0].data.evs == pytest.approx(H2_GROUND_ENERGY, abs=0.05)
    assert 0 < result[0].data.stds < 0.05


def test_executor(session: Session, backend: IBMBackend) -> None:
    """A quantum program of one's own gives its classical registers as boolean arrays."""
    program = QuantumProgram(shots=100)
    program.append_circuit_item(isa(bell(), backend))
    bits = Executor(session).run(program).result()[0]["meas"]
    assert bits.shape == (100, 2)
    assert (bits[:, 0] == bits[:, 1]).all()


@legacy
def test_large_devices(service: QiskitRuntimeService) -> None:
    """A small problem on a device of 156 qubits costs no more than a small problem."""
    backend = service.backend("ibm_fez")
    circuit = isa(ground_state(), backend)
    assert circuit.num_qubits == 156
    observable = H2.apply_layout(circuit.layout)
    everywhere = SparsePauliOp("Z" * 156)
    job = EstimatorV2(backend).run([(circuit, [observable, everywhere])])
    assert job.result()[0].data.evs == pytest.approx([H2_GROUND_ENERGY, -1.0], abs=1e-8)


@legacy
def test_wide_circuits(service: QiskitRuntimeService) -> None:
    """A measurement of all 127 qubits of a device is sampled too."""
    backend = service.backend("ibm_sherbrooke")
    circuit = QuantumCircuit(127)
    circuit.x(range(0, 127, 2))
    circuit.measure_all()
    circuit = generate_preset_pass_manager(
        0, backend, initial_layout=list(range(127)), seed_transpiler=1
    ).run(circuit)
    counts = SamplerV2(backend).run([circuit], shots=10).result()[0].data.meas.get_counts()
    assert counts == {"10" * 63 + "1": 10}


@legacy
def test_same_content_gives_same_samples(session: Session, backend: IBMBackend) -> None:
    """Two equal jobs have equal results whatever their tags; another number of shots differs."""

    def samples(tag: str, shots: int) -> np.ndarray:
        sampler = SamplerV2(session, options={"environment": {"job_tags": [tag]}})
        return sampler.run([isa(bell(), backend)], shots=shots).result()[0].data.meas.array

    assert np.array_equal(samples("one", 500), samples("two", 500))
    assert not np.array_equal(samples("one", 500), samples("one", 501)[:500])


def test_what_cannot_run_fails(service: QiskitRuntimeService, api: httpx.Client) -> None:
    """A payload that cannot be run gives a failed job whose reason says why."""
    body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": [["no circuit"]]}}
    job = service.job(api.post("/jobs", json=body).json()["id"])
    with pytest.raises(RuntimeJobFailureError, match="Unable to retrieve job result"):
        job.result()
    assert job.status() == "ERROR"
    assert job.error_message()
    assert "Traceback" in api.get(f"/jobs/{job.job_id()}/results").text
