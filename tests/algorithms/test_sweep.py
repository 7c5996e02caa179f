"""Sweeps: every point once, in jobs of bounded size, whatever happens in between."""

from __future__ import annotations

import itertools
import logging
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.primitives.containers import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.quantum_info import SparsePauliOp
from support import BACKEND, Platform, wait_until

from session_block import QuantumSession, crashpoints, local_platform
from session_block.algorithms.sweep.plan import PlannedCircuit, SweepPlan
from session_block.algorithms.sweep.report import rows_of
from session_block.algorithms.sweep.run import (
    Axis,
    ChunkLimits,
    SweepGrid,
    SweepReport,
    SweepTable,
    partial_sweep,
    plan_sweep,
    run_sweep,
)
from session_block.errors import (
    ExperimentDivergedError,
    InvalidInputError,
    JobCancelledError,
    JobFailedError,
)
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import Ledger
from session_block.operations.submissions import Operator
from session_block.references import Implementation

Z = {"Z": SparsePauliOp("Z")}
ANGLES = np.linspace(0, 2 * math.pi, 12).tolist()

_PROGRAM = """
import sys
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from session_block import LocalPlatformCredentials, QuantumSession
from session_block.algorithms.sweep.run import ChunkLimits, run_sweep

state_dir, ledger_url, name, jobs_ahead = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name="ibm_manila",
    ledger_url=ledger_url,
)
circuits = {}
for turns in (1, 2):
    circuits[f"rx-{turns}"] = QuantumCircuit(1)
    circuits[f"rx-{turns}"].rx(turns * Parameter("theta"), 0)
with block.experiment(name) as experiment:
    print(experiment.uid, flush=True)
    run_sweep(
        experiment,
        circuits,
        {"theta": [0.1 * number for number in range(9)]},
        {"Z": SparsePauliOp("Z")},
        repetitions=2,
        precision=0.02,
        limits=ChunkLimits(max_points=3),
        jobs_ahead=int(jobs_ahead),
    )
"""
_PROGRAM_CHUNKS = 12


class InterruptedByTestError(Exception):
    """The interruption that a test makes."""


@pytest.fixture(scope="module")
def noisy_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A seeded platform with shot noise, slow enough to be interrupted."""
    state_dir = tmp_path_factory.mktemp("noisy-platform")
    yield Platform(
        local_platform.start(
            state_dir, noise="shots", seed=11, job_seconds=0.2, interactive_seconds=1
        )
    )
    local_platform.stop(state_dir)


@pytest.fixture
def faulty(platform: Platform) -> Iterator[local_platform.Admin]:
    """Faults of the tests' platform, which end with the test."""
    admin = local_platform.Admin.of(platform.info)
    yield admin
    admin.clear_faults()


def rabi(turns: int = 1, *, measured: bool = False) -> QuantumCircuit:
    """Return RX(turns × theta), after which <Z> is cos(turns × theta)."""
    circuit = QuantumCircuit(1)
    circuit.rx(turns * Parameter("theta"), 0)
    if measured:
        circuit.measure_all()
    return circuit


def stop_after(number: int) -> Callable[[int, int, bool], None]:
    """Return an ``on_chunk`` that interrupts the sweep after a chunk."""

    def stop(done: int, _total: int, _replayed: bool) -> None:
        if done == number:
            raise InterruptedByTestError

    return stop


def rabi_sweep(experiment: Experiment, **changes: Any) -> SweepReport:
    """Run RX(theta) at twelve angles, two to a job, unless told otherwise."""
    arguments: dict[str, Any] = {
        "circuits": {"rx": rabi()},
        "grid": {"theta": ANGLES},
        "observables": Z,
        "limits": ChunkLimits(max_points=2),
        **changes,
    }
    return run_sweep(experiment, **arguments)


SHARE = 1 / 2048
"""How far a value of 4096 shots may be from the exact one: they are shared out, not drawn."""


def has_rabi_values(table: SweepTable) -> bool:
    """Whether all rows are those of RX(theta)."""
    return all(
        math.isclose(row.values["Z"], math.cos(row.parameters["theta"]), abs_tol=SHARE)
        for row in table.rows
    )


def requests(platform: Platform) -> dict[str, int]:
    """Return how often each route of the quantum API was called."""
    counts = platform.stats()["requests"]
    return {route: count for route, count in counts.items() if "_local" not in route}


