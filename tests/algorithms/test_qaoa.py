"""QAOA inside one session: published values, statistics, killed and resumed."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from qiskit.primitives import BitArray
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from scipy.linalg import expm
from support import BACKEND, Platform, wait_until

from session_block import QuantumSession, local_platform
from session_block.algorithms.ising import MAX_NODES, TUTORIAL, Ising, MaxCut
from session_block.algorithms.qaoa import QAOAEvaluation, QAOAReport, run_qaoa
from session_block.algorithms.qaoa_objective import angle_names, qaoa_circuit
from session_block.algorithms.samples import Samples
from session_block.errors import InvalidInputError
from session_block.references import Implementation

RING = MaxCut(edges=[(0, 1), (1, 2), (2, 3), (3, 0)])
RING_ANGLES = [math.pi / 4, math.pi / 8]
RING_CUT = 4 * 0.75
PETERSEN = MaxCut(
    edges=[
        edge for i in range(5) for edge in [(i, (i + 1) % 5), (i, i + 5), (i + 5, (i + 2) % 5 + 5)]
    ]
)
CUBIC_ANGLES = [math.atan(1 / math.sqrt(2)), math.pi / 8]
PETERSEN_CUT = 15 * (1 / 2 + 1 / (3 * math.sqrt(3)))
SPINS = Ising(couplings=[(0, 1, 0.7), (1, 2, -1.2)], fields=[(0, 0.4), (2, -0.9)], offset=2.5)

_PROGRAM = """
import json, sys
from session_block import LocalPlatformCredentials, QuantumSession
from session_block.algorithms.ising import TUTORIAL
from session_block.algorithms.qaoa import run_qaoa

state_dir, ledger_url, name, settings = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name="ibm_manila",
    ledger_url=ledger_url,
)
with block.experiment(name) as experiment:
    print(experiment.uid, flush=True)
    run_qaoa(experiment, TUTORIAL, **json.loads(settings))
"""


@pytest.fixture(scope="module")
def noisy_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A seeded platform with shot noise, slow enough to be interrupted."""
    state_dir = tmp_path_factory.mktemp("noisy-platform")
    yield Platform(
        local_platform.start(
            state_dir, noise="shots", seed=11, job_seconds=0.1, interactive_seconds=1
        )
    )
    local_platform.stop(state_dir)


@pytest.fixture
def noisy_block(noisy_platform: Platform, ledger_url: str) -> QuantumSession:
    """A Block for the noisy platform."""
    return _block(noisy_platform, ledger_url)


def _block(platform: Platform, ledger_url: str, backend_name: str = BACKEND) -> QuantumSession:
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=backend_name,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )


