"""Device noise in the worker's own code: what it does to results, and what they depend on."""

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
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution import noise, parts, programs

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    pass


MANILA_DT_SECONDS = 2e-9 / 9


def _request(program: str, pubs: list[Any], **fields: Any) -> programs.Request:
    params = json.dumps({"pubs": pubs, "version": 2}, cls=RuntimeEncoder)
    usual = {"backend": "ibm_manila", "recording": "manila", "noise": "device", "seed": 3}
    return programs.Request(**{"program": program, "params": params, **usual, **fields})


def _run(program: str, pubs: list[Any], **fields: Any) -> Any:
    answer = programs.run(_request(program, pubs, **fields))
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
    first = programs.run(_request("sampler", pubs)).result
    code = (
        "import sys, json\n"
        "from session_block.local_platform.execution import programs\n"
        "other, request = [programs.Request(**r) for r in json.load(sys.stdin)]\n"
        "programs.run(other)\n"
        "print(programs.run(request).result)"
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
    assert programs.run(_request("sampler", pubs, seed=4)).result != first


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
