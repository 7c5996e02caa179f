"""Noise learning in the worker's own code: the models, and what they depend on."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Parameter
from qiskit.quantum_info import (
    PTM,
    Operator,
    PauliLindbladMap,
    QubitSparsePauli,
    SuperOp,
    pauli_basis,
)
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import RuntimeEncoder
from qiskit_ibm_runtime.decoders.noise_learner import NoiseLearnerResultDecoder
from qiskit_ibm_runtime.decoders.noise_learner_v3 import decoder
from qiskit_ibm_runtime.noise_learner_v3.params_converters import (
    NOISE_LEARNER_V3_PARAMS_CONVERTERS,
)
from qiskit_ibm_runtime.options_models import NoiseLearnerV3Options
from samplomatic import Twirl

from session_block.local_platform.devices import recordings
from session_block.local_platform.execution import layers, learning, noise, programs
from session_block.local_platform.execution.layers import Gate, Layer

VERSIONS = ("v0.1", "v0.2", "v0.3")
FEW = {"num_randomizations": 10, "shots_per_randomization": 100, "layer_pair_depths": [0, 2]}


def _box(*gates: str, qubits: tuple[int, ...] = (0, 1), measured: bool = False) -> Any:
    """Return a twirled box on qubits of ibm_manila; gates by name, on its first qubits."""
    circuit = QuantumCircuit(5, len(qubits))
    with circuit.box([Twirl()]):
        circuit.noop(*qubits)
        for name in gates:
            width = 1 if name in ("h", "s") else 2
            getattr(circuit, name)(*qubits[:width])
        if measured:
            circuit.measure(qubits, range(len(qubits)))
    return circuit.data[0]


def _request(params: dict[str, Any], **fields: Any) -> programs.Request:
    usual = {"backend": "ibm_manila", "recording": "manila", "noise": "device", "seed": 3}
    text = json.dumps(params, cls=RuntimeEncoder)
    return programs.Request(**{"program": "noise-learner", "params": text, **usual, **fields})


def _of_boxes(
    boxes: list[CircuitInstruction], version: str = "v0.3", **options: Any
) -> dict[str, Any]:
    encode: Any = NOISE_LEARNER_V3_PARAMS_CONVERTERS[version].encoder
    params: dict[str, Any] = encode(boxes, NoiseLearnerV3Options(**options)).model_dump(mode="json")
    return params


def _learned(boxes: list[CircuitInstruction], **fields: Any) -> list[PauliLindbladMap]:
    answer = programs.run(_request(_of_boxes(boxes), **fields))
    result = decoder.NoiseLearnerV3ResultDecoder.decode(answer.result)
    maps: list[PauliLindbladMap] = result.to_pauli_lindblad_maps()
    return maps


def _rates(model: learning.Model) -> dict[tuple[str, tuple[int, ...]], float]:
    return {
        generator: rate
        for group, rate in zip(model.generators, model.rates, strict=True)
        for generator in group
    }


def test_depolarisation_has_the_known_rates() -> None:
    """An average gate error of e leaves 1 - 4/3 e of each Pauli: so the 15 rates are equal."""
    error = 0.03
    flips = {"prob_meas1_prep0": 0.0, "prob_meas0_prep1": 0.0}
    device = noise.NoisyDevice([flips, flips], {("cx", (1, 0)): {"gate_error": error}}, 1e-9)
    layer = Layer((3, 4), (Gate("cx", (4, 3)),))
    rates = _rates(learning.of_gates(layer, device, has_noise=True))
    assert len(rates) == 15
    assert list(rates.values()) == pytest.approx([-math.log(1 - 4 / 3 * error) / 16] * 15)


def _simulated(device: noise.NoisyDevice, name: str, *qubits: int) -> dict[str, float]:
    """Return the Pauli fidelities of a gate's noise, from a simulation of the gate on 3 qubits."""
    circuit = QuantumCircuit(3)
    getattr(circuit, name)(*qubits)
    ideal = SuperOp(Operator(circuit))
    simulator = device.simulator([circuit], 1)
    circuit.save_superop()
    exact = AerSimulator(method="superop", noise_model=simulator.options.noise_model)
    noisy = SuperOp(exact.run(circuit).result().data()["superop"])
    kept = np.real(np.diag(PTM(ideal.adjoint().compose(noisy)).data))
    return dict(zip(pauli_basis(3).to_labels(), kept, strict=True))


