"""The pure parts: seeds, circuits and observables without idle qubits, drift, times, methods."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import Statevector

from session_block.local_platform.devices import drift, recordings
from session_block.local_platform.execution import circuits, methods, timing
from session_block.local_platform.execution.seeding import content_seed

STRUCTURE = (
    "from qiskit import QuantumCircuit\n"
    "from qiskit.circuit import ParameterVector\n"
    "from session_block.local_platform.execution import circuits\n"
    "from session_block.local_platform.execution.seeding import content_seed\n"
    "[QuantumCircuit(1) for _ in range(int(__import__('sys').argv[1]))]\n"
    "circuit = QuantumCircuit(3)\n"
    "circuit.ry(ParameterVector('t', 2)[1], 2)\n"
    "circuit.measure_all()\n"
    "print(content_seed(circuits.structure(circuit)))"
)


def test_seeds_follow_content() -> None:
    """Equal content gives equal seeds; any difference in kind, order or value another one."""
    array = np.arange(4.0)
    different = [
        (1, "a", array),
        (2, "a", array),
        ("1", "a", array),
        ("a", 1, array),
        (1, "a", array.reshape(2, 2)),
        (1, "a", array.astype(int)),
        (1, "a", {"x": None}),
        (1, "a", {"x": [None]}),
        (1, "a", [[], None]),
        (1, "a", [[None]]),
    ]
    seeds = {content_seed(*content) for content in different}
    assert len(seeds) == len(different)
    assert content_seed({"x": 1, "y": [array]}) == content_seed({"y": (array.copy(),), "x": 1})
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_structure_is_the_same_in_every_process() -> None:
    """A circuit built in two processes, after a different number of others, has one structure."""
    seeds = {
        subprocess.run(
            [sys.executable, "-c", STRUCTURE, count], capture_output=True, text=True, check=True
        ).stdout
        for count in ("0", "5")
    }
    assert len(seeds) == 1


def test_idle_qubits_are_left_out() -> None:
    """A wide circuit keeps its active qubits, parameters, registers and outcome, and no more."""
    angle = ParameterVector("t", 1)
    circuit = QuantumCircuit(40, 2)
    circuit.h(7)
    circuit.barrier()
    circuit.cx(7, 30)
    circuit.rz(angle[0], 30)
    circuit.delay(100, 3)
    circuit.measure([7, 30], [0, 1])
    small, kept = circuits.compact(circuit)
    assert kept == (7, 30)
    assert list(small.parameters) == list(angle)
    assert small.cregs == circuit.cregs
    assert circuit.num_qubits == 40


def test_delays_stay_on_kept_qubits() -> None:
    """Under noise a delay of a used qubit stays; one of an idle qubit does not make it used."""
    circuit = QuantumCircuit(5, 1)
    circuit.x(1)
    circuit.delay(100, range(5))
    circuit.measure(1, 0)
    small, kept = circuits.compact(circuit, with_delays=True)
    assert kept == (1,)
    assert [step.operation.name for step in small.data] == ["x", "delay", "measure"]
    assert circuits.compact(circuit, (3,), with_delays=True)[1] == (1, 3)
    assert "delay" not in circuits.compact(circuit)[0].count_ops()


def test_observed_qubits() -> None:
    """An observable observes the qubits on which it is not the identity, the last letter first."""
    assert circuits.observed([{"IIZ": 1.0, "XII": 0.5}, {"III": 1.0}]) == {0, 2}


LETTERS = "IXYZ01+-rl"


@pytest.mark.parametrize("kept", [(0, 2), (1,), (), (0, 1, 2)])
def test_observables_reduce_without_changing_their_value(kept: tuple[int, ...]) -> None:
    """On states whose left-out qubits are idle, every letter keeps its expectation value."""
    rng = np.random.default_rng(1)
    small = QuantumCircuit(len(kept))
    full = QuantumCircuit(3)
    for index, qubit in enumerate(kept):
        angles = rng.uniform(0, 6, 3)
        small.u(*angles, index)
        full.u(*angles, qubit)
    matrices = {
        "I": np.eye(2),
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1, -1]),
    }
    for letter, projected, sign in (
        ("0", "Z", 1),
        ("1", "Z", -1),
        ("+", "X", 1),
        ("-", "X", -1),
        ("r", "Y", 1),
        ("l", "Y", -1),
    ):
        matrices[letter] = (np.eye(2) + sign * matrices[projected]) / 2
    state = Statevector(full).data
    for _ in range(50):
        label = "".join(rng.choice(list(LETTERS), 3))
        matrix = np.eye(1)
        for letter in label:
            matrix = np.kron(matrix, matrices[letter])
        expected = np.vdot(state, matrix @ state).real
        terms = circuits.reduced_terms({label: 2.0}, kept)
        value = 0.0
        for paulis, weight in terms:
            operator = np.eye(1)
            for letter in paulis:
                operator = np.kron(operator, matrices[letter])
            reduced = Statevector(small).data if kept else np.ones(1)
            value += weight * np.vdot(reduced, operator @ reduced).real
        assert value == pytest.approx(2.0 * expected, abs=1e-12), label


def _times(properties: dict[str, Any], qubit: int) -> dict[str, float]:
    return recordings.values(properties["qubits"][qubit])


@pytest.mark.parametrize("recording", ["manila", "brussels", "fez"])
def test_calibrations_drift_and_stay_physical(recording: str) -> None:
    """Errors and times move by at most 20 %, T2 stays at most twice T1, errors stay below one."""
    recorded = recordings.properties(recording)
    changed = drift.drifted(recorded, seed=1, backend="ibm_x", number=1)
    moved = 0
    for qubit in range(len(recorded["qubits"])):
        before, after = _times(recorded, qubit), _times(changed, qubit)
        assert after["T2"] <= 2 * after["T1"]
        assert 0.8 <= after["T1"] / before["T1"] <= 1.2
        assert 0.8 <= after["readout_error"] / before["readout_error"] <= 1.2
        assert 0 < after["readout_error"] < 1
        assert after["readout_length"] == before["readout_length"]
        moved += after["T1"] != before["T1"]
    assert moved == len(recorded["qubits"])
    for old, new in zip(recorded["gates"], changed["gates"], strict=True):
        before, after = (recordings.values(gate["parameters"]) for gate in (old, new))
        assert after["gate_length"] == before["gate_length"]
        if before.get("gate_error"):
            assert after["gate_error"] < 1
            assert 0.8 <= after["gate_error"] / before["gate_error"] <= 1.2


def test_drift_follows_from_seed_device_and_number() -> None:
    """The same calibration comes out everywhere, another one for any other seed, name, number."""
    recorded = recordings.properties("manila")
    first = drift.drifted(recorded, seed=1, backend="ibm_x", number=1)
    assert drift.drifted(recorded, seed=1, backend="ibm_x", number=1) == first
    for seed, backend, number in ((2, "ibm_x", 1), (1, "ibm_y", 1), (1, "ibm_x", 2)):
        other = drift.drifted(recorded, seed=seed, backend=backend, number=number)
        assert _times(other, 0)["T1"] != _times(first, 0)["T1"]
    assert drift.drifted(recorded, seed=1, backend="ibm_x", number=0) == recorded


def test_both_directions_of_a_gate_drift_alike() -> None:
    """A gate's error moves with that of the same gate the other way round."""
    changed = drift.drifted(recordings.properties("fez"), seed=1, backend="ibm_x", number=1)
    errors = {
        tuple(gate["qubits"]): recordings.values(gate["parameters"])["gate_error"]
        for gate in changed["gates"]
        if gate["gate"] == "cz"
    }
    assert errors[0, 1] == errors[1, 0]
    assert errors[0, 1] != recordings.values(_gate("fez", "cz", [0, 1]))["gate_error"]


