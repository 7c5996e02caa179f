"""Bits without shot noise: what the executor estimator gets of a platform without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit.circuit.library import real_amplitudes
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparsePauliOp, Statevector

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.algorithms.hamiltonians import H2_PAULIS
from session_block.local_platform import LocalPlatform
from session_block.local_platform.execution import apportioned

H2 = SparsePauliOp.from_list(list(H2_PAULIS))
POINTS = np.random.default_rng(5).uniform(-3, 3, (3, 4))


def _pub(angles: np.ndarray, shots: int, flipped: bool = False) -> SamplerPub:
    """Return a PUB of two qubits in an entangled state, measured in the other order."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(2, "c"))
    circuit.ry(theta, 0)
    circuit.cx(0, 1)
    circuit.ry(0.4, 1)
    circuit.barrier()
    if flipped:
        circuit.x(0)
    circuit.measure([0, 1], [1, 0])
    return SamplerPub.coerce((circuit, angles), shots)


def _probabilities(angle: float) -> dict[str, float]:
    pub = _pub(np.array(angle), 1)
    state = Statevector(
        pub.circuit.remove_final_measurements(inplace=False).assign_parameters([angle])
    )
    return {bits[::-1]: float(p) for bits, p in state.probabilities_dict().items()}


@settings(max_examples=50, deadline=None)
@given(angle=st.floats(-4, 4), shots=st.integers(1, 300), turns=st.integers(1, 5))
def test_each_outcome_gets_its_share_of_all_randomisations(
    angle: float, shots: int, turns: int
) -> None:
    """Up to one shot, however the shots are split."""
    pub = _pub(np.full((turns, 1), angle), shots)
    found = apportioned.sample(pub, {}, (1,))
    counts = Counter[str]()
    for turn in range(turns):
        counts.update(found.c[turn].get_counts())
    assert counts.total() == shots * turns
    for outcome, probability in _probabilities(angle).items():
        assert abs(counts[outcome] - probability * shots * turns) < 1 + 1e-6


def test_bits_that_are_flipped_afterwards_are_shared_out_as_they_will_be_read() -> None:
    """The circuits of a point's randomisations differ; what the client sees of them does not."""
    shots, flips = 40, np.array([False, True])  # of the qubit that the second bit reads
    pub = _pub(np.array([[0.7]]), shots, flipped=True)
    found = apportioned.sample(pub, {"c": flips.reshape(1, 1, 2)}, (1,))
    read = found.c.to_bool_array("little") ^ flips
    plain = apportioned.sample(_pub(np.array([[0.7]]), shots), {}, (1,))
    assert np.array_equal(read, plain.c.to_bool_array("little"))


def test_points_are_shared_out_each_by_itself() -> None:
    """Along an axis of parameters nothing is equal."""
    angles = np.linspace(-1, 2, 6).reshape(2, 3)
    found = apportioned.sample(_pub(angles, 500), {}, (2, 3))
    assert found.shape == (2, 3)
    for index in np.ndindex(2, 3):
        counts = found.c[index].get_counts()
        for outcome, probability in _probabilities(angles[index]).items():
            assert abs(counts.get(outcome, 0) - 500 * probability) < 1 + 1e-6


def test_what_is_random_inside_is_drawn() -> None:
    """Also what is measured in the middle, written twice, in no register, or too wide."""
    plain = _pub(np.array([0.1]), 1).circuit
    assert apportioned.is_possible(plain)
    middle, reset, twice = plain.copy(), plain.copy(), plain.copy()
    middle.x(0)
    middle.measure(0, 0)
    reset.reset(0)
    twice.measure(1, 1)
    wide = QuantumCircuit(17, 17)
    for qubit in range(16):
        wide.cx(qubit, qubit + 1)
    wide.measure(range(17), range(17))
    bare, loose = QuantumCircuit(1), QuantumCircuit([Qubit()], [Clbit()])
    loose.measure(0, 0)
    assert not any(map(apportioned.is_possible, (middle, reset, twice, wide, bare, loose)))


def test_qubits_in_a_basis_state_take_no_part() -> None:
    """However many are measured, and whatever random gates flip them; more others are drawn."""
    flip = Parameter("flip")
    circuit = QuantumCircuit(40, 40)
    circuit.ry(0.7, 3)
    circuit.cx(3, 20)
    circuit.rx(flip, range(30, 40))
    random = circuit.copy()
    random.h(range(4, 19))
    for one in (circuit, random):
        one.measure(range(40), range(40))
    pub = SamplerPub.coerce((circuit, [0.0, np.pi]), 500)
    assert apportioned.is_possible(circuit)
    found = apportioned.sample(pub, {}, (2,))
    assert found is not None
    for point in range(2):
        bits = found.c.to_bool_array("little")[point]
        assert np.all(bits[:, 30:] == bool(point))
        assert np.array_equal(bits[:, 3], bits[:, 20])
        assert bits[:, 3].sum() == pytest.approx(500 * np.sin(0.35) ** 2, abs=1)
        assert bits[:, :30].sum() == 2 * bits[:, 3].sum()
    assert apportioned.sample(SamplerPub.coerce((random, [0.0]), 9), {}, ()) is None


@pytest.fixture(scope="module")
def exact_block(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuantumSession]:
    """A Block of a platform without noise."""
    folder: Path = tmp_path_factory.mktemp("exact")
    with LocalPlatform(noise="exact") as platform:
        yield QuantumSession(
            credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
            backend_name="ibm_manila",
            mode="job",
            ledger_url=SecretStr(f"sqlite:///{folder}/ledger.db"),
        )


@pytest.mark.parametrize(
    "resilience_level", [1, *(pytest.param(one, marks=pytest.mark.rest) for one in (0, 2))]
)
@pytest.mark.filterwarnings("ignore:No positive, finite standard errors")  # there are none
def test_the_executor_estimates_without_shot_noise(
    exact_block: QuantumSession, resilience_level: int
) -> None:
    """To a few ten-thousandths at the default precision, and the same with twirling, TREX, ZNE."""
    ansatz = real_amplitudes(2, reps=1)
    with exact_block.experiment(f"exact-{resilience_level}") as experiment:
        circuit, laid_out = experiment.transpile(ansatz, H2)
        result = experiment.run_estimator(
            [(circuit, laid_out, POINTS)], options={"resilience_level": resilience_level}
        )
    right = [Statevector(ansatz.assign_parameters(one)).expectation_value(H2) for one in POINTS]
    assert result[0].data.evs == pytest.approx(np.real(right), abs=5e-4)


def test_a_device_of_many_qubits_estimates_without_shot_noise(exact_block: QuantumSession) -> None:
    """Although the client measures all of its qubits, in order to mitigate readout errors."""
    block = exact_block.model_copy(update={"backend_name": "ibm_fez"})
    ansatz = real_amplitudes(2, reps=1)
    with block.experiment("many-qubits") as experiment:
        result = experiment.run_estimator([(*experiment.transpile(ansatz, H2), POINTS[0])])
    right = Statevector(ansatz.assign_parameters(POINTS[0])).expectation_value(H2)
    assert result[0].data.evs == pytest.approx(np.real(right), abs=5e-4)
