"""Subflows and Blocks: each opens an experiment of its own, which every retry finds again."""

from __future__ import annotations

import contextvars
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from own_process import LEAF_JOBS, TREE_JOBS, leaf
from prefect import flow, get_client, task
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run as this_run
from prefect.states import AwaitingRetry, Cancelled, Crashed, Pending
from prefect_helpers import flipped, flow_process, flow_run, in_state, rotated
from pydantic import SecretStr
from qiskit import ClassicalRegister, QuantumCircuit
from support import BACKEND, Platform, tagged

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.crashpoints import CRASH_AT
from session_block.errors import (
    ExperimentDivergedError,
    ExperimentSealedError,
    InvalidInputError,
    LabelRequiredError,
)
from session_block.flows.qaoa import qaoa
from session_block.flows.sweep import sweep
from session_block.flows.vqe import vqe
from session_block.local_platform import Layout, LocalPlatform
from session_block.operations.flow_runs import cancel_experiments
from session_block.tasks import close_session, open_session, run_sampler

pytestmark = pytest.mark.usefixtures("quick_flows", "prefect_server")

CIRCUIT = """OPENQASM 3; include "stdgates.inc"; input float theta; bit[1] c; qubit[1] q;
ry(theta) q[0]; c[0] = measure q[0];"""


@pytest.fixture
def name() -> str:
    """A name that no other test uses: they share the platform, where names are looked up."""
    return f"t-{uuid4().hex[:8]}"


class _GivenUpError(Exception):
    """The failure of a test's flow."""


@flow
def child(block: str, turns: int, *, close: bool = False) -> tuple[str, float]:
    """Open the Block's session by a task, run one circuit, and maybe close it."""
    session = open_session(block)
    value = run_sampler(session, [_measured(turns)], shots=64)[0].data.c.get_counts().get("1", 0)
    if close:
        close_session(session)
    return session.uid, float(value)


def _measured(turns: int) -> QuantumCircuit:
    circuit = rotated(turns)
    circuit.add_register(ClassicalRegister(1, "c"))
    circuit.measure(0, 0)
    return circuit


def _different(block: str) -> list[Any]:
    return [child(block, 0), child(block, 1)]


def _equal(block: str) -> list[Any]:
    return [child(block, 0), child(block, 0)]


def _closing(block: str) -> list[Any]:
    return [child(block, 0, close=True), child(block, 1, close=True)]


def _parent_asks_too(block: str) -> list[Any]:
    session = open_session(block)
    run_sampler(session, [flipped()], shots=10)
    found = child(block, 1)
    run_sampler(session, [flipped()], shots=10)
    return [found]


def _nested(block: str) -> list[Any]:
    @flow
    def middle(turns: int) -> Any:
        return child(block, turns), child(block, 7)

    return [middle(1), middle(2)]


def _threads(block: str) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        calls = [
            pool.submit(contextvars.copy_context().run, child, block, turns) for turns in (1, 2, 2)
        ]
        return [call.result() for call in calls]


@pytest.mark.parametrize(
    ("body", "jobs"),
    [
        (_different, 2),
        *(
            pytest.param(*one, marks=pytest.mark.rest)
            for one in ((_equal, 2), (_closing, 2), (_parent_asks_too, 3), (_nested, 4))
        ),
        pytest.param(_threads, 3, marks=pytest.mark.rest),
    ],
)
def test_each_subflow_has_its_own_experiment(
    platform: Platform, saved_block: str, body: Callable[[str], list[Any]], jobs: int
) -> None:
    """Each buys its own jobs once, and a retry of the parent buys none."""
    answers: list[list[Any]] = []

    @flow(retries=1)
    def parent() -> str:
        answers.append(body(saved_block))
        if len(answers) == 1:
            raise _GivenUpError
        return str(this_run.id)

    root = parent()
    assert platform.jobs_named(root) == jobs
    first, again = answers
    assert sorted(map(str, first)) == sorted(map(str, again))
    if body is not _threads:
        assert first == again