def results(report: dict[str, Any] | None) -> dict[str, Any]:
    """Return what two runs of one sweep have in common: all but the names of jobs and sessions."""
    assert report is not None
    chunks = [{**chunk, "job_id": None} for chunk in report["chunks"]]
    return {"rows": report["rows"], "chunks": chunks}


def planned(costs: list[int], points: int, repetitions: int, limits: ChunkLimits) -> SweepPlan:
    """Return the plan of circuits whose points take so many executions."""
    return SweepPlan(
        kind="sampler",
        circuits=[
            PlannedCircuit(name=f"c{number}", fingerprint="f", executions=cost)
            for number, cost in enumerate(costs)
        ],
        observables=[],
        grid=SweepGrid(axes=[Axis(name="x", values=list(range(points)))]),
        repetitions=repetitions,
        limits=limits,
    )


def start(
    platform: Platform, ledger_url: str, name: str, jobs_ahead: int = 2
) -> tuple[subprocess.Popen[str], str]:
    """Start a sweep in a process of its own, and return it with its experiment's UID."""
    state_dir = str(platform.info.state_dir)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, state_dir, ledger_url, name, str(jobs_ahead)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a sweep that must succeed."""
    process.communicate(timeout=120)
    assert process.returncode == 0


# What is planned


@settings(deadline=None)  # the machine may be busy
@given(
    costs=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    points=st.integers(1, 30),
    repetitions=st.integers(1, 3),
    limits=st.builds(
        ChunkLimits,
        max_points=st.integers(1, 20),
        max_pubs=st.integers(1, 4),
        max_executions=st.integers(40, 200),
    ),
)
def test_chunks_hold_every_point_once_and_keep_the_limits(
    costs: list[int], points: int, repetitions: int, limits: ChunkLimits
) -> None:
    """Whatever the limits, chunks are the whole sweep in order, and none could be merged."""
    plan = planned(costs, points, repetitions, limits)
    dealt = [
        (span.repetition, span.circuit, point)
        for chunk in plan.chunks
        for span in chunk.spans
        for point in range(span.first, span.first + span.count)
    ]
    everything = itertools.product(range(1, repetitions + 1), range(len(costs)), range(points))
    assert dealt == list(everything)
    assert [chunk.number for chunk in plan.chunks] == list(range(1, len(plan.chunks) + 1))
    sizes = [
        (
            chunk.points,
            len(chunk.spans),
            sum(span.count * costs[span.circuit] for span in chunk.spans),
        )
        for chunk in plan.chunks
    ]
    most = (limits.max_points, limits.max_pubs, limits.max_executions)
    assert all(0 < size <= limit for one in sizes for size, limit in zip(one, most, strict=True))
    for chunk, following in itertools.pairwise(plan.chunks):
        last, after = chunk.spans[-1], following.spans[0]
        same_pub = (last.repetition, last.circuit) == (after.repetition, after.circuit)
        number = chunk.number - 1
        one_more = (
            sizes[number][0] + 1,
            sizes[number][1] + (not same_pub),
            sizes[number][2] + costs[after.circuit],
        )
        assert any(size > limit for size, limit in zip(one_more, most, strict=True))
    assert planned(costs, points, repetitions, limits).chunks == plan.chunks


def test_labels_are_those_of_one_plan() -> None:
    """No chunk of another plan has the same label, so lost records cannot be mixed up."""
    one = planned([1], 6, 1, ChunkLimits(max_points=2))
    other = planned([1], 6, 1, ChunkLimits(max_points=3))
    labels = [chunk.label for plan in (one, other) for chunk in plan.chunks]
    assert len(set(labels)) == len(labels) == 5


@pytest.mark.parametrize(
    ("observables", "arguments", "executions"),
    [
        (None, {"shots": 100}, 100),
        (None, {}, 4096),
        (None, {"options": {"default_shots": 50}}, 50),
        (
            None,
            {
                "shots": 10,
                "options": {
                    "twirling": {"num_randomizations": 8, "shots_per_randomization": 16},
                },
            },
            128,
        ),
        (None, {"implementation": "v2"}, 4096),
        ({"ZZ": "ZZ"}, {}, 4096),
        ({"ZZ": "ZZ"}, {"implementation": "v2"}, 4096),
        ({"ZZ": "ZZ"}, {"precision": 0.1}, 100),
        ({"ZZ": "ZZ"}, {"options": {"default_shots": 50}}, 50),
        ({"ZZ": "ZZ", "ZI": "ZI"}, {"precision": 0.1}, 200),
        ({"h": SparsePauliOp(["ZZ", "IZ", "XX"])}, {"precision": 0.1}, 200),
        ({"1": SparsePauliOp("II")}, {"precision": 0.1}, 100),
    ],
)
def test_executions_are_shots_times_bases(
    observables: dict[str, Any] | None, arguments: dict[str, Any], executions: int
) -> None:
    """Each observable counts for the bases that it needs, whether it shares them or not."""
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("theta"), 0)
    if observables is None:
        circuit.measure_all()
    plan = plan_sweep({"c": circuit}, {"theta": [0.0]}, observables, **arguments)
    assert plan.circuits[0].executions == executions


def test_no_job_passes_the_platforms_limit_of_executions() -> None:
    """Ten million shots are two jobs of five."""
    plan = plan_sweep({"c": rabi(measured=True)}, {"theta": range(1000)}, shots=10_000)
    assert [chunk.points for chunk in plan.chunks] == [500, 500]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"circuits": {}}, "no circuits"),
        ({"circuits": [("a", rabi()), ("a", rabi(2))]}, "circuit 'a'"),
        ({"circuits": {"a": rabi(), "b": QuantumCircuit(1)}}, r"'b' has no parameters \['theta'\]"),
        ({"grid": {}}, r"no values for the parameters \['theta'\] of circuit 'rx'"),
        ({"grid": {"theta": [1.0], "phi": [1.0]}}, r"no parameters \['phi'\]"),
        ({"grid": {"theta": []}}, "at least 1 item"),
        ({"grid": {"theta": [0.1, math.inf]}}, "finite"),
        ({"grid": {"theta": ["much"]}}, "The grid is wrong"),
        ({"observables": {}}, "no observables"),
        ({"observables": [("Z", "Z"), ("Z", "X")]}, "observable 'Z'"),
        ({"observables": {"Z": "ZZ"}}, "Circuit 'rx'"),
        ({"observables": None}, "Circuit 'rx'.*classical"),
        ({"shots": 100}, "default_shots"),
        ({"precision": -1}, "precision"),
        ({"options": {"no_such_option": 1}}, "options"),
        ({"repetitions": 0}, "repetitions"),
        ({"repetitions": 10**6}, "12000000 rows"),
        ({"precision": 1e-4}, "100000000 executions"),
        ({"limits": ChunkLimits(max_executions=4000)}, "One point of circuit 'rx'"),
        ({"jobs_ahead": 0}, "jobs_ahead"),
        ({"on_failure": "perhaps"}, "perhaps"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    block: QuantumSession, platform: Platform, changes: dict[str, Any], message: str
) -> None:
    """Bad input costs no request to the platform, and the name stays free for the right one."""
    experiment = block.experiment("bad")
    before = requests(platform)
    with pytest.raises(InvalidInputError, match=message):
        rabi_sweep(experiment, **changes)
    with pytest.raises(InvalidInputError, match="no sweep"):
        partial_sweep("bad", block.ledger())
    assert requests(platform) == before


def test_counts_are_not_taken_to_a_precision() -> None:
    """A precision without observables is refused, not ignored."""
    with pytest.raises(InvalidInputError, match="shots="):
        plan_sweep({"c": rabi(measured=True)}, {"theta": [0.0]}, precision=0.1)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"axes": [{"name": "a", "values": [1]}, {"name": "a", "values": [2]}]}, "axis 'a'"),
        ({"axes": [{"name": "a", "values": []}]}, "at least 1 item"),
        ({"axes": [{"name": "a", "values": [1]}], "points": [{"a": 1}]}, "not both"),
        ({"points": []}, "empty"),
        ({"points": [{"a": 1}, {"b": 1}]}, "Point 1"),
        ({"points": [{"a": math.nan}]}, "finite"),
        ({"axis": []}, "Extra"),
    ],
)
def test_a_wrong_grid_is_refused(grid: dict[str, Any], message: str) -> None:
    """A grid is checked when it is made, as a flow makes it of its parameters."""
    with pytest.raises(ValueError, match=message):
        SweepGrid.model_validate(grid)


# What comes out


def test_a_rabi_scan_gives_the_cosine(block: QuantumSession, platform: Platform) -> None:
    """Without noise, <Z> after RX(theta) is cos(theta) but for shared shots, in the grid order."""
    with block.experiment("rabi") as experiment:
        report = rabi_sweep(experiment)
    assert [row.parameters for row in report.rows] == [{"theta": angle} for angle in ANGLES]
    assert has_rabi_values(report)
    assert all(0 <= row.standard_errors["Z"] < 1 / 50 for row in report.rows)
    assert (report.done, report.total) == (6, 6)
    assert [chunk.job_id for chunk in report.chunks] == report.run.job_ids
    assert platform.jobs_of(experiment.uid) == 6


def test_rows_are_repetitions_of_circuits_of_points(block: QuantumSession) -> None:
    """Repetitions are outermost, then circuits, then points, whose last axis varies fastest."""

    def rotated(sign: int) -> QuantumCircuit:
        circuit = QuantumCircuit(2)
        circuit.ry(Parameter("a"), 0)
        circuit.ry(sign * Parameter("b"), 1)
        return circuit

    grid = {"b": [0.1, 0.2], "a": [0.3, 0.4, 0.5]}
    observables = {"Z0": SparsePauliOp("IZ"), "X1": SparsePauliOp("XI", 2.0)}
    with block.experiment("order") as experiment:
        report = run_sweep(
            experiment,
            {"plus": rotated(1), "minus": rotated(-1)},
            grid,
            observables,
            repetitions=2,
            limits=ChunkLimits(max_points=5),
        )
    expected = list(itertools.product((1, 2), ("plus", "minus"), grid["b"], grid["a"]))
    assert [row.index for row in report.rows] == list(range(24))
    assert [
        (row.repetition, row.circuit, row.parameters["b"], row.parameters["a"])
        for row in report.rows
    ] == expected
    for row in report.rows:
        sign = 1 if row.circuit == "plus" else -1
        assert row.values == pytest.approx(
            {
                "Z0": math.cos(row.parameters["a"]),
                "X1": 2 * sign * math.sin(row.parameters["b"]),
            },
            abs=2 * SHARE,
        )
    assert [chunk.points for chunk in report.chunks] == [5, 5, 5, 5, 4]


def test_points_one_by_one(block: QuantumSession) -> None:
    """A list of points is run in its own order."""
    angles = [0.7, 0.1, 0.7]
    grid = SweepGrid(points=[{"theta": angle} for angle in angles])
    with block.experiment("points") as experiment:
        report = rabi_sweep(experiment, grid=grid)
    assert [row.parameters["theta"] for row in report.rows] == angles
    assert has_rabi_values(report)


@pytest.mark.parametrize("implementation", ["v2", "executor"])
def test_counts_are_those_of_the_probabilities(
    noisy_platform: Platform, ledger_url: str, implementation: Implementation
) -> None:
    """The share of 1 after RX(theta) is sin²(theta / 2), within five standard deviations."""
    shots = 2000
    with _block(noisy_platform, ledger_url).experiment("counts") as experiment:
        report = run_sweep(
            experiment,
            {"one": rabi(1, measured=True), "two": rabi(2, measured=True)},
            {"theta": ANGLES},
            shots=shots,
            implementation=implementation,
            limits=ChunkLimits(max_pubs=1),
        )
    assert report.total == 2
    for row in report.rows:
        turns = 1 if row.circuit == "one" else 2
        share = math.sin(turns * row.parameters["theta"] / 2) ** 2
        deviation = math.sqrt(share * (1 - share) / shots)
        assert sum(row.counts.values()) == shots
        assert abs(row.counts.get("1", 0) / shots - share) <= 5 * deviation + 1e-9


@pytest.mark.parametrize("implementation", ["v2", "executor"])
def test_circuits_without_parameters(block: QuantumSession, implementation: Implementation) -> None:
    """An empty grid is one point for each circuit."""
    circuits = {name: QuantumCircuit(1) for name in ("zero", "one")}
    circuits["one"].x(0)
    with block.experiment(f"values-{implementation}") as experiment:
        report = run_sweep(experiment, circuits, {}, Z, implementation=implementation)
    assert [row.values["Z"] for row in report.rows] == pytest.approx([1, -1])
    for circuit in circuits.values():
        circuit.measure_all()
    with block.experiment(f"counts-{implementation}") as experiment:
        report = run_sweep(experiment, circuits, {}, shots=8, implementation=implementation)
    assert [row.counts for row in report.rows] == [{"0": 8}, {"1": 8}]
    assert {row.other_shots for row in report.rows} == {0}


def test_counts_in_a_report_are_limited() -> None:
    """Rows list their most frequent outcomes, an equal share of 100,000, and sum up the others."""
    plan = planned([8], 50_000, 1, ChunkLimits(max_points=1))
    bits = BitArray.from_samples(["11", "11", "11", "00", "01", "01", "00", "10"], num_bits=2)
    result = PrimitiveResult([SamplerPubResult(DataBin(meas=bits, shape=()))])
    (row,) = rows_of(plan, plan.chunks[0], result)
    assert row.counts == {"11": 3, "00": 2}
    assert row.other_shots == 3


def test_registers_are_joined(block: QuantumSession) -> None:
    """An outcome holds all classical registers, the first one rightmost."""
    first, second = ClassicalRegister(1, "first"), ClassicalRegister(2, "second")
    circuit = QuantumCircuit(QuantumRegister(3), first, second)
    circuit.x(0)
    circuit.measure([0, 1, 2], [0, 1, 2])
    with block.experiment("registers") as experiment:
        report = run_sweep(experiment, {"c": circuit}, {}, shots=4)
    assert report.rows[0].counts == {"001": 4}


# What happens in between


def _block(platform: Platform, ledger_url: str) -> QuantumSession:
    return QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )


@pytest.mark.rest
def test_a_killed_sweep_ends_where_the_uninterrupted_one_does(
    noisy_platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1, P7, P8: SIGKILL at four chunks, each run with as many jobs ahead as it likes.

    At the platform: one session, and as many jobs as there are chunks. In the report: the same
    rows, bit for bit, with seeded shot noise.
    """
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    whole, whole_uid = start(noisy_platform, ledger_url, "whole")
    finish(whole)
    sessions = noisy_platform.sessions()
    for crash_at, jobs_ahead in [
        ("submit, after:2", 1),
        ("record intent, after:3", 4),
        ("record result, before:5", 2),
        ("record sealed, before:1", 3),
    ]:
        monkeypatch.setenv(crashpoints.CRASH_AT, crash_at)
        process, _ = start(noisy_platform, ledger_url, "killed", jobs_ahead)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
    monkeypatch.delenv(crashpoints.CRASH_AT)
    process, uid = start(noisy_platform, ledger_url, "killed", 3)
    finish(process)

    assert noisy_platform.jobs_of(uid) == noisy_platform.jobs_of(whole_uid) == _PROGRAM_CHUNKS
    assert noisy_platform.sessions() == sessions + 1
    block = _block(noisy_platform, ledger_url)
    report = block.experiment("killed").report()
    assert results(report) == results(block.experiment("whole").report())
    assert report is not None
    assert len(report["rows"]) == 36
    by_session = noisy_platform.stats()["jobs"]["by_session"]
    assert by_session[report["run"]["session_ids"][0]] == _PROGRAM_CHUNKS