def _gate(recording: str, name: str, qubits: list[int]) -> list[dict[str, Any]]:
    for gate in recordings.properties(recording)["gates"]:
        if (gate["gate"], gate["qubits"]) == (name, qubits):
            parameters: list[dict[str, Any]] = gate["parameters"]
            return parameters
    raise AssertionError(name)


def test_a_circuit_lasts_as_long_as_its_longest_path() -> None:
    """Gates on other qubits run meanwhile: 35.56 ns (sx), 277.33 ns (cx), 5351.11 ns (readout)."""
    circuit = QuantumCircuit(5, 2)
    circuit.sx(0)
    circuit.rz(0.3, 0)
    circuit.cx(0, 1)
    circuit.sx(3)
    circuit.measure([0, 1], [0, 1])
    device = timing.Timing("manila")
    assert device.circuit_seconds(circuit) == pytest.approx(5664.0e-9, rel=1e-12)
    assert device.rep_delay_seconds({}) == pytest.approx(250e-6)
    assert device.rep_delay_seconds({"execution": {"rep_delay": 1e-4}}) == pytest.approx(1e-4)


def test_delays_and_control_flow_take_time() -> None:
    """A delay lasts as it says; of branches the longer side counts, of loops every turn."""
    device = timing.Timing("manila")
    delayed = QuantumCircuit(5)
    delayed.delay(9000, 2)
    delayed.delay(3, 2, unit="us")
    assert device.circuit_seconds(delayed) == pytest.approx(5e-6)
    branched = QuantumCircuit(5, 1)
    branched.measure(0, 0)
    with branched.if_test((0, True)) as otherwise:
        branched.delay(1, 1, unit="us")
    with otherwise:
        branched.delay(2, 1, unit="us")
    assert device.circuit_seconds(branched) == pytest.approx(5351.11111e-9 + 2e-6)
    looped = QuantumCircuit(5)
    with looped.for_loop(range(10)):
        looped.delay(1, 4, unit="us")
    assert device.circuit_seconds(looped) == pytest.approx(10e-6)


