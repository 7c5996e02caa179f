"""The main job: a VQE inside one session, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit.circuit.library import efficient_su2, real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from support import BACKEND, Platform, wait_until

from session_block import QuantumSession, local_platform
from session_block.algorithms.hamiltonians import H2_PAULIS, exact_ground_energy
from session_block.algorithms.vqe import run_vqe
from session_block.errors import InvalidInputError
from session_block.references import DEFAULT_IMPLEMENTATION, Implementation

H2_EXACT = -1.85727503
TUTORIAL = [("YZ", 0.3980), ("ZI", -0.3980), ("ZZ", -0.0113), ("XX", 0.1810)]
ISING_4 = [(f"{'I' * n}ZZ{'I' * (2 - n)}", -1.0) for n in range(3)] + [
    (f"{'I' * n}X{'I' * (3 - n)}", -1.0) for n in range(4)
]

_PROGRAM = """
import sys
from session_block import LocalPlatformCredentials, QuantumSession
from session_block.algorithms.vqe import run_vqe

state_dir, ledger_url, name, family = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name="ibm_manila",
    ledger_url=ledger_url,
    implementation=family,
)
with block.experiment(name) as experiment:
    print(experiment.uid, flush=True)
    run_vqe(experiment, seed=7, optimizer_options={"maxiter": 25}, precision=0.02)
"""


@pytest.fixture(scope="module")
def noisy_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A seeded platform with shot noise, slow enough to be interrupted."""
    state_dir = tmp_path_factory.mktemp("noisy-platform")
    yield Platform(local_platform.start(state_dir, noise="shots", seed=11, job_seconds=0.1))
    local_platform.stop(state_dir)


def _block(platform: Platform, ledger_url: str) -> QuantumSession:
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )


def _start(
    platform: Platform, ledger_url: str, name: str, family: Implementation = DEFAULT_IMPLEMENTATION
) -> tuple[subprocess.Popen[str], str]:
    """Start the VQE in a process of its own, and return it with its experiment's UID."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(platform.info.state_dir), ledger_url, name, family],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("family", ["executor", pytest.param("v2", marks=pytest.mark.nightly)])
def test_a_killed_vqe_ends_where_the_uninterrupted_one_does(
    noisy_platform: Platform, tmp_path: Path, family: Implementation
) -> None:
    """P1, P2, P4, P7, P8: SIGKILL in the middle, three times, changes nothing but the time.

    At the platform: one session, and as many jobs as the uninterrupted run has. In the report: the
    same evaluations and parameters, bit for bit, with seeded shot noise.
    """
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    whole, whole_uid = _start(noisy_platform, ledger_url, "whole", family)
    assert whole.wait(timeout=120) == 0
    whole.communicate()
    jobs = noisy_platform.jobs_of(whole_uid)
    sessions = noisy_platform.sessions()
    for count in (3, 10, 17):
        process, uid = _start(noisy_platform, ledger_url, "killed", family)
        wait_until(
            lambda uid=uid, count=count: noisy_platform.jobs_of(uid) >= count,
            seconds=60,
            what=f"{count} jobs",
        )
        process.kill()
        process.communicate()
    process, uid = _start(noisy_platform, ledger_url, "killed", family)
    assert process.wait(timeout=120) == 0
    process.communicate()

    assert noisy_platform.jobs_of(uid) == jobs == 25
    assert noisy_platform.sessions() == sessions + 1
    block = _block(noisy_platform, ledger_url)
    report = block.experiment("whole").report()
    killed_report = block.experiment("killed").report()
    assert report is not None
    assert killed_report is not None
    assert killed_report["parameters"] == report["parameters"]
    assert killed_report["evaluations"] == report["evaluations"]
    by_session = noisy_platform.stats()["jobs"]["by_session"]
    assert by_session[killed_report["run"]["session_ids"][-1]] == jobs


@pytest.mark.rest
def test_a_platform_killed_in_the_middle_only_prolongs_the_wait(
    noisy_platform: Platform, tmp_path: Path
) -> None:
    """A platform that is killed and started again loses no job, and the run waits for it."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    process, uid = _start(noisy_platform, ledger_url, "platform-killed")
    wait_until(lambda: noisy_platform.jobs_of(uid) >= 5, seconds=60, what="5 jobs")
    info = noisy_platform.info
    running = local_platform.find(info.state_dir)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    local_platform.start(info.state_dir)
    assert process.wait(timeout=120) == 0
    process.communicate()
    assert noisy_platform.jobs_of(uid) == 25