@pytest.mark.rest
def test_another_process_reads_what_there_is(noisy_platform: Platform, tmp_path: Path) -> None:
    """The rows of finished chunks are there while the sweep runs, and after it was killed."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    process, uid = start(noisy_platform, ledger_url, "read")
    ledger = Ledger(ledger_url)
    seen: SweepTable = wait_until(
        lambda: has_some(ledger, "read"), seconds=60, what="a part of the rows"
    )
    assert process.poll() is None
    process.kill()
    process.communicate()

    before = noisy_platform.stats()["requests"]
    left = partial_sweep("read", ledger)
    after = noisy_platform.stats()["requests"]
    assert {key for key in after if after[key] != before.get(key)} <= {"GET /_local/stats"}
    for table in (seen, left):
        assert 0 < table.done < table.total == _PROGRAM_CHUNKS
        assert [row.index for row in table.rows] == list(range(3 * table.done))
        states = [chunk.state for chunk in table.chunks]
        assert states == sorted(states, key=["done", "submitted", "waiting"].index)
        assert states.count("submitted") <= 2
        for row in table.rows:
            turns = 1 if row.circuit == "rx-1" else 2
            assert row.values["Z"] == pytest.approx(
                math.cos(turns * row.parameters["theta"]), abs=6 * row.standard_errors["Z"]
            )
    assert left.rows[: len(seen.rows)] == seen.rows

    process, _ = start(noisy_platform, ledger_url, "read")
    finish(process)
    assert noisy_platform.jobs_of(uid) == _PROGRAM_CHUNKS
    whole = partial_sweep("read", ledger)
    assert whole.model_dump() == {
        key: value
        for key, value in (
            _block(noisy_platform, ledger_url).experiment("read").report() or {}
        ).items()
        if key != "run"
    }
    assert whole.rows[: len(left.rows)] == left.rows


def has_some(ledger: Ledger, name: str) -> SweepTable | None:
    """Return what there is of a sweep, once it has begun to give rows."""
    try:
        table = partial_sweep(name, ledger)
    except InvalidInputError:
        return None
    return table if table.rows else None


@pytest.mark.rest
def test_so_many_jobs_are_in_flight(slow_block: QuantumSession, slow_platform: Platform) -> None:
    """While a chunk is waited for, ``jobs_ahead`` jobs of the sweep are at the platform."""
    jobs: list[int] = []
    experiment = slow_block.experiment("ahead")

    def count(number: int, _total: int, _replayed: bool) -> None:
        jobs.append(slow_platform.jobs_of(experiment.uid) - number + 1)

    with experiment:
        rabi_sweep(experiment, limits=ChunkLimits(max_points=3), jobs_ahead=3, on_chunk=count)
    assert jobs == [3, 3, 2, 1]


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4)])
def test_another_number_of_jobs_ahead_resumes(
    block: QuantumSession, platform: Platform, before: int, after: int
) -> None:
    """What was submitted ahead, collected or not, is found again and submitted once."""
    replays: list[bool] = []
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(block.experiment("e"), jobs_ahead=before, on_chunk=stop_after(2))
    with block.experiment("e") as experiment:
        report = rabi_sweep(
            experiment, jobs_ahead=after, on_chunk=lambda _, __, replayed: replays.append(replayed)
        )
    assert replays == [True, True, False, False, False, False]
    assert has_rabi_values(report)
    assert len(report.rows) == len(ANGLES)
    assert platform.jobs_of(experiment.uid) == 6


def test_other_limits_change_nothing_for_a_sweep_that_began(
    block: QuantumSession, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed sweep keeps the chunks with which it began, and says so."""
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(block.experiment("e"), on_chunk=stop_after(2))
    with caplog.at_level(logging.WARNING), block.experiment("e") as experiment:
        report = rabi_sweep(experiment, limits=ChunkLimits(max_points=5))
    assert "keeps the chunk limits" in caplog.text
    assert report.total == platform.jobs_of(experiment.uid) == 6


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"grid": {"theta": ANGLES[1:]}}, "grid"),
        ({"circuits": {"rx": rabi(2)}}, "circuits, observables"),
        ({"circuits": {"other": rabi()}}, "names of circuits"),
        ({"observables": {"Z": SparsePauliOp("Z", 2.0)}}, "circuits, observables"),
        ({"precision": 0.3}, "precision"),
        ({"repetitions": 2}, "repetitions"),
        (
            {"circuits": {"rx": rabi(measured=True)}, "observables": None},
            "kind, observables",
        ),
    ],
)
def test_another_sweep_under_the_same_name_is_refused(
    block: QuantumSession, platform: Platform, changes: dict[str, Any], what: str
) -> None:
    """P8: a sweep that is not the one that began stops before it buys anything."""
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(first := block.experiment("e"), on_chunk=stop_after(2))
    jobs = platform.jobs_of(first.uid)
    with pytest.raises(ExperimentDivergedError, match=rf"{what}.*fresh=True"):
        rabi_sweep(block.experiment("e"), **changes)
    assert platform.jobs_of(first.uid) == jobs
    first.cancel_session()