def _start(
    platform: Platform, ledger_url: str, name: str, settings: dict[str, Any]
) -> tuple[subprocess.Popen[str], str]:
    """Start a QAOA in a process of its own, and return it with its experiment's UID."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PROGRAM,
            str(platform.info.state_dir),
            ledger_url,
            name,
            json.dumps(settings),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=120)
    assert process.returncode == 0


def _requests(platform: Platform) -> int:
    """Return how many requests the platform's API has had, the tests' own questions apart."""
    requests = platform.stats()["requests"]
    return sum(count for route, count in requests.items() if "/_local/" not in route)


@pytest.mark.rest
@pytest.mark.parametrize(
    ("settings", "kills", "expected_jobs"),
    [
        pytest.param(
            {
                "reps": 2,
                "objective": "sampler",
                "alpha": 0.3,
                "shots": 300,
                "initial_point": "random",
                "seed": 5,
                "optimizer": "Nelder-Mead",
                "optimizer_options": {"maxfev": 12},
            },
            (3, 8, 13),
            13,
            marks=pytest.mark.nightly,
        ),
        (
            {"seed": 5, "optimizer": "SPSA", "optimizer_options": {"maxiter": 5}},
            (4,),
            7,
        ),
    ],
)
def test_a_killed_qaoa_ends_where_the_uninterrupted_one_does(
    noisy_platform: Platform,
    ledger_url: str,
    settings: dict[str, Any],
    kills: tuple[int, ...],
    expected_jobs: int,
) -> None:
    """P1, P2, P4, P7, P8: SIGKILL changes nothing: one session, the same jobs, the same report."""
    whole, whole_uid = _start(noisy_platform, ledger_url, "whole", settings)
    _finish(whole)
    sessions = noisy_platform.sessions()
    for count in kills:
        process, uid = _start(noisy_platform, ledger_url, "killed", settings)
        wait_until(
            lambda uid=uid, count=count: noisy_platform.jobs_of(uid) >= count,
            seconds=60,
            what=f"{count} jobs",
        )
        process.kill()
        process.communicate()
    process, uid = _start(noisy_platform, ledger_url, "killed", settings)
    _finish(process)

    assert noisy_platform.jobs_of(uid) == noisy_platform.jobs_of(whole_uid) == expected_jobs
    assert noisy_platform.sessions() == sessions + 1
    block = _block(noisy_platform, ledger_url)
    reports = [
        QAOAReport.model_validate(block.experiment(name).report()) for name in ("whole", "killed")
    ]
    runs = [report.run for report in reports]
    assert len(runs[1].session_ids) == 1
    assert len(runs[1].job_ids) == expected_jobs
    whole_report, killed_report = (report.model_dump(exclude={"run"}) for report in reports)
    assert killed_report == whole_report


@pytest.mark.parametrize(
    ("problem", "angles", "cut", "backend_name"),
    [
        (RING, RING_ANGLES, RING_CUT, BACKEND),
        (PETERSEN, CUBIC_ANGLES, PETERSEN_CUT, "ibm_hanoi"),
    ],
)
def test_the_analytic_cuts_are_met(
    platform: Platform,
    noisy_platform: Platform,
    ledger_url: str,
    problem: MaxCut,
    angles: list[float],
    cut: float,
    backend_name: str,
) -> None:
    """Farhi et al.: without noise up to the share of a shot, and within statistical error with."""
    settings: dict[str, Any] = {"optimizer": None, "initial_point": angles}
    exact = _block(platform, ledger_url, backend_name)
    precision: dict[Implementation, float | None] = {"v2": None, "executor": 1 / 256}
    for family, asked in precision.items():
        with exact.experiment(f"exact-{family}") as experiment:
            found = run_qaoa(
                experiment, problem, precision=asked, implementation=family, **settings
            )
        assert found.value == pytest.approx(cut, abs=1e-3)
    noisy = _block(noisy_platform, ledger_url, backend_name)
    with noisy.experiment("estimator") as experiment:
        estimated = run_qaoa(experiment, problem, precision=0.01, final_shots=20_000, **settings)
    with noisy.experiment("sampler") as experiment:
        sampled = run_qaoa(experiment, problem, objective="sampler", shots=20_000, **settings)
    (expectation,), (mean,) = estimated.evaluations, sampled.evaluations
    assert 0 < abs(expectation.value - cut) < 4 * expectation.standard_error
    assert 0 < abs(mean.value - cut) < 4 * mean.standard_error
    assert 0 < abs(estimated.mean - cut) < 4 * estimated.standard_error
    assert mean.standard_error < 0.02


@pytest.mark.parametrize("problem", [SPINS, TUTORIAL], ids=["ising", "max-cut"])
def test_the_circuit_is_that_of_farhi(problem: Ising | MaxCut) -> None:
    """Two layers of exp(−iγC) and exp(−iβΣX), as matrices, on the sum of all bit strings."""
    angles = [0.3, -0.7, 0.5, 0.2]
    nodes = problem.num_nodes
    cost = (1 if problem.maximised else -1) * problem.operator().to_matrix()
    mixer = SparsePauliOp.from_sparse_list([("X", [i], 1.0) for i in range(nodes)], nodes)
    state = np.full(2**nodes, 2 ** (-nodes / 2), dtype=complex)
    for gamma, beta in zip(angles[:2], angles[2:], strict=True):
        state = expm(-1j * beta * mixer.to_matrix()) @ expm(-1j * gamma * cost) @ state
    circuit = qaoa_circuit(problem, 2)
    bound = circuit.assign_parameters(dict(zip(angle_names(2), angles, strict=True)))
    assert Statevector(bound).equiv(Statevector(state))


@pytest.mark.parametrize("problem", [SPINS, TUTORIAL, MaxCut(edges=[(0, 2, -1.5), (1, 2, 4)])])
def test_values_are_those_of_the_operator(problem: Ising | MaxCut) -> None:
    """Each bit string's value is the operator's diagonal, and the extremes are among them."""
    nodes = problem.num_nodes
    bits = np.array([[index >> node & 1 for node in range(nodes)] for index in range(2**nodes)])
    diagonal = Operator(problem.operator()).data.diagonal().real + problem.terms.constant
    values = problem.values(bits.astype(bool))
    assert values == pytest.approx(diagonal)
    assert problem.extremes() == pytest.approx((diagonal.min(), diagonal.max()))
    assert problem.spread == pytest.approx(diagonal.std())


def test_the_tutorials_optimum() -> None:
    """The cuts of 5 in the tutorial's graph, which writes node 0 first, are its four."""
    first_node_first = {
        "".join(map(str, bits))
        for bits in itertools.product((0, 1), repeat=5)
        if TUTORIAL.values(np.array([bits], dtype=bool))[0] == 5
    }
    assert first_node_first == {"00101", "01101", "10010", "11010"}
    assert TUTORIAL.extremes() == (0, 5)