@pytest.mark.parametrize(
    ("hamiltonian", "exact"),
    [
        (list(H2_PAULIS), H2_EXACT),
        (TUTORIAL, -0.70293039),
        (ISING_4, -4.7587704831),
    ],
)
def test_exact_energies_are_the_published_ones(
    hamiltonian: list[tuple[str, float]], exact: float
) -> None:
    """Diagonalisation gives the reference values to which runs are compared."""
    assert exact_ground_energy(SparsePauliOp.from_list(hamiltonian)) == pytest.approx(
        exact, abs=1e-7
    )


def test_h2_is_found_within_a_millihartree(block: QuantumSession) -> None:
    """The default problem converges to −1.857275 on a platform without noise."""
    with block.experiment("h2") as experiment:
        report = run_vqe(experiment, seed=3)
    assert report.success
    assert report.energy == pytest.approx(H2_EXACT, abs=1e-3)
    assert report.energy == min(one.energy for one in report.evaluations)


@pytest.mark.parametrize("optimizer", ["Nelder-Mead", "SLSQP"])
def test_other_hamiltonians_ansatzes_and_optimisers(
    block: QuantumSession, platform: Platform, optimizer: str
) -> None:
    """Any SciPy method and any circuit serve; the recorded point and circuit are taken again."""
    hamiltonian = SparsePauliOp.from_list(TUTORIAL)
    ansatz = efficient_su2(2, reps=1)
    seen: list[int] = []
    with block.experiment("tutorial") as experiment:
        report = run_vqe(
            experiment,
            hamiltonian,
            ansatz,
            optimizer=optimizer,
            optimizer_options={"maxiter": 4},
            gradient="finite-difference",
            initial_point=np.linspace(0.1, 0.8, 8).tolist(),
            on_evaluation=lambda number, _: seen.append(number),
        )
    assert report.energy < 0
    assert seen == list(range(1, len(report.evaluations) + 1))
    # A gradient's points, seventeen of them, share a job.
    points = 1 if optimizer == "Nelder-Mead" else 1 + 2 * ansatz.num_parameters
    assert platform.jobs_of(experiment.uid) == len(report.evaluations) / points


def test_a_finished_vqe_returns_its_report(block: QuantumSession, platform: Platform) -> None:
    """Running a sealed experiment again returns the same report and submits nothing."""
    options = {"maxiter": 6}
    with block.experiment("h2") as experiment:
        first = run_vqe(experiment, optimizer_options=options)
    with block.experiment("h2") as experiment:
        assert run_vqe(experiment, optimizer_options=options) == first
    assert platform.jobs_of(experiment.uid) == len(first.evaluations)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ansatz": real_amplitudes(3)}, "2 qubits and the ansatz on 3"),
        ({"ansatz": efficient_su2(2).assign_parameters([0.0] * 16)}, "no parameters"),
        ({"initial_point": [0.1]}, "1 values"),
        ({"optimizer": "no-such-method"}, "Unknown solver"),
        ({"precision": -1}, "precision"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    block: QuantumSession, platform: Platform, arguments: dict[str, object], message: str
) -> None:
    """Bad input costs no session and no job."""
    before = platform.sessions()
    experiment = block.experiment("bad")
    with pytest.raises(ValueError, match=message):
        run_vqe(experiment, **arguments)  # type: ignore[arg-type]
    assert platform.sessions() == before


def test_too_many_qubits_for_diagonalisation() -> None:
    """A matrix that would not fit into memory is refused."""
    with pytest.raises(InvalidInputError, match="13"):
        exact_ground_energy(SparsePauliOp("Z" * 13))


def test_a_report_of_something_else_is_no_vqe(block: QuantumSession) -> None:
    """A name that stands for another finished experiment is said to do so."""
    with block.experiment("something else") as experiment:
        experiment.seal({"cuts": 5})
    with pytest.raises(InvalidInputError, match="not of a VQE"):
        run_vqe(block.experiment("something else"))
