"""Equal requests of an experiment have samples of their own, the same ones in each run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import SamplerV2

from session_block import LocalPlatformCredentials, QuantumSession
from session_block.experiments.experiment import Experiment
from session_block.local_platform import LocalPlatform
from session_block.local_platform.execution.seeding import repetition
from session_block.tags import SubmissionTag

SHOTS = 1000
XZ = SparsePauliOp.from_list([("XX", 0.5), ("ZI", -0.25), ("YZ", 1.0)])
POINT = [0.1, 0.2, 0.3, 0.4]


def _coin(*, named: bool = True) -> QuantumCircuit:
    register = ClassicalRegister(1, "c") if named else ClassicalRegister(1)
    circuit = QuantumCircuit(QuantumRegister(1), register)
    circuit.sx(0)
    circuit.measure(0, 0)
    return circuit


def _heads(result: Any) -> int:
    (bits,) = result[0].data.values()
    return int(bits.get_counts().get("1", 0))


def _tosses(
    experiment: Experiment, family: Any, *, named: bool = True, times: int = 5
) -> list[int]:
    def toss() -> int:
        circuit = _coin(named=named)
        return _heads(experiment.run_sampler([circuit], shots=SHOTS, implementation=family))

    return [toss() for _ in range(times)]


@pytest.fixture
def coins(tmp_path: Path) -> Any:
    """A seeded platform and a way to open experiments with a new ledger each."""
    with LocalPlatform(seed=1, interactive_seconds=1) as platform:
        credentials = LocalPlatformCredentials(state_dir=platform.info.state_dir)

        def block(ledger: str) -> QuantumSession:
            url = SecretStr(f"sqlite:///{tmp_path}/{ledger}.db")
            return QuantumSession(
                credentials=credentials, backend_name="ibm_manila", ledger_url=url
            )

        yield platform, block


@pytest.mark.parametrize("family", ["v2", "executor"])
def test_repetitions_differ_and_every_run_has_the_same_ones(coins: Any, family: Any) -> None:
    """As on hardware; but a seeded platform repeats the whole series, bit for bit."""
    _, block = coins
    with block("a").experiment("one") as experiment:
        first = _tosses(experiment, family)
    assert len(set(first)) > 1
    assert all(400 < heads < 600 for heads in first)
    with block("b").experiment("two") as experiment:
        assert _tosses(experiment, family) == first
    # Registers that nobody named have other names each time; the samples are the same.
    with block("c").experiment("three") as experiment:
        unnamed = _tosses(experiment, family, named=False)
    with block("d").experiment("four") as experiment:
        assert _tosses(experiment, family, named=False) == unnamed


@pytest.mark.parametrize(
    "resilience_level", [1, *(pytest.param(one, marks=pytest.mark.rest) for one in (0, 2))]
)
def test_estimates_of_the_executor_do_not_depend_on_what_its_client_counted(
    coins: Any, resilience_level: int
) -> None:
    """It numbers the changes of bases through its process, with one digit and then with two."""
    _, block = coins
    estimates = set()
    for number in range(6):
        with block(f"{number}").experiment(f"estimates-{number}") as experiment:
            circuit, laid_out = experiment.transpile(real_amplitudes(2, reps=1), XZ)
            result = experiment.run_estimator(
                [(circuit, laid_out, POINT), (circuit, laid_out, POINT[::-1])],
                precision=0.1,
                options={"resilience_level": resilience_level},
                implementation="executor",
            )
            estimates.add(tuple(float(one.data.evs) for one in result))
    assert len(estimates) == 1


@pytest.mark.rest
def test_a_resumed_run_has_the_samples_of_an_uninterrupted_one(coins: Any) -> None:
    """Also for requests that are new after the interruption."""
    _, block = coins
    with block("a").experiment("whole") as experiment:
        whole = _tosses(experiment, "v2", times=4)
    stopped = block("b").experiment("stopped")
    assert _tosses(stopped, "v2", times=2) == whole[:2]
    with block("b").experiment("stopped") as resumed:
        assert _tosses(resumed, "v2", times=4) == whole


@pytest.mark.rest
def test_a_loop_until_success_ends(coins: Any) -> None:
    """With one sample for all repetitions it would never end."""
    _, block = coins
    with block("a").experiment("until") as experiment:
        for _ in range(60):
            bits = experiment.run_sampler([_coin()], shots=1)[0].data.c.get_counts()
            if "1" in bits:
                break
        else:
            pytest.fail("sixty coins showed the same side")


@pytest.mark.rest
@pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")
def test_jobs_without_our_tag_are_told_by_their_content(coins: Any) -> None:
    """The bare client says nothing of repetitions: equal jobs have equal results."""
    platform, _ = coins
    sampler = SamplerV2(platform.service().backend("ibm_manila"))
    results = [sampler.run([_coin()], shots=SHOTS).result()[0].data.c.array for _ in range(2)]
    assert np.array_equal(*results)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("occurrence", [None, 1, 2, 12])
def test_the_platform_reads_the_tag_as_it_is_written(version: int, occurrence: int | None) -> None:
    """Two rules for one text, so that the platform needs nothing of this package."""
    tag = SubmissionTag(
        "ab12",
        "cd34",
        2,
        borrowed=True,
        labelled=True,
        number=7,
        occurrence=occurrence,
        identity=2,
        fingerprint=2,
        version=version,
        owner="01234567",
    )
    expected = 1 if version == 1 else (occurrence or 1)
    assert repetition(["mine-o9", str(tag), "qs-uid:ab12"]) == expected
    assert repetition([]) == 1