@pytest.mark.rest
@pytest.mark.parametrize(
    "who", ["both", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("child", "parent"))]
)
def test_a_retry_of_either_buys_nothing(platform: Platform, saved_block: str, who: str) -> None:
    """A child's own retry, its parent's, or both."""
    failures = {"child": ["child"], "parent": ["parent"], "both": ["child", "parent"]}[who]
    seen: list[str] = []

    @flow(retries=1)
    def fragile(number: int) -> str:
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=10)
            experiment.run_sampler([flipped()], shots=10)
            seen.append(experiment.uid)
            if number == 1 and "child" in failures:
                failures.remove("child")
                raise _GivenUpError
            return experiment.uid

    @flow(retries=1)
    def parent() -> tuple[str, list[str]]:
        uids = [fragile(0), fragile(1), fragile(1)]
        if "parent" in failures:
            failures.remove("parent")
            raise _GivenUpError
        return str(this_run.id), uids

    root, uids = parent()
    assert platform.jobs_named(root) == 6
    assert len(set(uids)) == 3
    assert set(seen) == set(uids)


@pytest.mark.rest
def test_an_equal_call_takes_the_place_of_one_that_failed(
    platform: Platform, saved_block: str
) -> None:
    """A caller that tries again in its own loop goes on where the failed call stopped."""
    tries: list[str] = []

    @flow
    def fragile() -> str:
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=10)
            tries.append(experiment.uid)
            if len(tries) == 1:
                raise _GivenUpError
            experiment.run_sampler([flipped()], shots=11)
            return experiment.uid

    @flow
    def stubborn() -> str:
        try:
            fragile()
        except _GivenUpError:
            fragile()
        fragile()
        return str(this_run.id)

    root = stubborn()
    assert tries[0] == tries[1] != tries[2]
    assert platform.jobs_named(root) == 4


@pytest.mark.rest
def test_a_kept_result_counts_as_a_call(platform: Platform, saved_block: str) -> None:
    """Prefect does not run the first child again; the second, equal one still finds its own."""
    uids: list[str] = []
    failures = ["second", "parent"]

    @flow(persist_result=True)
    def kept() -> str:
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=10)
            uids.append(experiment.uid)
            if len(uids) == 2:
                raise _GivenUpError
            return experiment.uid

    @flow(retries=1)
    def parent() -> tuple[str, list[str]]:
        return str(this_run.id), [kept(), kept()]

    root, found = parent()
    assert failures
    assert uids == [found[0], found[1], found[1]]
    assert found[0] != found[1]
    assert platform.jobs_named(root) == 2


@pytest.mark.parametrize("key", [None, pytest.param("the child", marks=pytest.mark.rest)])
def test_a_retry_with_other_parameters_stops_before_it_buys(
    platform: Platform, saved_block: str, key: str | None
) -> None:
    """A parameter that differs in each attempt is named; a key takes its place."""
    attempts: list[str] = []

    @flow
    def in_folder(folder: str, shots: int) -> str:
        assert folder
        with load_block(saved_block).experiment(key=key) as experiment:
            experiment.run_sampler([flipped()], shots=shots)
            return experiment.uid

    @flow(retries=1)
    def parent() -> str:
        attempts.append(str(this_run.id))
        in_folder(f"/tmp/{len(attempts)}", 10)  # noqa: S108 - no file is made there
        if len(attempts) == 1:
            raise _GivenUpError
        return attempts[0]

    if key is None:
        with pytest.raises(ExperimentDivergedError, match=r"other values of folder, "):
            parent()
    else:
        parent()
    assert platform.jobs_named(attempts[0]) == 1