@pytest.mark.parametrize(
    ("problem", "optimum", "backend_name"),
    [
        (TUTORIAL, 5, BACKEND),
        pytest.param(PETERSEN, 12, "ibm_hanoi", marks=pytest.mark.nightly),
    ],
)
def test_the_best_cut_is_found(
    platform: Platform, ledger_url: str, problem: MaxCut, optimum: int, backend_name: str
) -> None:
    """Two layers from the linear ramp find the optimum, and a mean cut of more than 0.9 of it."""
    with _block(platform, ledger_url, backend_name).experiment("best") as experiment:
        report = run_qaoa(
            experiment,
            problem,
            reps=2,
            optimizer_options={"rhobeg": 0.2, "maxiter": 30},
            final_shots=3000,
        )
    assert report.best_value == report.optimum == optimum
    assert report.approximation_ratio == pytest.approx(report.mean / optimum)
    assert report.approximation_ratio > 0.9
    assert report.value == max(one.value for one in report.evaluations)
    sides = [node in report.best_nodes for node in range(problem.num_nodes)]
    assert sum(sides[first] != sides[second] for first, second, *_ in problem.edges) == optimum
    assert report.shots == 3000
    assert len(report.samples) == min(20, 2**problem.num_nodes)
    assert [one.count for one in report.samples] == sorted(
        (one.count for one in report.samples), reverse=True
    )
    assert QAOAReport.model_validate_json(report.model_dump_json()) == report


def test_node_0_is_the_rightmost_bit(block: QuantumSession) -> None:
    """Spins that fields alone turn are found, with the lowest energy, as a Qiskit bit string."""
    problem = Ising(fields=[(0, 1.0), (1, -1.0), (2, -2.0)], offset=10)
    with block.experiment("fields") as experiment:
        report = run_qaoa(experiment, problem, objective="sampler", shots=500)
    assert report.best_bitstring == "001"
    assert report.best_nodes == [0]
    assert report.best_value == report.optimum == 6
    assert report.value == pytest.approx(min(one.value for one in report.evaluations))
    assert report.approximation_ratio == pytest.approx((14 - report.mean) / 8)