def test_a_lost_ledger_loses_no_job(
    block: QuantumSession, platform: Platform, tmp_path: Path
) -> None:
    """An empty ledger finds the sweep's jobs by their labels, and only the others are submitted."""
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(first := block.experiment("lost-sweep"), on_chunk=stop_after(3))
    empty = _block(platform, f"sqlite:///{tmp_path / 'empty.db'}")
    with empty.experiment("lost-sweep") as experiment:
        report = rabi_sweep(experiment)
    assert experiment.uid == first.uid
    assert platform.jobs_of(first.uid) == 6
    assert has_rabi_values(report)
    assert partial_sweep("lost-sweep", empty.ledger()).done == 6


def test_a_finished_sweep_returns_its_report(block: QuantumSession, platform: Platform) -> None:
    """Running a sealed experiment again returns the same report and asks the platform nothing."""
    with block.experiment("e") as experiment:
        first = rabi_sweep(experiment)
    before = requests(platform)
    with block.experiment("e") as experiment:
        assert rabi_sweep(experiment) == first
    partial = partial_sweep("e", block.ledger())
    assert (partial.rows, partial.chunks) == (first.rows, first.chunks)
    assert requests(platform) == before


def test_a_finished_experiment_that_was_no_sweep(block: QuantumSession) -> None:
    """Its report is not taken for that of a sweep."""
    with block.experiment("e") as experiment:
        experiment.seal({"energy": -1.0})
    with pytest.raises(InvalidInputError, match="not a sweep"):
        rabi_sweep(block.experiment("e"))
    with pytest.raises(InvalidInputError, match="not a sweep"):
        partial_sweep("e", block.ledger())


