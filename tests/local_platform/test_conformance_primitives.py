"""PUBs of every shape through every primitive, compared with Qiskit's own reference primitives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, EstimatorV2, Executor, SamplerV2, Session
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.quantum_program import QuantumProgram

from session_block.local_platform import LocalPlatform

from .support import bell, isa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

# What the client deprecates it still sends, and the platform has to answer.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The (Estimator|Sampler)V2 class is deprecated"),
    pytest.mark.filterwarnings("ignore:Specifying different '(shots|precision)' across pubs"),
]
LETTERS = ("ZZ", "XX", "IY", "ZI", "XZ", "YY")
# Shapes of parameter values and of observables, and what they broadcast to.
SHAPES = [
    ((), (), ()),
    ((4,), (), (4,)),
    ((), (3,), (3,)),
    ((4,), (4,), (4,)),
    ((3, 1), (1, 2), (3, 2)),
    ((2, 3), (3,), (2, 3)),
    ((2,), (3, 1), (3, 2)),
    ((1,), (1,), (1,)),
    ((2, 1, 2), (3, 1), (2, 3, 2)),
]


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform of exact expectation values."""
    with LocalPlatform() as running:
        yield running


@pytest.fixture(scope="module")
def service(local: LocalPlatform) -> QiskitRuntimeService:
    """The client, connected to that platform."""
    return local.service()


@pytest.fixture(scope="module")
def backend(service: QiskitRuntimeService) -> IBMBackend:
    """The smallest backend."""
    return service.backend("ibm_manila")


@pytest.fixture(scope="module")
def batch(backend: IBMBackend) -> Iterator[Batch]:
    """A batch, in which the client looks for results more often than outside."""
    opened = Batch(backend)
    yield opened
    opened.close()


def ansatz() -> QuantumCircuit:
    """Return a circuit of two qubits and three parameters."""
    angles = ParameterVector("t", 3)
    circuit = QuantumCircuit(2)
    circuit.ry(angles[0], 0)
    circuit.rx(angles[1], 1)
    circuit.cx(0, 1)
    circuit.rz(angles[2], 1)
    circuit.ry(0.3, 1)
    return circuit


def values(shape: tuple[int, ...]) -> Any:
    """Return parameter values of a shape, all different."""
    count = int(np.prod(shape, dtype=int)) * 3
    return np.linspace(0.1, 2.9, count).reshape((*shape, 3))


def observables(shape: tuple[int, ...], circuit: QuantumCircuit | None = None) -> Any:
    """Return observables of a shape, laid out as a circuit is."""
    count = int(np.prod(shape, dtype=int))
    operators = np.empty(count, dtype=object)
    for index in range(count):
        pairs = [(LETTERS[index % len(LETTERS)], 1.0 + index), ("IZ", 0.25)]
        operator = SparsePauliOp.from_list(pairs)
        operators[index] = operator if circuit is None else operator.apply_layout(circuit.layout)
    return operators.reshape(shape).tolist()