@pytest.mark.rest
def test_keys_tell_experiments_of_the_outermost_flow_apart(saved_block: str) -> None:
    """Each key is an experiment, and none is another one."""

    @flow
    def several() -> list[str]:
        block = load_block(saved_block)
        return [block.experiment(key=key).uid for key in ("a", "b", None, "a")]

    for wrong in ({"name": "n", "key": "a"}, {"key": 1}):
        with pytest.raises(InvalidInputError, match="a key is text, for an experiment without"):
            load_block(saved_block).experiment(**wrong)  # type: ignore[arg-type]
    first, second, third, again = several()
    assert first == again
    assert len({first, second, third}) == 3


@pytest.mark.rest
def test_equal_calls_that_open_under_keys_share_nothing(
    platform: Platform, saved_block: str
) -> None:
    """A child opens three experiments, and is called twice and retried."""
    attempts: list[list[str]] = []

    @flow
    def several() -> list[str]:
        uids = []
        for key in (None, "a", "b"):
            with load_block(saved_block).experiment(key=key) as experiment:
                experiment.run_sampler([flipped()], shots=10)
                uids.append(experiment.uid)
        return uids

    @flow(retries=1)
    def parent() -> str:
        attempts.append(several() + several())
        if len(attempts) == 1:
            raise _GivenUpError
        return str(this_run.id)

    assert platform.jobs_named(parent()) == 6
    assert attempts[0] == attempts[1]
    assert len(set(attempts[0])) == 6


@pytest.mark.rest
def test_a_place_that_cannot_be_counted_asks_for_a_name(saved_block: str, name: str) -> None:
    """A subflow that a task calls, and a thread unknown to Prefect."""
    found: list[Exception] = []

    @flow
    def inner(experiment: str | None) -> str:
        return load_block(saved_block).experiment(experiment).uid

    @task
    def calls(experiment: str | None) -> str:
        return inner(experiment)

    @flow
    def parent() -> str:
        with pytest.raises(LabelRequiredError, match="was called by a task"):
            calls(None)

        block = load_block(saved_block)  # the thread would start a Prefect server of its own

        def in_thread() -> None:
            try:
                block.experiment()
            except LabelRequiredError as error:
                found.append(error)

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        return calls(name)

    assert parent()
    assert "copy_context" in str(found[0])


TERMS = [[("ZZ", 1.0), ("XI", 0.1)], [("ZZ", 5.0), ("XI", 0.2)], [("ZZ", -9.0), ("XI", 0.2)]]
GROUND = [-1.005, -5.004, -9.002]


@pytest.mark.nightly
def test_the_shipped_flows_as_subflows_answer_their_own_problem(saved_block: str) -> None:
    """Three Hamiltonians give three energies, two grids two tables, and VQE and QAOA mix."""

    @flow
    def scan() -> list[float]:
        return [
            vqe(saved_block, hamiltonian=one, optimizer_options={"maxiter": 30}, seed=1).energy
            for one in TERMS
        ]

    @flow
    def tables() -> list[list[dict[str, float]]]:
        circuits = [{"name": "a", "circuit": CIRCUIT}]
        grids = [[0.0, 0.1], [2.0, 3.0, 3.1]]
        return [
            [
                row.parameters
                for row in sweep(
                    saved_block,
                    circuits=circuits,
                    grid={"axes": [{"name": "theta", "values": values}]},
                    shots=20,
                ).rows
            ]
            for values in grids
        ]

    @flow
    def mixed() -> tuple[str, str]:
        one = vqe(saved_block, hamiltonian=TERMS[0], optimizer_options={"maxiter": 8})
        other = qaoa(saved_block, problem={"edges": [[0, 1]]}, optimizer_options={"maxiter": 8})
        return one.optimizer, other.best_bitstring

    assert scan() == pytest.approx(GROUND, abs=0.1)
    assert [len(table) for table in tables()] == [2, 3]
    assert mixed()[0] == "COBYLA"


