"""What the estimates of server-side jobs count, and that a platform which charges as IBM agrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import EstimatorV2, IBMBackend, SamplerV2

from session_block.costs.counting import work_of_pubs
from session_block.costs.v2_model import server_forecast
from session_block.costs.work import Work
from session_block.local_platform import LocalPlatform
from session_block.pubs.request import estimator_request, sampler_request

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CIRCUIT = QuantumCircuit(156)
CIRCUIT.sx(0)
CIRCUIT.cz(0, 1)
MEASURED = CIRCUIT.copy()
MEASURED.measure_active()
ZZ, XX = (SparsePauliOp.from_sparse_list([(name, [0, 1], 1.0)], 156) for name in ("ZZ", "XX"))


@pytest.fixture(scope="module")
def still() -> Iterator[LocalPlatform]:
    """A platform that charges as IBM does, whose clock stands still."""
    with LocalPlatform(time_scale=0) as platform:
        yield platform


@pytest.fixture(scope="module")
def fez(still: LocalPlatform) -> IBMBackend:
    """Its Heron device."""
    return still.service().backend("ibm_fez")


def _estimator(fez: IBMBackend, observables: Any, **options: Any) -> Work:
    request = estimator_request([(CIRCUIT, observables)], options=options, implementation="v2")
    return work_of_pubs(request, fez)


def test_executions_are_shots_and_bases(fez: IBMBackend) -> None:
    """A basis for observables that commute; the QPU's family and its own delay."""
    work = _estimator(fez, [ZZ, XX, ZZ + XX], resilience_level=0)
    assert (work.executions, work.family, work.level) == (2 * 4096, "heron", 0)
    assert work.rep_delay_seconds == 250e-6
    assert work.learning is None
    (runs,) = work.runs
    assert runs.readout_seconds == pytest.approx(1.56e-6)
    assert 0 < runs.gate_seconds < 1e-6


def test_options_count_for_more_than_the_level(fez: IBMBackend) -> None:
    """Mitigation that is switched on or off, its numbers, and the repetition delay."""
    assert _estimator(fez, ZZ).level == 1
    learning = {"num_randomizations": 8, "shots_per_randomization": 10}
    given = {"measure_mitigation": True, "measure_noise_learning": learning}
    learned = _estimator(fez, ZZ, resilience_level=0, resilience=given).learning
    assert learned is not None
    assert learned.executions == 80
    off = _estimator(fez, ZZ, resilience_level=2, resilience={"zne_mitigation": False})
    assert off.noise_factors == (1.0,)
    factors = {"zne_mitigation": True, "zne": {"noise_factors": [1, 2, 3]}}
    assert _estimator(fez, ZZ, resilience=factors).noise_factors == (1.0, 2.0, 3.0)
    few = _estimator(fez, ZZ, default_shots=16, execution={"rep_delay": 500e-6})
    assert (few.executions, few.rep_delay_seconds) == (64, 500e-6)


def test_pec_has_no_upper_end_but_its_overhead(fez: IBMBackend) -> None:
    """The platform chooses the executions; the estimate says so."""
    work = _estimator(fez, ZZ, resilience={"pec_mitigation": True, "pec": {"max_overhead": 20}})
    found = server_forecast(work)
    assert found.high > 20 * found.seconds
    assert "PEC" in found.evidence


@pytest.mark.parametrize("shots", [512, 4096, 30_000])
def test_a_samplers_charge_lies_in_the_interval(
    still: LocalPlatform, fez: IBMBackend, shots: int
) -> None:
    """As the local platform charges it, which the published charges rule too."""
    job = SamplerV2(fez).run([MEASURED], shots=shots)
    still.advance(60)
    request = sampler_request([MEASURED], shots=shots, implementation="v2")
    found = server_forecast(work_of_pubs(request, fez))
    assert found.low <= job.usage() <= found.high


@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_estimators_charge_lies_in_the_interval(
    still: LocalPlatform, fez: IBMBackend, level: int
) -> None:
    """At each resilience level."""
    job = EstimatorV2(fez, options={"resilience_level": level}).run([(CIRCUIT, [ZZ, XX])])
    still.advance(60)
    found = server_forecast(_estimator(fez, [ZZ, XX], resilience_level=level))
    assert found.low <= job.usage() <= found.high
    assert found.seconds == pytest.approx(job.usage(), rel=0.3, abs=1)