def test_weights_in_another_unit_change_nothing_else(block: QuantumSession) -> None:
    """Twenty times the weights: the same way of the optimiser, at a twentieth of the γ."""
    heavy = MaxCut(edges=[(first, second, 20.0) for first, second, *_ in TUTORIAL.edges])
    reports = []
    for name, problem in [("light", TUTORIAL), ("heavy", heavy)]:
        with block.experiment(name) as experiment:
            reports.append(
                run_qaoa(
                    experiment,
                    problem,
                    optimizer_options={"maxiter": 8},
                    implementation="v2",  # its values are exact, not shares of shots
                )
            )
    light = [(*one.gammas, *one.betas, one.value) for one in reports[0].evaluations]
    scaled = [
        (*(20 * gamma for gamma in one.gammas), *one.betas, one.value / 20)
        for one in reports[1].evaluations
    ]
    assert np.array(scaled) == pytest.approx(np.array(light), abs=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "options", "points", "jobs"),
    [
        ("SPSA", {"maxiter": 3}, 7, 4),
        ("differential-evolution", {"maxiter": 1, "popsize": 2}, 10, 2),
        ("Nelder-Mead", {"maxfev": 5}, 5, 5),
    ],
)
def test_all_points_of_a_step_are_one_job(
    block: QuantumSession,
    platform: Platform,
    optimizer: str,
    options: dict[str, Any],
    points: int,
    jobs: int,
) -> None:
    """Any method serves; pairs and populations share a job, and the final sampling is one more."""
    seen: list[tuple[int, QAOAEvaluation]] = []
    with block.experiment("steps") as experiment:
        report = run_qaoa(
            experiment,
            RING,
            objective="sampler",
            shots=100,
            optimizer=optimizer,
            optimizer_options=options,
            on_evaluation=lambda *evaluation: seen.append(evaluation),
        )
    assert [number for number, _ in seen] == list(range(1, points + 1))
    assert [evaluation for _, evaluation in seen] == report.evaluations
    assert platform.jobs_of(experiment.uid) == jobs + 1
    assert len(report.run.job_ids) == jobs + 1


@pytest.mark.parametrize("objective", ["estimator", "sampler"])
def test_options_reach_the_platform(
    block: QuantumSession, platform: Platform, objective: str
) -> None:
    """The options are those of every job of the objective, and a Sampler's also of the last."""
    tag = f"of-{objective}"
    options = {"environment": {"job_tags": [tag]}}
    accuracy = {"shots": 50} if objective == "sampler" else {"precision": 0.1}
    with block.experiment("options") as experiment:
        run_qaoa(
            experiment,
            RING,
            objective=objective,
            optimizer_options={"maxiter": 5},
            options=options,
            **accuracy,
        )
    tagged = platform.stats()["jobs"]["by_tag"][tag]
    assert platform.jobs_of(experiment.uid) - tagged == (0 if objective == "sampler" else 1)


def test_the_deprecated_primitives_serve_too(block: QuantumSession) -> None:
    """Both objectives run on them."""
    for objective in ("estimator", "sampler"):
        with block.experiment(objective) as experiment:
            report = run_qaoa(
                experiment,
                RING,
                objective=objective,
                optimizer=None,
                initial_point=RING_ANGLES,
                implementation="v2",
            )
        assert report.mean == pytest.approx(RING_CUT, abs=5 * report.standard_error)
        assert report.value == pytest.approx(RING_CUT, abs=0.1)


def test_a_seed_repeats_a_noisy_run(noisy_block: QuantumSession) -> None:
    """Equal seeds give equal noisy trajectories, another seed another one."""
    trajectories = []
    for name, seed in [("one", 1), ("again", 1), ("other", 2)]:
        with noisy_block.experiment(name) as experiment:
            report = run_qaoa(
                experiment,
                RING,
                initial_point="random",
                seed=seed,
                optimizer_options={"maxiter": 5},
            )
        trajectories.append(report.evaluations)
    assert trajectories[0] == trajectories[1]
    assert trajectories[0] != trajectories[2]


