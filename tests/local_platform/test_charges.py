"""Charges: those of real jobs are met; usage, metrics and the cost limit follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Batch, EstimatorV2, SamplerV2, Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform
from session_block.local_platform.execution import charges
from session_block.local_platform.execution.timing import Load

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qiskit_ibm_runtime import IBMBackend

US = 1e-6
HERON_DELAY = 250 * US
HERON_READOUT = 1.56 * US
# One execution on Nighthawk took 11.4 µs; 5 µs of them are the overhead.
NIGHTHAWK_LENGTH = 6.4 * US
# The rounding to whole seconds, and the parts that nobody has published.
TOLERANCE_SECONDS = 1.0
TOLERANCE = 0.03


def heron(executions: int, gates: float = 0.0) -> Load:
    """Return executions on a Heron device, with gates of this length in seconds."""
    return Load().and_runs(executions, gates + HERON_READOUT, HERON_DELAY, gates)


@pytest.mark.parametrize(
    ("executions", "gates_us", "charged"),
    [
        (512, 0, 2),
        (2048, 0, 3),
        (4096, 0, 3),
        (8192, 1, 4),
        (15000, 3, 6),
        (500000, 1, 130),
        (30000, 0.5, 10),
        (30000, 48, 11),
        (30000, 480, 24),
        (768, 0, 2),
        (1536, 0, 3),
        (64, 0, 2),
        (40960, 0, 13),
        (600000, 0, 157),
        (1600, 0, 3),
        (204800, 0, 56),
    ],
)
def test_published_charges_of_samplers(executions: int, gates_us: float, charged: int) -> None:
    """The charges of sampler jobs on Heron are what their owners published (real)."""
    found = charges.charge(charges.HERON, heron(executions, gates_us * US), charges.NO_MITIGATION)
    assert found == pytest.approx(charged, rel=TOLERANCE, abs=TOLERANCE_SECONDS)


@pytest.mark.parametrize(
    ("level", "shots", "bases", "charged"),
    [(0, 4096, 1, 4), (1, 4096, 1, 12), (1, 2500, 1, 12), (1, 4096, 2, 13), (2, 4096, 1, 14)],
)
def test_published_charges_of_estimators(level: int, shots: int, bases: int, charged: int) -> None:
    """So are those of estimator jobs on Heron at each resilience level (real)."""
    mitigated = charges.mitigation({"resilience_level": level}, shots)
    found = charges.charge(charges.HERON, heron(shots * bases, 0.1 * US), mitigated)
    assert found == pytest.approx(charged, abs=TOLERANCE_SECONDS)


def test_three_observables_at_level_two() -> None:
    """Three observables cost 18 s at resilience level 2, four more than one (real)."""
    mitigated = charges.mitigation({"resilience_level": 2}, 4096)
    assert charges.charge(charges.HERON, heron(2 * 4096, 0.1 * US), mitigated) == 18


@pytest.mark.parametrize(
    ("level", "executions", "shots", "charged"),
    [
        (0, 163840, 4096, 5),
        (1, 163840, 4096, 8),
        (0, 1024, 16, 3),
        (0, 8192, 4096, 3),
        (1, 32 * 64, 64, 4),
    ],
)
def test_published_charges_on_nighthawk(
    level: int, executions: int, shots: int, charged: int
) -> None:
    """Nighthawk has other constants, and learns readout errors with the shots of a PUB (real)."""
    mitigated = charges.mitigation({"resilience_level": level}, shots)
    load = Load().and_runs(executions, NIGHTHAWK_LENGTH - US, US, 3.4 * US)
    found = charges.charge(charges.NIGHTHAWK, load, mitigated, NIGHTHAWK_LENGTH)
    assert found == pytest.approx(charged, abs=TOLERANCE_SECONDS / 2)


def test_mitigation_on_nighthawk() -> None:
    """At 4096 shots, mitigated readout costs 2.7 s more (real)."""
    load = Load().and_runs(4096, NIGHTHAWK_LENGTH - US, US)
    plain, mitigated = (
        charges.charge(charges.NIGHTHAWK, load, charges.mitigation(options, 4096), 5 * US)
        for options in ({"resilience_level": 0}, {"resilience_level": 1})
    )
    assert mitigated - plain == 3


def test_zne_on_nighthawk() -> None:
    """ZNE with factors 1, 3 and 5 multiplies the seconds of the circuits by about 5 (real)."""
    load = Load().and_runs(100_000, NIGHTHAWK_LENGTH - US, US, 3.4 * US)
    mitigated = charges.mitigation({"resilience_level": 2}, 4096)
    factor = charges.execution_seconds(load, mitigated) / charges.execution_seconds(load)
    assert factor == pytest.approx(5, rel=0.1)


def test_options_of_mitigation() -> None:
    """What the options say of each mitigation counts more than the resilience level."""
    of = charges.mitigation
    learning = {"num_randomizations": 8, "shots_per_randomization": 10}
    options: dict[str, Any] = {"measure_mitigation": True, "measure_noise_learning": learning}
    assert of({"resilience_level": 0, "resilience": options}, 99).learning_shots == 80
    assert of({"resilience": {"measure_mitigation": False}}, 99).learning_shots is None
    assert of({}, 99).learning_shots == 32 * 99
    assert of({}, 99).noise_factors == (1,)
    zne = {"zne_mitigation": True, "zne": {"noise_factors": [1, 2]}}
    assert of({"resilience": zne}, 99).noise_factors == (1, 2)


@pytest.fixture(scope="module")
def still() -> Iterator[LocalPlatform]:
    """A platform that charges as IBM does, whose clock stands still; a job takes 30 s."""
    with LocalPlatform(time_scale=0, job_seconds=30) as platform:
        yield platform


@pytest.fixture(scope="module")
def fez(still: LocalPlatform) -> IBMBackend:
    """Its Heron device."""
    return still.service().backend("ibm_fez")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_charges_of_jobs(still: LocalPlatform, fez: IBMBackend) -> None:
    """Jobs are charged as at IBM, in whole seconds, however long they occupy the QPU here."""
    circuit = isa(bell(), fez)
    plain = circuit.remove_final_measurements(inplace=False)
    observable = SparsePauliOp("ZZ").apply_layout(plain.layout)
    before = still.service().usage()["usage_consumed_seconds"]
    jobs = [
        SamplerV2(fez).run([circuit], shots=8192),
        Sampler(fez).run([circuit], shots=8192),
        EstimatorV2(fez, options={"resilience_level": 0}).run([(plain, observable)]),
        EstimatorV2(fez).run([(plain, observable)]),
    ]
    still.advance(200)
    charged = [4, 4, 3, 12]
    assert [job.usage() for job in jobs] == charged
    assert still.service().usage()["usage_consumed_seconds"] - before == sum(charged)
    for job in jobs:
        estimated = job.usage_estimation["quantum_seconds"]
        assert 1.5 <= estimated / job.usage() <= 15


def test_rep_delay_is_charged(still: LocalPlatform, fez: IBMBackend) -> None:
    """The delay that a job asks for replaces the device's."""
    sampler = Sampler(fez, options={"execution": {"rep_delay": 500e-6}})
    job = sampler.run([isa(bell(), fez)], shots=20_000)
    still.advance(60)
    assert job.usage() == 12