def test_jobs_take_shots_times_points_times_bases() -> None:
    """QPU time counts shots and points, and for an estimator the bases that it measures in."""
    angle = ParameterVector("t", 1)
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.rz(angle[0], 0)
    shot = 35.5555555e-9 + 5351.1111111e-9 + 250e-6
    pub = EstimatorPub.coerce((circuit, [["IIIIZ"], ["IIIIX"]], np.zeros((3, 1)), 0.1))
    assert timing.estimator_load("manila", {}, [pub], [100]).seconds == pytest.approx(
        100 * 3 * 2 * shot
    )
    constant = EstimatorPub.coerce((circuit, "IIIII", [0.0], 0.1))
    assert timing.estimator_load("manila", {}, [constant], [100]).seconds == 0.0
    measured = circuit.copy()
    measured.add_register(ClassicalRegister(1))
    measured.measure(0, 0)
    sampled = SamplerPub.coerce((measured, np.zeros((3, 1)), 100))
    assert timing.sampler_load("manila", {}, [sampled]).seconds == pytest.approx(100 * 3 * shot)
    assert timing.executor_load("manila", {}, [(measured, 3)], 100).seconds == pytest.approx(
        100 * 3 * shot
    )


def test_commuting_terms_share_a_basis() -> None:
    """Terms that commute qubit by qubit are measured at once; a projector counts as Paulis."""
    terms = circuits.all_reduced_terms([{"ZZ": 1.0, "ZI": 1.0, "XX": 1.0, "0I": 1.0}], (0, 1))
    assert timing.measurement_bases((4,), terms) == 8


def _layers(qubits: int, depth: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    for layer in range(depth):
        circuit.ry(0.3, range(qubits))
        for qubit in range(layer % 2, qubits - 1, 2):
            circuit.cz(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize(
    ("circuit", "shots", "method"),
    [
        (_layers(2, 4), 4000, "density_matrix"),
        (_layers(10, 20), 4000, "density_matrix"),
        (_layers(14, 40), 10, "statevector"),
        (_layers(100, 2), 1000, "matrix_product_state"),
    ],
)
def test_small_deep_and_wide_circuits_have_a_method(
    circuit: QuantumCircuit, shots: int, method: str
) -> None:
    """The quickest method is the one that fits a circuit's width, depth and shots."""
    assert methods.choose([circuit], shots) == method


def test_what_would_never_end_is_refused() -> None:
    """A circuit both wide and deep is refused at once, with what can be done instead."""
    with pytest.raises(methods.TooBigToSimulateError, match=r"30 active qubits.*shots, or start"):
        methods.choose([_layers(30, 40)], 1000)
    midway = _layers(12, 4)
    midway.x(0)
    assert methods.choose([midway], 1000) != "density_matrix"