@pytest.mark.rest
def test_a_name_that_is_used_for_another_problem_is_refused(
    platform: Platform, saved_block: str, name: str
) -> None:
    """Also when its experiment is finished; the message names what differs."""
    once = {"optimizer_options": {"maxiter": 8}, "experiment": f"{name}-vqe"}
    vqe(saved_block, hamiltonian=TERMS[0], **once)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"another problem: hamiltonian differs\."):
        vqe(saved_block, hamiltonian=TERMS[1], **once)  # type: ignore[arg-type]
    swept: dict[str, Any] = {
        "circuits": [{"name": "a", "circuit": CIRCUIT}],
        "shots": 20,
        "experiment": f"{name}-sweep",
    }
    sweep(saved_block, grid={"axes": [{"name": "theta", "values": [0.0]}]}, **swept)
    with pytest.raises(ExperimentDivergedError, match="began as a sweep with another value"):
        sweep(saved_block, grid={"axes": [{"name": "theta", "values": [1.0]}]}, **swept)
    assert platform.jobs_named(f"{name}-sweep") == 1


def test_a_users_own_problem_is_kept(block: QuantumSession, name: str) -> None:
    """NumPy values count as numbers; another problem under the name is refused before it buys."""
    import numpy as np

    block.experiment(name, problem={"J": np.float64(1.5), "sites": [1, 2]})
    block.experiment(name, problem={"J": 1.5, "sites": (1, 2)})
    with pytest.raises(InvalidInputError, match=r"another problem: J differs\. Nothing was"):
        block.experiment(name, problem={"J": 2.5, "sites": [1, 2]})
    with pytest.raises(InvalidInputError, match="is no JSON value"):
        block.experiment(name, problem={"J": object()})


ACCOUNTS = {
    "accounts": [
        {
            "instances": [
                {"name": "mine", "plan": "premium", "backends": [BACKEND, "ibm_fez"]},
                {"name": "too", "backends": [BACKEND]},
            ]
        },
        {"instances": [{"name": "theirs", "backends": [BACKEND]}]},
    ]
}


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A platform with two accounts, one of which has two instances."""
    directory = tmp_path_factory.mktemp("accounts") / "platform"
    with LocalPlatform(directory, layout=Layout.model_validate(ACCOUNTS)) as own:
        yield own


@pytest.mark.rest
def test_two_unsaved_blocks_with_other_keys_ask_for_names(
    accounts: LocalPlatform, ledger_url: str
) -> None:
    """Nothing but the key tells them apart, and it may be replaced; named, both are opened."""
    block, other = (
        QuantumSession(
            credentials=IBMSessionCredentials(
                token=account.token,  # type: ignore[arg-type]
                url=accounts.info.url,
            ),
            backend_name=BACKEND,
            ledger_url=ledger_url,  # type: ignore[arg-type]
        )
        for account in accounts.accounts
    )

    @flow
    def both() -> None:
        assert block.experiment() is block.experiment()
        with pytest.raises(LabelRequiredError, match="differ only in their API keys"):
            other.experiment()
        assert other.experiment("other").uid != block.experiment().uid

    both()


@pytest.mark.rest
@pytest.mark.parametrize("saved", [True, pytest.param(False, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "other",
    [
        {"account": 1, "instance": "theirs"},
        pytest.param({"instance": "too"}, marks=pytest.mark.nightly),
        pytest.param({"mode": "batch"}, marks=pytest.mark.nightly),
        pytest.param({"max_time": "20m"}, marks=pytest.mark.nightly),
        {"backend_name": "ibm_fez"},
    ],
    ids="-".join,
)
def test_two_blocks_in_one_flow_have_two_experiments_and_sessions(
    accounts: LocalPlatform, ledger_url: str, other: dict[str, Any], *, saved: bool
) -> None:
    """Whatever differs between the Blocks, each one's jobs go into its own session."""

    def made(account: int = 0, instance: str = "mine", **fields: Any) -> QuantumSession:
        credentials = IBMSessionCredentials(
            token=accounts.accounts[account].token,  # type: ignore[arg-type]
            url=accounts.info.url,
            instance=instance,
        )
        plan = {"backend_name": BACKEND, "max_time": "10m", **fields}
        return QuantumSession(credentials=credentials, ledger_url=ledger_url, **plan)

    blocks = [made(), made(**other)]
    if saved:
        for number, one in enumerate(blocks):
            one.save(f"t-two-blocks-{number}", overwrite=True)
    attempts: list[list[str]] = []

    @flow(retries=1)
    def both() -> list[tuple[str, str | None]]:
        found = []
        opened = [one.experiment() for one in blocks]
        for experiment in opened:
            experiment.run_sampler([flipped()], shots=10)
            found.append((experiment.uid, experiment.session_id))
        attempts.append([uid for uid, _ in found])
        if len(attempts) == 1:
            raise _GivenUpError
        for experiment in opened:
            experiment.finish()
        return found

    found = both()
    assert attempts[0] == attempts[1]
    assert len({uid for uid, _ in found}) == len({session for _, session in found}) == 2
    jobs = [job for job in accounts.jobs() if job["session_id"] in dict(map(reversed, found))]
    assert len(jobs) == 2
    if "instance" in other:
        assert {job["instance"] for job in jobs} == {"mine", other["instance"]}