def test_a_drawn_point_is_drawn_once(block: QuantumSession, platform: Platform) -> None:
    """A resumed run begins at the recorded point, whatever it would draw now; P7: at no request."""

    class InterruptedByTestError(Exception):
        pass

    settings: dict[str, Any] = {"initial_point": "random", "optimizer_options": {"maxiter": 6}}
    seen: list[QAOAEvaluation] = []
    requests: list[int] = []

    def interrupt(number: int, evaluation: QAOAEvaluation) -> None:
        seen.append(evaluation)
        if number == 4:
            raise InterruptedByTestError

    with pytest.raises(InterruptedByTestError), block.experiment("drawn") as experiment:
        run_qaoa(experiment, RING, on_evaluation=interrupt, **settings)
    before = _requests(platform)
    with block.experiment("drawn") as experiment:
        report = run_qaoa(
            experiment,
            RING,
            on_evaluation=lambda *_: requests.append(_requests(platform)),
            **settings,
        )
    assert requests[:4] == [before] * 4
    assert report.evaluations[:4] == seen
    assert platform.jobs_of(experiment.uid) == 6 + 1


def test_a_finished_qaoa_returns_its_report(block: QuantumSession, platform: Platform) -> None:
    """Running a sealed experiment again asks the platform nothing; another problem is refused."""
    with block.experiment("finished") as experiment:
        first = run_qaoa(experiment, RING, optimizer=None)
    other = block.experiment("no qaoa")
    before = _requests(platform)
    with block.experiment("finished") as experiment:
        assert run_qaoa(experiment, RING, optimizer=None) == first
        with pytest.raises(InvalidInputError, match="another problem"):
            run_qaoa(experiment, TUTORIAL, optimizer=None)
    with other:
        other.seal({"energy": 1.0})
    with pytest.raises(InvalidInputError, match="not one of QAOA"):
        run_qaoa(other, RING)
    assert _requests(platform) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reps": 0}, "at least one layer, not 0"),
        ({"objective": "sampling"}, "'estimator' or 'sampler'"),
        ({"objective": "sampler", "alpha": 0.0}, "share of samples"),
        ({"objective": "sampler", "alpha": 1.1}, "share of samples"),
        ({"objective": "sampler", "precision": 0.1}, "precision is for the Estimator"),
        ({"objective": "sampler", "shots": 0}, "Sampler request is wrong"),
        ({"alpha": 0.5}, "alpha and shots are for samples"),
        ({"shots": 100}, "alpha and shots are for samples"),
        ({"precision": -1.0}, "precision"),
        ({"final_shots": -1}, "Sampler request is wrong"),
        ({"options": {"no_such_option": 1}}, "estimator options are wrong"),
        ({"final_options": {"no_such_option": 1}}, "sampler options are wrong"),
        ({"implementation": "v3"}, "'v2' or 'executor'"),
        ({"initial_point": [0.1]}, "2 finite angles"),
        ({"initial_point": [0.1, math.nan]}, "2 finite angles"),
        ({"initial_point": "linear"}, "'ramp', 'random' or a list"),
        ({"optimizer": "no-such-method"}, "Unknown solver"),
        ({"optimizer": "dogleg"}, "Jacobian is required"),
        ({"optimizer": "SPSA", "optimizer_options": {"b": 1}}, "SPSA has no option b"),
    ],
)
def test_settings_that_do_not_fit_cost_no_request(
    block: QuantumSession, platform: Platform, arguments: dict[str, Any], message: str
) -> None:
    """Bad settings are refused before the platform hears anything."""
    experiment = block.experiment("bad")
    before = _requests(platform)
    with pytest.raises(ValueError, match=message):
        run_qaoa(experiment, RING, **arguments)
    assert _requests(platform) == before