def test_models_are_those_of_the_simulated_noise() -> None:
    """A pair of the layer leaves as much of each Pauli as the noise that jobs have, twirled."""
    device = noise.device("manila", "ibm_manila", 7, 2, (1, 2, 3))
    layer = Layer((1, 2, 3), (Gate("cx", (2, 1)),))
    model = learning.of_gates(layer, device, has_noise=True)
    learned = PauliLindbladMap.from_sparse_list(
        [(*generator, rate) for generator, rate in _rates(model).items()], 3
    )
    parts = [_simulated(device, "cx", 1, 0), *[_simulated(device, "sx", q) for q in (0, 1, 2)] * 2]
    clifford = QuantumCircuit(3)
    clifford.cx(1, 0)
    paulis = pauli_basis(3)
    images = [label.lstrip("-") for label in paulis.evolve(clifford, frame="s").to_labels()]
    found, expected = [], []
    for label, image in zip(paulis.to_labels(), images, strict=True):
        both = [learned.pauli_fidelity(QubitSparsePauli(one)) for one in (label, image)]
        found.append(math.prod(both))
        expected.append(math.prod(part[label] * part[image] for part in parts))
    assert found == pytest.approx(expected, abs=1e-6)
    assert min(expected) < 0.95


def test_generators_are_local_and_share_rates_that_cannot_be_told_apart() -> None:
    """One qubit or a coupled pair; Z on the target and ZZ become each other, and so on."""
    device = noise.device("manila", "ibm_manila", 0, 0, (0, 1, 3))
    layer = Layer((0, 1, 3), (Gate("cx", (0, 1)),))
    model = learning.of_gates(layer, device, has_noise=True)
    generators = [generator for group in model.generators for generator in group]
    assert len(generators) == 9 + 9
    assert {qubits for _, qubits in generators} == {(0,), (1,), (2,), (0, 1)}
    assert (("Z", (1,)), ("ZZ", (0, 1))) in model.generators
    assert (("X", (0,)), ("XX", (0, 1))) in model.generators
    assert (("Z", (0,)),) in model.generators
    assert (("X", (2,)),) in model.generators
    assert min(model.rates) > 0


def test_readout_models_are_bit_flips() -> None:
    """Each qubit flips as often as it is read wrongly on the average, and by its own gates."""
    (found,) = _learned([_box(qubits=(3, 0), measured=True)])
    terms = found.to_sparse_list()
    # In the order of the device's qubits, not of the box.
    assert [term[:2] for term in terms] == [("X", [0]), ("X", [1])]
    qubits = recordings.properties("manila")["qubits"]
    for (_, _, rate), index in zip(terms, (0, 3), strict=True):
        recorded = recordings.values(qubits[index])
        wrong = recorded["prob_meas1_prep0"] + recorded["prob_meas0_prep1"]
        device = noise.device("manila", "ibm_manila", 0, 0, (index,))
        kept = device.pauli_fidelities("sx", (0,))[2]
        assert math.exp(-2 * rate) == pytest.approx((1 - wrong) * kept**2)


@pytest.mark.parametrize("kind", ["exact", "shots"])
def test_without_noise_there_is_none_to_learn(kind: str) -> None:
    """All generators are there; their rates are zero."""
    boxes = [_box("cx"), _box(measured=True), _box()]
    found = _learned(boxes, noise=kind)
    assert [one.num_terms for one in found] == [15, 2, 15]
    assert all(np.all(one.rates == 0) for one in found)