@pytest.mark.rest
def test_a_block_with_saved_credentials_counts_by_its_name(
    platform: Platform, block: QuantumSession
) -> None:
    """As the pages save it: its time may be edited, and a second Block is another one."""
    names = [f"t-saved-{letter}-{uuid4().hex[:6]}" for letter in "ab"]
    platform.credentials().save("t-saved-credentials", overwrite=True)
    credentials = LocalPlatformCredentials.load("t-saved-credentials")
    for number, one in enumerate(names):
        made = block.model_copy(update={"credentials": credentials, "max_jobs": number + 1})
        made.save(one, overwrite=True)
    attempts: list[str] = []

    @flow(retries=1)
    def edited() -> list[str]:
        attempts.append(str(this_run.id))
        uids = []
        for one in names:
            experiment = load_block(one).experiment()
            experiment.run_sampler([flipped()], shots=10)
            uids.append(experiment.uid)
        if len(attempts) == 1:
            loaded = load_block(names[0])
            loaded.max_time = "2h"
            loaded.save(names[0], overwrite=True)
            raise _GivenUpError
        for one in names:
            load_block(one).experiment().finish()
        return uids

    assert len(set(edited())) == 2
    assert platform.jobs_named(attempts[0]) == 2


@pytest.mark.rest
def test_what_decides_about_circuits_tells_blocks_apart(
    block: QuantumSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Other limits do not: the experiment keeps the first Block's, and says so."""

    @flow
    def several() -> None:
        first = block.experiment()
        for field, value in {"use_fractional_gates": True, "min_num_qubits": 3}.items():
            other = block.model_copy(update={field: value})
            assert other.experiment().uid != first.uid
        assert "other settings" not in caplog.text
        assert block.model_copy(update={"max_jobs": 3}).experiment() is first
        assert "is open with other settings of its Block" in caplog.text

    with caplog.at_level("WARNING"):
        several()


@pytest.mark.rest
def test_the_advice_for_an_experiment_without_a_name_works(
    platform: Platform, saved_block: str
) -> None:
    """``fresh=True`` is for names; the message of a finished experiment says what helps here."""

    @flow
    def twice() -> str:
        for shots in (10, 11):
            with load_block(saved_block).experiment() as experiment:
                if not experiment.sealed:
                    experiment.run_sampler([flipped()], shots=shots)
                    continue
                with pytest.raises(ExperimentSealedError, match=r"or with experiment\(key="):
                    experiment.run_sampler([flipped()], shots=shots)
                with load_block(saved_block).experiment(key="second") as another:
                    another.run_sampler([flipped()], shots=shots)
        return str(this_run.id)

    assert platform.jobs_named(twice()) == 2


@pytest.mark.rest
def test_a_saved_block_may_be_edited_between_attempts(platform: Platform, saved_block: str) -> None:
    """Limits and times apply at once; another mode is refused, and both are named."""
    attempts: list[str] = []

    @flow(retries=2)
    def edited() -> str:
        attempts.append(str(this_run.id))
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=10)
            if len(attempts) < 3:
                loaded = load_block(saved_block)
                change = (
                    {"max_jobs": 5, "max_time": "30m"} if len(attempts) == 1 else {"mode": "batch"}
                )
                for field, value in change.items():
                    setattr(loaded, field, value)
                loaded.save(saved_block, overwrite=True)
                raise _GivenUpError
            return experiment.uid

    with pytest.raises(InvalidInputError, match="began in mode session, but the Block says batch"):
        edited()
    assert platform.jobs_named(attempts[0]) == 1