def test_a_failed_chunk_stops_the_sweep(
    block: QuantumSession, platform: Platform, faulty: local_platform.Admin
) -> None:
    """By default the run ends with the job's error; once the job is retried, it goes on there."""
    faulty.add_fault(kind="end_job", state="failed", reason="out of tune", reason_code=9999, nth=3)
    for _ in range(2):
        with pytest.raises(JobFailedError, match=r"out of tune.*submissions retry"):
            rabi_sweep(block.experiment("e"))
    partial = partial_sweep("e", block.ledger())
    assert (partial.done, partial.chunks[2].state) == (2, "submitted")
    jobs = platform.jobs_of(block.experiment("e").uid)
    operator = Operator(block.ledger())
    (failed,) = [one for one in operator.submissions("e") if one.label == partial.chunks[2].label]
    operator.retry("e", failed.submission)
    with block.experiment("e") as experiment:
        report = rabi_sweep(experiment)
    assert has_rabi_values(report)
    assert (report.done, jobs, platform.jobs_of(experiment.uid)) == (6, 4, 7)


def test_a_failed_chunk_may_be_skipped(
    block: QuantumSession, platform: Platform, faulty: local_platform.Admin
) -> None:
    """Its rows are left out, its record says why, and a resumed run comes to the same report."""
    faulty.add_fault(kind="end_job", state="failed", reason="out of tune", reason_code=9999, nth=3)
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(block.experiment("e"), on_failure="skip", on_chunk=stop_after(5))
    with block.experiment("e") as experiment:
        report = rabi_sweep(experiment, on_failure="skip")
    assert [chunk.state for chunk in report.chunks] == ["done"] * 2 + ["failed"] + ["done"] * 3
    failed = report.chunks[2]
    assert "out of tune" in str(failed.message)
    assert failed.job_id not in {None, *report.run.job_ids}
    assert [row.index for row in report.rows] == [0, 1, 2, 3, *range(6, 12)]
    assert {row.chunk for row in report.rows} == {1, 2, 4, 5, 6}
    assert has_rabi_values(report)
    assert platform.jobs_of(experiment.uid) == 6