def test_more_nodes_than_qubits_cost_no_session(block: QuantumSession, platform: Platform) -> None:
    """Whether the backend is wide enough is asked before a session is opened."""
    before = platform.sessions()
    experiment = block.experiment("wide")
    with pytest.raises(InvalidInputError, match=rf"{BACKEND}.* 6 nodes .*backend_name"):
        run_qaoa(experiment, MaxCut(edges=[(0, 5)]))
    assert platform.sessions() == before
    assert platform.jobs_of(experiment.uid) == 0


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(1, 1)], r"Edge \[1, 1\] joins a node to itself"),
        ([(0, 1), (2, 1), (1, 0)], r"Edge \[1, 0\] is given twice"),
        ([(0, -1)], r"Edge \[0, -1\] has a negative node"),
        ([], "nothing to optimise"),
        ([(0, 1, 0.0)], "nothing to optimise"),
        ([(0, 1, math.inf)], "finite"),
        ([(0, 1.5)], "valid integer"),
        ([(0, 1, 1.0, 2.0)], "at most 3 items"),
        ([(0, MAX_NODES)], f"{MAX_NODES + 1} nodes are too many"),
    ],
)
def test_edges_that_make_no_graph_are_refused(edges: Any, message: str) -> None:
    """A wrong edge list is refused with the edge, before there is anything to run."""
    with pytest.raises(ValidationError, match=message):
        MaxCut(edges=edges)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"couplings": [(0, 0, 1.0)]}, r"Edge \[0, 0\] joins a node to itself"),
        ({"fields": [(0, 1.0), (0, 2.0)]}, r"Field \[0\] is given twice"),
        ({"fields": [(-2, 1.0)]}, r"Field \[-2\] has a negative node"),
        ({"fields": [(3, 1.0)], "nodes": 3}, "the last of 3 nodes is 2"),
        ({"nodes": 0}, "cannot be 0 nodes"),
        ({"nodes": MAX_NODES + 1, "fields": [(0, 1.0)]}, "too many"),
        ({"offset": 3.0}, "nothing to optimise"),
        ({"edges": [(0, 1)]}, "Extra inputs"),
    ],
)
def test_terms_that_make_no_ising_model_are_refused(entries: Any, message: str) -> None:
    """Wrong couplings, fields and numbers of nodes are refused alike."""
    with pytest.raises(ValidationError, match=message):
        Ising(**entries)


def test_nodes_without_edges_count() -> None:
    """A graph may have more nodes than its edges name; beyond 20 no optimum is sought."""
    assert MaxCut(edges=[(0, 1)], nodes=4).num_nodes == 4
    assert MaxCut(edges=[(0, 1)], nodes=20).extremes() == (0, 1)
    assert MaxCut(edges=[(0, 1)], nodes=21).extremes() is None


def _samples(values: list[float], *, maximised: bool = True) -> Samples:
    """Return samples of one bit string each, with these values."""
    return Samples(
        bits=np.zeros((len(values), 1), dtype=bool),
        counts=np.ones(len(values), dtype=np.int64),
        values=np.array(values),
        maximised=maximised,
    )


def test_the_mean_of_the_best_share() -> None:
    """The best ⌈αn⌉ samples count: the highest values of a cut, the lowest of an energy."""
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    assert _samples(values).mean(0.5).value == pytest.approx(4.0)
    assert _samples(values, maximised=False).mean(0.4).value == pytest.approx(1.0)
    assert _samples(values).mean(0.01).value == 5.0
    assert _samples(values).mean() == pytest.approx(
        (np.mean(values), np.std(values, ddof=1) / math.sqrt(5))
    )
    assert _samples([2.0]).mean() == (2.0, 0.0)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_standard_error_is_that_of_repeated_samples(share: float) -> None:
    """What is said of one set of samples is how much many such sets differ."""
    random = np.random.default_rng(0)
    means = [_samples(random.normal(size=1000).tolist()).mean(share) for _ in range(400)]
    spread = np.std([mean.value for mean in means])
    assert np.mean([mean.standard_error for mean in means]) == pytest.approx(spread, rel=0.1)


def test_samples_of_more_than_one_octet() -> None:
    """Bit strings keep their order where they take several octets, and equal ones are counted."""
    strings = ["100000000011", "000000000001", "100000000011"]
    problem = Ising(fields=[(0, 1.0), (11, 3.0)], nodes=12)
    samples = Samples.of(problem, BitArray.from_samples(strings, num_bits=12))
    assert samples.shots == 3
    assert [(one.bits, one.value, one.count) for one in samples.commonest(5)] == [
        ("100000000011", -4.0, 2),
        ("000000000001", 2.0, 1),
    ]
    assert samples.best() == samples.commonest(1)[0]