@pytest.mark.rest
def test_a_cancelled_run_closes_the_sessions_of_all_its_blocks(
    slow_platform: Platform, slow_block: QuantumSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Also in a subflow; a Block that was changed since keeps no other session open."""
    names = [f"t-cancelled-{number}-{uuid4().hex[:6]}" for number in range(3)]
    backends = [BACKEND, "ibm_nairobi", "ibm_fez"]
    for one, backend, mode in zip(names, backends, ["batch", "session", "batch"], strict=True):
        other = slow_block.model_copy(update={"backend_name": backend, "mode": mode})
        other.save(one, overwrite=True)

    @flow
    def inner(block: str) -> None:
        load_block(block).experiment().submit_sampler([flipped()], shots=10)
        raise _GivenUpError

    runs: list[str] = []

    @flow
    def several(block: str) -> None:
        runs.append(str(this_run.id))
        for one in (names[1], block):
            load_block(one).experiment().submit_sampler([flipped()], shots=10)
        with suppress(_GivenUpError):
            inner(names[2])
        raise _GivenUpError  # it keeps its sessions, as a killed run does

    with pytest.raises(_GivenUpError):
        several(names[0])
    (run_id,) = runs
    changed = load_block(names[1])
    changed.mode = "batch"
    changed.save(names[1], overwrite=True)
    state = Cancelled()
    with pytest.raises(InvalidInputError, match="began in mode session"):
        cancel_experiments(several, flow_run(UUID(run_id)), state)
    assert "was not cancelled, so its session may go on billing" in caplog.text

    def states() -> list[str]:
        jobs = [job for job in slow_platform.admin.jobs() if tagged(job, run_id)]
        found = {one["id"]: one for one in slow_platform.admin.sessions()}
        sessions = [found[job["session_id"]] for job in jobs]
        return [
            one["state"] for backend in backends for one in sessions if one["backend"] == backend
        ]

    first, second, third = states()
    assert (first, third) == ("closed", "closed")
    assert second != "closed"
    changed.mode = "session"
    changed.save(names[1], overwrite=True)
    cancel_experiments(several, flow_run(UUID(run_id)), state)
    assert states() == ["closed"] * 3


# Of the tree's 23 jobs: in the first leaf, in the second of two equal ones, and further down.
KILLS = ["record intent, after:3", "submit, after:6", "record outcome, after:16"]


@pytest.mark.rest
@pytest.mark.parametrize(
    "at", [KILLS[0], *(pytest.param(one, marks=pytest.mark.nightly) for one in KILLS[1:])]
)
def test_a_killed_tree_of_subflows_goes_on_in_another_process(
    platform: Platform, saved_block: str, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Killed and run again until it ends, it has bought each job once, in as many sessions."""
    monkeypatch.setenv(CRASH_AT, at)
    with flow_process("tree", saved_block) as (first, run_id):
        assert first.wait(120) == -signal.SIGKILL
    before = platform.jobs_named(run_id)
    assert before < TREE_JOBS
    monkeypatch.delenv(CRASH_AT)
    with flow_process("tree", saved_block, run_id) as (second, _):
        assert second.wait(120) == 0
    assert platform.jobs_named(run_id) == TREE_JOBS
    assert in_state(UUID(run_id), "Completed")()
    jobs = [job for job in platform.admin.jobs() if str(job["tags"]).find(run_id) >= 0]
    uids = {tag for job in jobs for tag in job["tags"] if tag.startswith("qs-uid:")}
    assert len(uids) == 8
    assert {job["state"] for job in jobs} == {"completed"}


@pytest.mark.rest
def test_a_kept_call_keeps_its_place_after_a_lost_ledger(
    platform: Platform, block: QuantumSession, saved_block: str, tmp_path: Path
) -> None:
    """Prefect knows which equal calls came before, although the ledger does not."""
    found: list[list[str]] = []

    @flow(persist_result=True)
    def kept(turns: int) -> str:
        with load_block(saved_block).experiment() as experiment:
            experiment.run_sampler([flipped()], shots=turns)
            return experiment.uid

    @flow(retries=1)
    def parent() -> str:
        found.append([kept(1), kept(2), kept(1)])
        if len(found) == 1:
            elsewhere = SecretStr(f"sqlite:///{tmp_path / 'elsewhere.db'}")
            block.model_copy(update={"ledger_url": elsewhere}).save(saved_block, overwrite=True)
            raise _GivenUpError
        found.append([leaf(saved_block, 0), kept(1), kept(2)])
        return str(this_run.id)

    root = parent()
    assert found[0] == found[1]
    assert len({*found[1], *found[2]}) == 6
    assert platform.jobs_named(root) == 5 + LEAF_JOBS


def test_a_run_that_prefect_begins_twice_mixes_up_no_calls(
    platform: Platform, saved_block: str
) -> None:
    """Its process sleeps and counts as crashed; then it goes on beside the one of the retry."""

    def told(process: subprocess.Popen[bytes], line: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        return process.stdout.readline().decode().strip()

    with flow_process("stopping", saved_block) as (sleeper, run_id):
        assert told(sleeper, "2") == "waits"
        with get_client(sync_client=True) as client:
            for state in (Crashed(), AwaitingRetry(), Pending()):
                client.set_flow_run_state(UUID(run_id), state, force=True)
        with flow_process("stopping", saved_block, run_id) as (other, _):
            assert told(other, "1") == "waits"
            uids = told(sleeper, "go on").split()
            assert len(set(uids)) == 3
            assert told(other, "go on").split() == uids
    assert platform.jobs_named(run_id) == 3 * LEAF_JOBS


@pytest.mark.nightly
@pytest.mark.parametrize("as_subflow", [True, False])
def test_runs_of_a_deployment_find_their_own(
    platform: Platform, saved_block: str, *, as_subflow: bool
) -> None:
    """In a process of its own each; a parent's retry makes other runs, which buy nothing more."""
    with get_client(sync_client=True) as client:
        client.create_deployment(flow_id=client.create_flow(leaf), name="subflows")
    attempts: list[list[str]] = []

    def run_leaf(turns: int) -> str:
        called = run_deployment(
            "leaf/subflows",
            parameters={"block": saved_block, "turns": turns},
            timeout=0,
            as_subflow=as_subflow,
        )
        assert isinstance(called, FlowRun)
        with flow_process("leaf", saved_block, str(called.id)) as (process, _):
            assert process.wait(60) == 0
        return str(called.id)

    @flow(retries=1)
    def parent() -> str:
        attempts.append([run_leaf(turns) for turns in (1, 1, 2)])
        if len(attempts) == 1 and as_subflow:
            raise _GivenUpError
        return str(this_run.id)

    root = parent()
    if as_subflow:
        assert platform.jobs_named(root) == 3 * LEAF_JOBS
        assert not set(attempts[0]) & set(attempts[1])
    else:
        assert platform.jobs_named(root) == 0
        assert [platform.jobs_named(one) for one in attempts[0]] == [LEAF_JOBS] * 3
