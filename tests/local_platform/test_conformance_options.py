"""What the options of the primitives change, and that what is not simulated is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qiskit_ibm_runtime import Batch, EstimatorV2, SamplerV2
from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform

from .support import H2, H2_GROUND_ENERGY, bell, ground_state, isa

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit import QuantumCircuit
    from qiskit_ibm_runtime import IBMBackend

pytestmark = [
    pytest.mark.filterwarnings("ignore:The (Estimator|Sampler)V2 class is deprecated"),
    # The client extrapolates to zero noise, and there is none.
    pytest.mark.filterwarnings("ignore:No positive, finite standard errors were found"),
]
TWIRLED = {
    "enable_gates": True,
    "enable_measure": True,
    "num_randomizations": 4,
    "shots_per_randomization": 25,
}


@pytest.fixture(scope="module")
def backend() -> Iterator[IBMBackend]:
    """The smallest backend of a platform of exact expectation values."""
    with LocalPlatform() as local:
        yield local.service().backend("ibm_manila")


@pytest.fixture(scope="module")
def batch(backend: IBMBackend) -> Iterator[Batch]:
    """A batch, in which the client looks for results more often than outside."""
    opened = Batch(backend)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def measured(backend: IBMBackend) -> QuantumCircuit:
    """A measured Bell state."""
    return isa(bell(), backend)


@pytest.fixture(scope="module")
def energy(backend: IBMBackend) -> Any:
    """A PUB for the ground-state energy of H2."""
    circuit = isa(ground_state(), backend)
    return circuit, H2.apply_layout(circuit.layout)


@pytest.mark.parametrize("primitive", [SamplerV2, Sampler])
def test_shots_of_twirled_samples(batch: Batch, measured: QuantumCircuit, primitive: Any) -> None:
    """Randomizations times their shots are more than the default; shots of the call are obeyed."""
    sampler = primitive(batch, options={"default_shots": 7, "twirling": TWIRLED})
    data = sampler.run([measured]).result()[0].data.meas
    assert data.num_shots == 100
    assert set(data.get_counts()) == {"00", "11"}
    sampler.options.twirling.shots_per_randomization = "auto"
    sampler.options.twirling.num_randomizations = "auto"
    assert sampler.run([measured], shots=64).result()[0].data.meas.num_shots == 64


def test_shots_of_twirled_estimates(batch: Batch, energy: Any) -> None:
    """The same goes for estimates: their metadata have randomizations times their shots."""
    options = {"default_shots": 7, "default_precision": 0.5, "twirling": TWIRLED}
    (result,) = EstimatorV2(batch, options=options).run([energy]).result()
    assert result.metadata["shots"] == 100


def test_shots_before_precision(batch: Batch, energy: Any) -> None:
    """A default number of shots is more than a default precision."""
    options = {"default_shots": 100, "default_precision": 0.5}
    (result,) = EstimatorV2(batch, options=options).run([energy]).result()
    assert result.metadata["shots"] == 100
    assert result.metadata["target_precision"] == pytest.approx(0.1)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("primitive", [EstimatorV2, Estimator])
def test_resilience(batch: Batch, energy: Any, primitive: Any, level: int) -> None:
    """On a device without noise every level of resilience gives the same energy."""
    estimator = primitive(batch, options={"resilience_level": level, "default_shots": 10_000})
    data = estimator.run([energy]).result()[0].data
    assert data.evs == pytest.approx(H2_GROUND_ENERGY, abs=0.05)
    if level == 2 and primitive is Estimator:
        assert data.evs_noise_factors.shape == data.stds_noise_factors.shape == (3,)


@pytest.mark.parametrize("primitive", [SamplerV2, Sampler])
def test_dynamical_decoupling(batch: Batch, measured: QuantumCircuit, primitive: Any) -> None:
    """Decoupling is taken, and comes back with the job's inputs."""
    options = {"dynamical_decoupling": {"enable": True, "sequence_type": "XY4"}}
    job = primitive(batch, options=options).run([measured])
    assert set(job.result()[0].data.meas.get_counts()) == {"00", "11"}
    if primitive is SamplerV2:
        assert job.inputs["options"]["dynamical_decoupling"]["sequence_type"] == "XY4"


@pytest.mark.parametrize("kind", ["kerneled", "avg_kerneled"])
@pytest.mark.parametrize("primitive", [SamplerV2, Sampler])
def test_raw_measurements(
    batch: Batch, measured: QuantumCircuit, primitive: Any, kind: str
) -> None:
    """What a resonator gives before it is classified is not simulated, and no bits are instead."""
    job = primitive(batch, options={"execution": {"meas_type": kind}}).run([measured])
    with pytest.raises(RuntimeJobFailureError, match=f"'{kind}' is not simulated"):
        job.result()
