"""Jobs under the noise of the recorded device, in the worker's own code and through the client."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import EstimatorV2, RuntimeDecoder, RuntimeEncoder, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform
from session_block.local_platform import execution, noise, parts, recordings

from .support import H2, H2_GROUND_ENERGY, bell, ground_state, isa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

    from session_block.local_platform import PlatformInfo


MANILA_DT_SECONDS = 2e-9 / 9


def _request(program: str, pubs: list[Any], **fields: Any) -> execution.Request:
    params = json.dumps({"pubs": pubs, "version": 2}, cls=RuntimeEncoder)
    usual = {"backend": "ibm_manila", "recording": "manila", "noise": "device", "seed": 3}
    return execution.Request(**{"program": program, "params": params, **usual, **fields})


def _run(program: str, pubs: list[Any], **fields: Any) -> Any:
    answer = execution.run(_request(program, pubs, **fields))
    return json.loads(answer.result, cls=RuntimeDecoder)


def _bell() -> QuantumCircuit:
    circuit = QuantumCircuit(5, 2)
    circuit.rz(np.pi / 2, 0)
    circuit.sx(0)
    circuit.rz(np.pi / 2, 0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _correlated() -> QuantumCircuit:
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.x(1)
    circuit.cx(0, 1)
    return circuit


def _flipped(qubit: int, *, prepare: bool) -> float:
    """Return how often a qubit of ibm_manila is read wrongly."""
    circuit = QuantumCircuit(5, 1)
    if prepare:
        circuit.x(qubit)
    circuit.measure(qubit, 0)
    counts = _run("sampler", [[circuit, None, 40_000]])[0].data.c.get_counts()
    return float(counts.get("0" if prepare else "1", 0) / 40_000)


def test_readout_errors_are_those_recorded() -> None:
    """Each qubit is read wrongly as often as recorded, for 0 and 1 apart."""
    for qubit in (0, 3):
        recorded = recordings.values(recordings.properties("manila")["qubits"][qubit])
        zero, one = _flipped(qubit, prepare=False), _flipped(qubit, prepare=True)
        assert zero == pytest.approx(recorded["prob_meas1_prep0"], abs=0.006)
        assert one == pytest.approx(recorded["prob_meas0_prep1"], abs=0.006)


def test_delays_relax() -> None:
    """An excited qubit that waits for T1 is left in one case of e, apart from its readout."""
    recorded = recordings.values(recordings.properties("manila")["qubits"][2])
    circuit = QuantumCircuit(5, 1)
    circuit.x(2)
    circuit.delay(round(recorded["T1"] / MANILA_DT_SECONDS), 2)
    circuit.measure(2, 0)
    counts = _run("sampler", [[circuit, None, 20_000]])[0].data.c.get_counts()
    survived, gone = np.exp(-1), 1 - np.exp(-1)
    expected = survived * (1 - recorded["prob_meas0_prep1"]) + gone * recorded["prob_meas1_prep0"]
    assert counts["1"] / 20_000 == pytest.approx(expected, abs=0.015)


def test_estimates_are_measured() -> None:
    """Expectation values have shot noise, readout errors and standard errors, in any shape."""
    circuit = QuantumCircuit(5)
    circuit.x(1)
    observables = [["IIIZI"], ["IZIII"], ["IIIXI"]]
    result = _run("estimator", [[circuit, observables, [], 0.01]])
    data = result[0].data
    assert data.evs.shape == (3, 1)
    qubits = recordings.properties("manila")["qubits"]
    flips = [recordings.values(qubit) for qubit in qubits]
    assert data.evs[0, 0] == pytest.approx(-1 + 2 * flips[1]["prob_meas0_prep1"], abs=0.01)
    # Nothing happens on this qubit; it is measured all the same.
    assert data.evs[1, 0] == pytest.approx(1 - 2 * flips[3]["prob_meas1_prep0"], abs=0.01)
    assert abs(data.evs[2, 0]) < 0.05
    assert data.stds[2, 0] == pytest.approx(0.01, abs=0.001)
    assert result.metadata["resilience"]["measure_mitigation"] is False
    assert result[0].metadata["shots"] == 10_000


def test_bases_and_projectors_under_noise() -> None:
    """Terms of several bases, projectors, constants and what cancels give one number each."""
    observables = [{"IIIII": 2.0}, {"IIII0": 0.5, "IIII1": 0.5, "IIIII": -1.0}, "IIII+"]
    circuit = QuantumCircuit(5)
    circuit.rz(np.pi / 2, 0)
    circuit.sx(0)
    circuit.rz(np.pi / 2, 0)
    evs = _run("estimator", [[circuit, observables, [], 0.05]])[0].data.evs
    assert evs[:2] == pytest.approx([2.0, -0.5], abs=1e-12)
    assert evs[2] == pytest.approx(0.96, abs=0.05)


def test_control_flow_runs_under_noise() -> None:
    """A branch on a measured bit is taken as that noisy bit says."""
    circuit = QuantumCircuit(5, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((0, True)):
        circuit.x(1)
    circuit.measure(1, 1)
    counts = _run("sampler", [[circuit, None, 2000]])[0].data.c.get_counts()
    assert counts["11"] > 1600
    assert counts["01"] + counts.get("10", 0) < 300


def test_noise_depends_on_nothing_but_content() -> None:
    """Equal jobs are equal bit for bit, also in another process after other jobs."""
    pubs = [[_bell(), None, 300]]
    first = execution.run(_request("sampler", pubs)).result
    code = (
        "import sys, json\n"
        "from session_block.local_platform import execution\n"
        "other, request = [execution.Request(**r) for r in json.load(sys.stdin)]\n"
        "execution.run(other)\n"
        "print(execution.run(request).result)"
    )
    requests = [
        _request("estimator", [[_correlated(), "IIIZZ"]]),
        _request("sampler", pubs),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([vars(request) for request in requests]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == first
    assert execution.run(_request("sampler", pubs, seed=4)).result != first


def test_calibrations_change_the_noise() -> None:
    """After another calibration the same job has other errors."""
    pubs = [[_correlated(), "IIIZZ", [], 0.005]]
    results = [_run("estimator", pubs, calibration=number)[0].data.evs for number in (0, 1, 2)]
    assert len({float(value) for value in results}) == 3
    assert np.ptp(results) < 0.1


def test_the_noise_of_a_large_device_is_that_of_the_circuit() -> None:
    """Of 156 qubits and a thousand gates only what the circuit uses enters the noise model."""
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.cz(0, 1)
    simulator = noise.device("fez", "ibm_fez", 0, 0, (3, 4)).simulator([circuit], 10)
    model = simulator.options.noise_model
    errors = model.to_dict()["errors"]
    assert model.noise_qubits == [0, 1]
    assert sorted(error["operations"][0] for error in errors) == ["cz", "measure", "measure", "sx"]


def test_parts_are_put_together() -> None:
    """Qubits that have nothing to do with each other are sampled apart, into the same bits."""
    angles = ParameterVector("t", 6)
    circuit = QuantumCircuit(7, 9)
    rotated = (0, 2, 3, 4, 5, 6)
    for qubit, angle in zip(rotated, angles, strict=True):
        circuit.rx(angle, qubit)
    circuit.cx(0, 1)
    circuit.measure(range(6), [8, 7, 2, 3, 1, 5])
    groups = parts.independent(circuit)
    # Nobody looks at the last qubit.
    assert sorted(index for group in groups for index in group) == list(range(6))
    assert len(groups) == 2
    assert any({0, 1} <= set(group) for group in groups)
    halfturns = np.array([[0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]])
    device = noise.device("nairobi", "ibm_nairobi", 0, 0, tuple(range(7)))
    data = device.sample(SamplerPub.coerce((circuit, np.pi * halfturns, 500)), 1)
    assert data.c.shape == (3,)
    likeliest = [max(counts := data.c.get_counts(point), key=counts.get) for point in range(3)]
    assert likeliest == ["000000000", "110101000", "000000110"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformInfo]:
    """A platform with device noise that counts circuit time."""
    state_dir = tmp_path_factory.mktemp("noisy")
    yield local_platform.start(state_dir, noise="device", circuit_time=True, time_scale=1000.0)
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
    unmitigated = _run("estimator", [[circuit, "IIIZI"]])[0].data.evs
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