def test_models_follow_the_calibration_and_nothing_else() -> None:
    """Equal requests have the same result, byte for byte, whatever the seed of a repetition."""
    params = _of_boxes([_box("cx"), _box(measured=True)])
    answers = [
        programs.run(_request(params, **fields)).result
        for fields in ({}, {"repetition": 2}, {"seed": 4}, {"calibration": 1})
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[3] != answers[0]
    circuit = QuantumCircuit(5)
    circuit.cx(0, 1)
    # The process has numbered other circuits in between.
    texts = {programs.run(_request({"circuits": [circuit.copy()]})).result for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_every_schema_that_the_client_knows(version: str) -> None:
    """Each is answered in its own version, with what its client expects."""
    boxes = [_box("cx"), _box(measured=True)]
    params = _of_boxes(boxes, version, layer_pair_depths=[0, 3])
    answer = programs.run(_request(params))
    assert json.loads(answer.result)["schema_version"] == version
    gates, readout = decoder.NoiseLearnerV3ResultDecoder.decode(answer.result)
    assert gates.metadata["learning_protocol"] == "lindblad"
    assert gates.metadata["post_selection"]["fraction_kept"] == {0: 1.0, 3: 1.0}
    assert readout.metadata["learning_protocol"] == "trex"
    assert readout.metadata["post_selection"]["fraction_kept"] == 1.0
    # Three Paulis stay as they are under cx, the others form pairs.
    assert len(gates) == 9
    assert len(readout) == 2


def test_circuits_are_cut_into_layers() -> None:
    """Frequent layers first, then those with more gates; idle qubits as the strategy says."""
    circuit = QuantumCircuit(5)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.barrier()
    circuit.cx(1, 2)
    circuit.cx(3, 4)
    circuit.barrier()
    circuit.cx(0, 1)
    circuit.measure_all()
    wide = Gate("cx", (1, 2)), Gate("cx", (3, 4))
    narrow = (Gate("cx", (0, 1)),)

    def found(strategy: str, most: int | None = None) -> list[Layer]:
        return layers.of_circuits([circuit], strategy, most)

    assert found("active") == [Layer((0, 1), narrow), Layer((1, 2, 3, 4), wide)]
    everything = tuple(range(5))
    assert found("active-accum") == [
        Layer(everything, wide),
        Layer((0, 1), narrow),
        Layer(everything, narrow),
    ]
    assert found("active-circuit", 1) == found("all")[:1] == [Layer(everything, narrow)]
    assert found("active", 0) == layers.of_circuits([QuantumCircuit(2)], "all", None) == []


def test_a_symmetric_gate_is_one_layer_in_both_directions() -> None:
    """It counts twice, so that it comes first."""
    circuit = QuantumCircuit(3)
    for pair in ((1, 2), (0, 1), (1, 0)):
        circuit.cz(*pair)
        circuit.barrier()
    found = layers.of_circuits([circuit], "active", None)
    assert [layer.qubits for layer in found] == [(0, 1), (1, 2)]


def test_results_for_circuits() -> None:
    """Each layer comes with its circuit, its qubits and its error; IBM's options are shown."""
    circuit = QuantumCircuit(5)
    circuit.cx(3, 2)
    options = {"max_layers_to_learn": None, "support_qiskit": True, "experimental": {}}
    answer = programs.run(_request({"circuits": [circuit], "options": options}))
    result = NoiseLearnerResultDecoder.decode(answer.result)
    (error,) = result.data
    assert error.qubits == [2, 3]
    assert [gate.qubits for gate in error.circuit.data] == [tuple(error.circuit.qubits[::-1])]
    assert error.error.num_qubits == 2
    (expected,) = _learned([_box("cx", qubits=(3, 2))])
    assert error.error.rates == pytest.approx(expected.rates)
    assert result.metadata == {
        "backend": "ibm_manila",
        "input_options": {
            "max_layers_to_learn": None,
            "shots_per_randomization": 128,
            "num_randomizations": 32,
            "layer_pair_depths": [0, 1, 2, 4, 16, 32],
            "twirling_strategy": "active-accum",
        },
    }


def _branching() -> QuantumCircuit:
    circuit = QuantumCircuit(5, 1)
    with circuit.if_test((0, True)):
        circuit.x(0)
    return circuit


def _fractional() -> QuantumCircuit:
    circuit = QuantumCircuit(5)
    circuit.rzz(0.3, 0, 1)
    return circuit


def _turned(angle: Any) -> Any:
    circuit = QuantumCircuit(5)
    with circuit.box([Twirl()]):
        circuit.rzz(angle, 0, 1)
    return circuit.data[0]


def _partly_measured() -> Any:
    circuit = QuantumCircuit(5, 1)
    with circuit.box([Twirl()]):
        circuit.noop(1)
        circuit.measure(0, 0)
    return circuit.data[0]


def _unnamed_qubits() -> Any:
    circuit = QuantumCircuit(8)
    with circuit.box([Twirl()]):
        circuit.cx(6, 7)
    return circuit.data[0]


def _bare() -> Any:
    circuit = QuantumCircuit(5)
    circuit.cx(0, 1)
    return circuit.data[0]


_CHECKED = {"bit_flip_checks": {"pre_circuit": {"enable": True}}}


@pytest.mark.parametrize(
    ("params", "why"),
    [
        pytest.param({"circuits": [_branching()]}, "control flow", id="control flow"),
        pytest.param({"circuits": [_fractional()]}, "fractional gates: rzz", id="fractional"),
        pytest.param({"circuits": ["OPENQASM 3;"]}, "not text", id="text"),
        pytest.param({"circuits": [], "options": {"depth": 3}}, "depth", id="unknown option"),
        pytest.param({"instructions": {}, "schema_version": "v9"}, "v0.1, v0.2, v0.3", id="schema"),
        pytest.param(_of_boxes([_box("cx", "cx")]), "more than one layer", id="two layers"),
        pytest.param(_of_boxes([_turned(0.3)]), "not Clifford", id="not Clifford"),
        pytest.param(_of_boxes([_turned(Parameter("t"))]), "free parameter", id="parameter"),
        pytest.param(_of_boxes([_partly_measured()]), "measure all its qubits", id="measured"),
        pytest.param(_of_boxes([_unnamed_qubits()]), "no qubit of this device", id="qubits"),
        pytest.param(_of_boxes([_box("cx", qubits=(0, 2))]), "no such gate", id="not coupled"),
        pytest.param(_of_boxes([_bare()]), "boxes, not of 'cx'", id="no box"),
        pytest.param(_of_boxes([_box("cx")], **_CHECKED), "bit-flip checks", id="checks"),
    ],
)
def test_what_is_not_learned_is_refused(params: dict[str, Any], why: str) -> None:
    """The job fails, and says why."""
    with pytest.raises(ValueError, match=why):
        programs.run(_request(params))


def test_hopeless_gates_have_no_model() -> None:
    """A pair that was never calibrated has a recorded error of 1."""
    gates = recordings.properties("sherbrooke")["gates"]
    hopeless = next(
        gate
        for gate in gates
        if gate["gate"] == "ecr" and recordings.values(gate["parameters"])["gate_error"] == 1
    )
    qubits = tuple(hopeless["qubits"])
    kept = tuple(sorted(qubits))
    device = noise.device("sherbrooke", "ibm_sherbrooke", 0, 0, kept)
    layer = Layer(kept, (Gate("ecr", qubits),))
    with pytest.raises(ValueError, match="recorded error of ecr"):
        learning.of_gates(layer, device, has_noise=True)
    assert sum(learning.of_gates(layer, device, has_noise=False).rates) == 0


def test_learning_takes_the_time_of_its_circuits() -> None:
    """Nine bases for each depth, as IBM documents them; one for a measurement."""
    circuits = _of_boxes([_box("cx")], **FEW), _of_boxes([_box(measured=True)], **FEW)
    gates, readout = (
        programs.run(_request(params, circuit_time=True)).qpu_seconds for params in circuits
    )
    properties = recordings.properties("manila")
    lengths = {
        (gate["gate"], tuple(gate["qubits"])): recordings.values(gate["parameters"])["gate_length"]
        for gate in properties["gates"]
    }
    twirl = 2 * lengths["sx", (0,)]
    measure = max(recordings.values(qubit)["readout_length"] for qubit in properties["qubits"][:2])
    once = twirl + measure + 250e-6
    assert readout == pytest.approx(10 * 100 * once)
    layer = twirl + lengths["cx", (0, 1)]
    assert gates == pytest.approx(10 * 100 * 9 * (2 * once + 4 * layer))


def test_rep_delay_counts() -> None:
    """In the places where the client puts it."""
    for version in ("v0.2", "v0.3"):
        params = _of_boxes([_box(measured=True)], version, execution={"rep_delay": 1e-3}, **FEW)
        seconds = programs.run(_request(params, circuit_time=True)).qpu_seconds
        assert seconds == pytest.approx(1000 * 1e-3, rel=0.01)


def test_wide_layers_are_learned() -> None:
    """Of a layer of 27 qubits every generator is found: of each qubit, and of each coupled pair."""
    used = Counter[int]()
    chosen = []
    for gate in recordings.properties("hanoi")["gates"]:
        if gate["gate"] == "cx" and not any(used[qubit] for qubit in gate["qubits"]):
            used.update(gate["qubits"])
            chosen.append(Gate("cx", tuple(gate["qubits"])))
    layer = Layer(tuple(range(27)), tuple(chosen))
    device = noise.device("hanoi", "ibm_hanoi", 0, 0, layer.qubits)
    model = learning.of_gates(layer, device, has_noise=True)
    assert len(_rates(model)) == 3 * 27 + 9 * 28
    assert len(chosen) >= 10
