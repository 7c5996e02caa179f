"""Noise learned, injected and mitigated through the client, under each of the platform's noises.

The mitigated circuit undoes itself, so the exact value of its observable is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import PauliLindbladMap, SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import Executor, NoiseLearnerV3, QuantumProgram
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.noise_learner import NoiseLearner
from samplomatic import InjectNoise, Twirl, build

from session_block.local_platform import LocalPlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit_ibm_runtime import IBMBackend

PEA = {"zne_mitigation": True, "zne": {"amplifier": "pea"}}
PEC = {"pec_mitigation": True}
RATES = {"X": 0.1, "Z": 0.05}


@pytest.fixture(scope="module", params=["exact", "shots", "device"])
def manila(request: pytest.FixtureRequest) -> Iterator[IBMBackend]:
    """The smallest backend of a seeded platform with each kind of noise."""
    with LocalPlatform(
        noise=request.param, seed=2, circuit_time=True, charges="simulated", time_scale=1e4
    ) as platform:
        yield platform.service().backend("ibm_manila")


with_noise = pytest.mark.parametrize("manila", ["device"], indirect=True)
without_noise = pytest.mark.parametrize("manila", ["exact", "shots"], indirect=True)


def _mirror(backend: Any) -> tuple[QuantumCircuit, SparsePauliOp]:
    """Return a circuit of two qubits and 8 cx that undoes itself, and the parity of its qubits."""
    half = QuantumCircuit(2)
    for layer in range(4):
        for qubit in range(2):
            half.ry(0.4 + 0.3 * layer + qubit, qubit)
            half.rz(0.2 + layer - 0.5 * qubit, qubit)
        half.barrier()
        half.cx(0, 1)
        half.barrier()
    circuit = half.compose(half.inverse())
    ready = generate_preset_pass_manager(0, backend, initial_layout=[0, 1]).run(circuit)
    return ready, SparsePauliOp("ZZ").apply_layout(ready.layout)


def _estimate(backend: Any, level: int, *, randomizations: int = 512, **resilience: Any) -> Any:
    """Return an estimate of the parity. Learn the noise first if the options need a model."""
    pubs = [_mirror(backend)]
    options = {"resilience_level": level, "default_shots": 4096, "resilience": resilience}
    estimator = Estimator(backend, options)
    if resilience:
        # What is injected differs in each, so many with few shots tell more.
        estimator.options.twirling.num_randomizations = randomizations
        layers = estimator.find_unique_layers(pubs)
        maps = NoiseLearnerV3(backend).run(layers).result().to_pauli_lindblad_maps()
        estimator.options.resilience.layer_noise_model = list(zip(layers, maps, strict=True))
    return estimator.run(pubs).result()[0].data


@with_noise
def test_each_mitigation_brings_the_value_nearer_to_the_exact_one(manila: IBMBackend) -> None:
    """TREX takes out the readout errors; ZNE, PEA and PEC take out those of the gates as well."""
    assert _estimate(manila, 0).evs == pytest.approx(0.85, abs=0.03)
    assert _estimate(manila, 1).evs == pytest.approx(0.90, abs=0.03)
    assert _estimate(manila, 2).evs == pytest.approx(1.0, abs=0.05)
    pea = _estimate(manila, 1, **PEA)
    assert pea.evs == pytest.approx(1.0, abs=0.05)
    # With the noise three and five times as strong: the third and the fifth power of 0.89.
    assert pea.evs_noise_factors == pytest.approx([0.89, 0.70, 0.56], abs=0.07)
    assert _estimate(manila, 1, **PEC).evs == pytest.approx(1.0, abs=0.05)


@without_noise
@pytest.mark.filterwarnings("ignore:No positive, finite standard errors:UserWarning")
def test_without_noise_there_is_none_to_mitigate(manila: IBMBackend) -> None:
    """The learned rates are zero, so PEA amplifies nothing and PEC costs nothing."""
    pea = _estimate(manila, 1, randomizations=8, **PEA)
    assert pea.evs_noise_factors == pytest.approx([1.0, 1.0, 1.0], abs=1e-9)
    pec = _estimate(manila, 1, randomizations=8, **PEC)
    assert pec.evs == pytest.approx(1.0, abs=1e-9)


def _parities(
    backend: Any, scales: list[float], local: tuple[float, float], name: str = "r123A"
) -> np.ndarray[Any, Any]:
    """Return the parity of a Bell state with noise injected after its cx, for each scale.

    Of the noise, X on the first qubit changes the parity and Z does not.
    """
    circuit = QuantumCircuit(2, 2)
    with circuit.box([Twirl(), InjectNoise(name, name)]):
        circuit.sx(0)
        circuit.cx(0, 1)
    with circuit.box([Twirl()]):
        circuit.measure([0, 1], [0, 1])
    template, samplex = build(circuit)
    rates = np.array(list(RATES.values()))
    arguments = {
        f"pauli_lindblad_maps.{name}": PauliLindbladMap.from_sparse_list(
            [(letter, [0], rate) for letter, rate in RATES.items()], 2
        ),
        f"noise_scales.{name}": np.array(scales)[:, np.newaxis],
        f"local_scales.{name}": np.array(local),
    }
    program = QuantumProgram(shots=4)
    program.append_samplex_item(
        template, samplex=samplex, samplex_arguments=arguments, shape=(len(scales), 500)
    )
    data = Executor(backend).run(program).result()[0]
    bits = data["c"] ^ data["measurement_flips.c"]
    parities = np.prod(1 - 2.0 * bits, axis=-1).mean(axis=-1)
    signs = np.prod(1 - 2.0 * data["pauli_signs"], axis=-1)
    removed = np.maximum(0, -np.outer(scales, rates * local)).sum(axis=1)
    means: np.ndarray[Any, Any] = np.exp(2 * removed) * np.mean(signs * parities, axis=1)
    return means


def test_noise_is_injected_and_removed(manila: IBMBackend) -> None:
    """A rate r takes the parity to exp(-2 r), its removal to exp(2 r), and scales act on rates."""
    scales = [0.0, 1.0, -1.0, 3.0]
    found = _parities(manila, scales, (1.0, 1.0))
    assert found / found[0] == pytest.approx(np.exp(-2 * RATES["X"] * np.array(scales)), abs=0.1)
    none, half = _parities(manila, [0.0, 3.0], (0.5, 1.0))
    assert half / none == pytest.approx(np.exp(-3 * RATES["X"]), abs=0.1)


def test_equal_requests_are_injected_with_the_same(manila: IBMBackend) -> None:
    """Also if the client's name for the noise differs.

    The name is a hash. If the process has used its beginning for another layer, it is longer.
    """
    found = [_parities(manila, [-1.0], (1.0, 1.0), name) for name in ("r12aA", "r12aA", "r12abA")]
    assert found[0] == found[1] == found[2]


@with_noise
@pytest.mark.filterwarnings("ignore:The NoiseLearner class is deprecated:DeprecationWarning")
def test_both_learners_find_the_same(manila: IBMBackend) -> None:
    """Of circuits or of boxes; and each job takes QPU time, by IBM's number of shots."""
    circuit, observable = _mirror(manila)
    job = NoiseLearner(manila).run([(circuit, observable)])
    (error,) = job.result().data
    layers = Estimator(manila, {"resilience": PEC}).find_unique_layers([(circuit, observable)])
    boxes = NoiseLearnerV3(manila).run(layers)
    (found,) = boxes.result().to_pauli_lindblad_maps()
    assert error.qubits == [0, 1]
    assert error.error.rates == pytest.approx(found.rates)
    assert list(error.error.generators) == list(
        found.get_qubit_sparse_pauli_list_copy().to_pauli_list()
    )
    # Six depths, nine bases, 32 randomisations with 128 shots, mostly of waiting.
    shots = 6 * 9 * 32 * 128
    assert job.usage() == boxes.usage() == pytest.approx(shots * 260e-6, rel=0.03)