def test_a_cancelled_chunk_stops_the_sweep(
    block: QuantumSession, faulty: local_platform.Admin
) -> None:
    """What somebody cancelled is not skipped: they may have meant the whole."""
    faulty.add_fault(kind="end_job", state="cancelled", reason="by the operator", nth=2)
    experiment = block.experiment("e")
    with pytest.raises(JobCancelledError, match="submissions retry"):
        rabi_sweep(experiment, on_failure="skip")
    experiment.cancel_session()


@pytest.mark.nightly
def test_ten_thousand_points(block: QuantumSession, platform: Platform) -> None:
    """They are done in ten jobs, and a run that was killed before the end replays them quickly."""
    grid = {"theta": np.linspace(0, 1, 100), "phi": np.linspace(0, 1, 100)}
    circuit = rabi()
    circuit.rz(Parameter("phi"), 0)
    arguments: dict[str, Any] = {
        "circuits": {"rx": circuit},
        "grid": grid,
        "limits": ChunkLimits(),
    }
    with pytest.raises(InterruptedByTestError):
        rabi_sweep(block.experiment("e"), on_chunk=stop_after(10), **arguments)
    replays: list[bool] = []
    with block.experiment("e") as experiment:
        report = rabi_sweep(
            experiment, on_chunk=lambda _, __, replayed: replays.append(replayed), **arguments
        )
    assert replays == [True] * 10
    assert platform.jobs_of(experiment.uid) == 10
    assert [row.index for row in report.rows] == list(range(10_000))
    assert has_rabi_values(report)