def test_charges_of_what_did_not_complete(still: LocalPlatform, fez: IBMBackend) -> None:
    """A cancelled job costs 2 s if it had started; a failed one costs what its code does."""
    circuit = isa(bell(), fez)
    started, queued = Sampler(fez).run([circuit]), Sampler(fez).run([circuit])
    still.advance(1)
    queued.cancel()
    started.cancel()
    assert [started.usage(), queued.usage()] == [2, 0]
    with raw_client(still.info) as api:
        for job in (started, queued):
            assert "reason" not in api.get(f"/jobs/{job.job_id()}").json()["state"]
            assert api.get(f"/jobs/{job.job_id()}/results").status_code == 204
    for code, seconds in ((1506, 2), (1603, 2), (1336, 0), (1217, 0), (9707, 0), (None, 0)):
        still.add_fault(kind="end_job", state="failed", reason="because", reason_code=code)
        job = Sampler(fez).run([circuit])
        still.advance(60)
        assert job.usage() == seconds, code


def test_charges_of_sessions_and_batches(still: LocalPlatform, fez: IBMBackend) -> None:
    """A session is charged its active time whatever its jobs do, a batch its jobs (docs)."""
    circuit = isa(bell(), fez)
    with Session(fez) as session:
        job = Sampler(session).run([circuit], shots=512)
    still.advance(200)
    assert (session.usage(), job.usage()) == (30, 2)
    with Batch(fez) as batch:
        for _ in range(2):
            Sampler(batch).run([circuit], shots=512)
    still.advance(200)
    assert batch.usage() == 4


def test_the_limit_sees_charges() -> None:
    """An instance reaches its cost limit by what it is charged."""
    with LocalPlatform(time_scale=0) as platform:
        backend = platform.service().backend("ibm_manila")
        platform.set_usage_limit("local-platform", 4)
        for reached in (False, True):
            Sampler(backend).run([isa(bell(), backend)], shots=64)
            platform.advance(1)
            assert platform.service().usage()["usage_limit_reached"] is reached


def test_simulated_charges() -> None:
    """With the other setting a job is charged the time on the simulated QPU."""
    with LocalPlatform(time_scale=0, job_seconds=30, charges="simulated") as platform:
        backend = platform.service().backend("ibm_manila")
        job = Sampler(backend).run([isa(bell(), backend)])
        platform.advance(60)
        assert job.usage() == job.usage_estimation["quantum_seconds"] == 30


def test_mocks_are_free(still: LocalPlatform) -> None:
    """A dry run costs nothing."""
    service = still.service()
    mock = service.backend("mock_manila")
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    job = Sampler(mock).run([isa(circuit, mock)])
    still.advance(1)
    assert job.usage() == 0