def reference(parameters: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
    """Return the exact expectation values."""
    pub = (ansatz(), observables(wanted), values(parameters))
    return StatevectorEstimator().run([pub]).result()[0].data.evs


@pytest.mark.parametrize(("parameters", "wanted", "shape"), SHAPES)
def test_estimates_broadcast(
    batch: Batch, backend: IBMBackend, parameters: Any, wanted: Any, shape: Any
) -> None:
    """The estimator gives exact values in the shape to which a PUB broadcasts."""
    circuit = isa(ansatz(), backend)
    job = EstimatorV2(batch).run([(circuit, observables(wanted, circuit), values(parameters))])
    data = job.result()[0].data
    assert data.evs.shape == data.stds.shape == shape
    assert data.evs == pytest.approx(reference(parameters, wanted), abs=1e-9)


def test_estimates_of_the_executor_broadcast(batch: Batch, backend: IBMBackend) -> None:
    """So does the estimator that the client computes itself, within its errors, PUB by PUB."""
    circuit = isa(ansatz(), backend)
    chosen = [SHAPES[index] for index in (0, 1, 2, 4, 6)]
    pubs = [
        (circuit, observables(wanted, circuit), values(parameters))
        for parameters, wanted, _ in chosen
    ]
    results = Estimator(batch).run(pubs).result()
    assert len(results) == len(chosen)
    for result, (parameters, wanted, shape) in zip(results, chosen, strict=True):
        assert result.data.evs.shape == result.data.stds.shape == shape
        difference = np.abs(result.data.evs - reference(parameters, wanted))
        assert (difference < 6 * result.data.stds + 0.02).all()


def test_several_estimates(batch: Batch, backend: IBMBackend) -> None:
    """Each PUB keeps its own precision; that of the call or of the options is for the others."""
    circuit = isa(ansatz(), backend)
    circuit.metadata = {"name": "mine"}
    observable = observables((), circuit)
    estimator = EstimatorV2(batch, options={"default_precision": 0.25})
    pubs = [(circuit, observable, values(()), 0.5), (circuit, observable, values(()))]
    given, preset = (
        [result.metadata["target_precision"] for result in job.result()]
        for job in (estimator.run(pubs, precision=0.1), estimator.run(pubs))
    )
    assert given == [0.5, 0.1]
    assert preset == [0.5, 0.25]
    (result,) = estimator.run([pubs[0]]).result()
    assert result.metadata["circuit_metadata"] == {"name": "mine"}
    # Four are asked for: at resilience level 1 fewer than 64 run as 64.
    assert result.metadata["shots"] == 64


def flipped() -> QuantumCircuit:
    """Return a circuit that turns two qubits by its parameters, read into two registers."""
    angles = ParameterVector("t", 2)
    qubits = QuantumRegister(2)
    one, two = ClassicalRegister(1, "one"), ClassicalRegister(2, "two")
    circuit = QuantumCircuit(qubits, one, two)
    circuit.rx(angles[0], 0)
    circuit.rx(angles[1], 1)
    circuit.measure(0, one[0])
    circuit.measure([0, 1], two)
    return circuit


TURNS = np.pi * np.array([[[0, 0], [1, 0], [0, 1]], [[1, 1], [0, 0], [1, 1]]])


@pytest.mark.parametrize("primitive", [SamplerV2, Sampler])
def test_samples_broadcast(batch: Batch, backend: IBMBackend, primitive: Any) -> None:
    """A sampler gives every register of every set of parameters its own bits."""
    circuit = isa(flipped(), backend)
    data = primitive(batch).run([(circuit, TURNS, 20)]).result()[0].data
    for bits, width in ((data.one, 1), (data.two, 2)):
        assert (bits.shape, bits.num_bits, bits.num_shots) == ((2, 3), width, 20)
    for index in np.ndindex(2, 3):
        first, second = (TURNS[index] / np.pi).astype(int)
        assert data.one[index].get_counts() == {f"{first}": 20}
        assert data.two[index].get_counts() == {f"{second}{first}": 20}


@pytest.mark.parametrize("primitive", [SamplerV2, Sampler])
def test_several_samples(batch: Batch, backend: IBMBackend, primitive: Any) -> None:
    """Each PUB keeps its own number of shots; that of the call or the options is for the others."""
    measured, turned = isa(bell(), backend), isa(flipped(), backend)
    sampler = primitive(batch, options={"default_shots": 30})

    def shots(pubs: list[Any], number: int | None = None) -> list[int]:
        results = sampler.run(pubs, shots=number).result()
        return [next(iter(result.data.values())).num_shots for result in results]

    assert shots([(measured,), (turned, [0, 0])], 40) == [40, 40]
    assert shots([(measured, None, 7), (turned, [0, 0], 7)]) == [7, 7]
    assert shots([(measured,)]) == [30]


def test_samples_of_different_size(batch: Batch, backend: IBMBackend) -> None:
    """The sampler program takes PUBs with different numbers of shots in one job."""
    measured = isa(bell(), backend)
    results = SamplerV2(batch).run([(measured, None, 7), (measured, None, 9), measured]).result()
    assert [result.data.meas.num_shots for result in results] == [7, 9, 4096]
    assert [result.metadata["shots"] for result in results] == [7, 9, 4096]


def test_measured_in_the_middle(batch: Batch, backend: IBMBackend) -> None:
    """Measurements in the middle, resets, and bits that are read twice are what they were then."""
    circuit = QuantumCircuit(1, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.x(0)
    circuit.measure(0, 2)
    for primitive in (SamplerV2, Sampler):
        data = primitive(batch).run([isa(circuit, backend)], shots=50).result()[0].data
        assert data.c.get_counts() == {"101": 50}


def test_branches(service: QiskitRuntimeService) -> None:
    """A gate that depends on a measurement happens when it should, on a device that has that."""
    backend = service.backend("ibm_fez")
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    prepared = generate_preset_pass_manager(1, backend, seed_transpiler=1).run(circuit)
    counts = SamplerV2(backend).run([prepared], shots=400).result()[0].data.c.get_counts()
    assert set(counts) == {"00", "11"}


def test_programs_of_several_items(batch: Batch, backend: IBMBackend) -> None:
    """A quantum program gives each of its items its own registers in its own shape."""
    program = QuantumProgram(shots=11, passthrough_data={"mine": [1, 2.5, None]})
    program.append_circuit_item(isa(bell(), backend))
    program.append_circuit_item(isa(flipped(), backend), circuit_arguments=TURNS)
    result = Executor(batch).run(program).result()
    assert result.passthrough_data == {"mine": [1, 2.5, None]}
    pairs, turned = result
    assert pairs["meas"].shape == (11, 2)
    assert (pairs["meas"][:, 0] == pairs["meas"][:, 1]).all()
    assert set(turned) == {"one", "two"}
    assert turned["one"].shape == (2, 3, 11, 1)
    expected = np.broadcast_to(TURNS[:, :, None, :] > 0, (2, 3, 11, 2))
    assert (turned["two"] == expected).all()


@pytest.mark.parametrize("mode", [Session, Batch])
def test_the_mode_of_a_with_block(backend: IBMBackend, mode: Any) -> None:
    """A primitive made inside a session's or a batch's block belongs to it, and one after not."""
    circuit = isa(bell(), backend)
    with mode(backend) as opened:
        inside = Sampler().run([circuit])
        assert inside.session_id == opened.session_id
        assert inside.result() is not None
    outside = Sampler(backend).run([circuit])
    assert outside.session_id is None
    assert outside.result() is not None
