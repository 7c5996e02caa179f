"""Jobs under the noise of the recorded device and with its times, through the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import EstimatorV2, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform

from .support import H2, H2_GROUND_ENERGY, bell, ground_state, isa

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

    from session_block.local_platform import PlatformInfo


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformInfo]:
    """A platform with device noise that counts circuit time."""
    state_dir = tmp_path_factory.mktemp("noisy")
    yield local_platform.start(
        state_dir, noise="device", circuit_time=True, charges="simulated", time_scale=1000.0
    )
    local_platform.stop(state_dir)


@pytest.fixture(scope="module")
def noisy_service(
    noisy: PlatformInfo, connect: Callable[..., QiskitRuntimeService]
) -> QiskitRuntimeService:
    """The client, connected to the noisy platform."""
    return connect(noisy)


@pytest.fixture(scope="module")
def manila(noisy_service: QiskitRuntimeService) -> IBMBackend:
    """The smallest backend of the noisy platform."""
    return noisy_service.backend("ibm_manila")


def test_noise_through_the_client(manila: IBMBackend) -> None:
    """Estimates miss the exact energy by the device's errors, and the metadata says so."""
    circuit = isa(ground_state(), manila)
    observable = H2.apply_layout(circuit.layout)
    with Session(manila) as session:
        job = EstimatorV2(session).run([(circuit, observable)], precision=0.005)
        result = job.result()
        counts = SamplerV2(session).run([isa(bell(), manila)]).result()[0].data.meas.get_counts()
    assert 0.01 < result[0].data.evs - H2_GROUND_ENERGY < 0.4
    assert result[0].data.stds > 0
    assert result.metadata["resilience"]["zne_mitigation"] is False
    assert set(counts) == {"00", "01", "10", "11"}
    assert counts["00"] + counts["11"] > 3500


def test_circuit_time_is_used(manila: IBMBackend) -> None:
    """A job's usage is its shots times the length of circuit and repetition delay."""
    job = SamplerV2(manila).run([isa(bell(), manila)], shots=20_000)
    job.result()
    assert job.usage() == pytest.approx(20_000 * 255.7e-6, rel=0.01)


def test_executor_is_noisy(manila: IBMBackend) -> None:
    """Programs of the client's own making see the device's errors too."""
    counts = Sampler(manila).run([isa(bell(), manila)]).result()[0].data.meas.get_counts()
    assert 0 < counts["01"] + counts["10"] < 800


def test_executor_estimates_are_mitigated(manila: IBMBackend) -> None:
    """What the client computes around its own programs works: TREX takes out readout errors."""
    circuit = QuantumCircuit(5)
    circuit.x(1)
    result = Estimator(manila).run([(circuit, "IIIZI")]).result()
    unmitigated = EstimatorV2(manila).run([(circuit, "IIIZI")]).result()[0].data.evs
    assert result[0].data.evs == pytest.approx(-1, abs=0.03)
    assert unmitigated > -0.95


def test_fractional_gates_run(noisy_service: QiskitRuntimeService) -> None:
    """Circuits of rx and rzz run with the noise that is recorded for these gates."""
    backend = noisy_service.backend("ibm_fez", use_fractional_gates=True)
    circuit = QuantumCircuit(2)
    circuit.rx(0.3, 0)
    circuit.rzz(0.4, 0, 1)
    circuit.rx(0.7, 1)
    # Between many pairs of the recorded device rzz was not calibrated, and has an error of 1.
    ready = generate_preset_pass_manager(1, backend, initial_layout=[145, 146]).run(circuit)
    assert {"rx", "rzz"} <= set(ready.count_ops())
    observable = SparsePauliOp(["ZI", "IZ"]).apply_layout(ready.layout)
    evs = EstimatorV2(backend).run([(ready, observable)]).result()[0].data.evs
    assert evs == pytest.approx(np.cos(0.3) + np.cos(0.7), abs=0.2)
    sampled = ready.copy()
    sampled.measure_all()
    counts = SamplerV2(backend).run([sampled], shots=100).result()[0].data.meas.get_counts()
    assert sum(counts.values()) == 100


def test_too_big_to_simulate_fails(noisy_service: QiskitRuntimeService) -> None:
    """A circuit too big for noise gives a failed job that says what to do; the next one runs."""
    backend = noisy_service.backend("ibm_sherbrooke")
    circuit = QuantumCircuit(40)
    for layer in range(20):
        circuit.ry(0.1 + layer, range(40))
        for qubit in range(layer % 2, 39, 2):
            circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    sampler = SamplerV2(backend)
    with pytest.raises(RuntimeJobFailureError, match="cannot be simulated with device noise"):
        sampler.run([isa(circuit, backend)]).result()
    assert sampler.run([isa(bell(), backend)], shots=10).result()[0].data.meas.num_shots == 10


def test_mocks_have_no_noise(noisy_service: QiskitRuntimeService) -> None:
    """A dry run is computed without noise and takes no QPU time."""
    backend = noisy_service.backend("mock_manila")
    circuit = isa(ground_state(), backend)
    job = EstimatorV2(backend).run([(circuit, H2.apply_layout(circuit.layout))])
    assert job.result()[0].data.evs == pytest.approx(H2_GROUND_ENERGY, abs=1e-8)
    assert job.usage() == 0.0
