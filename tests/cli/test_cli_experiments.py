"""``session-block experiments``, as a user types it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import Result
from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Crashed, Failed, Running, State
from prefect_helpers import api_environment, flow_run
from qiskit import qpy
from qiskit_ibm_runtime import RuntimeDecoder
from session_support import bare, jobs_at, measured, run, sessions_at, submit
from support import Platform, wait_until
from typer.testing import CliRunner

from session_block import QuantumSession
from session_block.cli import app
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import Ledger
from session_block.records.identity import identify
from session_block.records.places import RunPlace

pytestmark = pytest.mark.rest


def _run(*arguments: str, code: int = 0, stdin: str = "") -> Result:
    ran = CliRunner().invoke(app, ["experiments", *arguments], env={"COLUMNS": "200"}, input=stdin)
    assert ran.exit_code == code, ran.output
    return ran


def _json(*arguments: str) -> Any:
    ran = _run(*arguments, "--json")
    assert ran.stderr == ""
    return json.loads(ran.stdout)


def _broken_off(experiment: Experiment, work: Callable[[Experiment], object]) -> Experiment:
    """Let an attempt at an experiment fail after some work."""
    with suppress(ZeroDivisionError), experiment:
        work(experiment)
        raise ZeroDivisionError
    return experiment


@flow
def _a_flow() -> None:
    """Do nothing; only the deployment and the runs matter."""


def _flow_run_in(state: State[Any] | None, *, deployed: bool = True) -> FlowRun:
    """Make a flow run at the server, in some state."""
    with get_client(sync_client=True) as client:
        if not deployed:
            return client.create_flow_run(_a_flow, state=state)
        deployment = client.create_deployment(client.create_flow(_a_flow), name="of-the-test")
        made = client.create_flow_run_from_deployment(deployment)
        if state is not None:
            client.set_flow_run_state(made.id, state, force=True)
        return client.read_flow_run(made.id)


@pytest.mark.parametrize("name", ["[/]", "[bold]x[/bold]", ":smile:", "[link=x]", "a\\[/b]"])
def test_a_name_is_no_markup(name: str, tmp_path: Path) -> None:
    """One such name neither breaks the list for everybody nor is shown otherwise."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    identify(Ledger(url), name)
    assert name in _run("list", "--ledger-url", url).stdout
    assert name in _run("show", name, "--ledger-url", url).stdout


def test_experiments_are_listed_from_the_ledger_alone(
    platform: Platform, block: QuantumSession, ledger_url: str
) -> None:
    """Each has its state, jobs, results, session and times; the platform is not asked."""
    with block.experiment("done") as done:
        run(done, 1)
        run(done, 2)
    broken = _broken_off(block.experiment("broken"), lambda one: submit(one, 1))
    going = block.experiment("going on")
    stopped = block.experiment("stopped")
    stopped.open_session()
    stopped.cancel_session()
    before = platform.stats()["requests"]
    rows = {row["experiment"]: row for row in _json("list", "--ledger-url", ledger_url)}
    shown = _run("list", "--ledger-url", ledger_url).stdout
    asked = {*platform.stats()["requests"].items()} - {*before.items()}
    assert [route for route, _ in asked] == ["GET /_local/stats"]
    assert {name: row["state"] for name, row in rows.items()} == {
        "done": "finished",
        "broken": "failed",
        "going on": "unfinished",
        "stopped": "cancelled",
    }
    assert (rows["done"]["jobs"], rows["done"]["results"]) == (2, 2)
    assert (rows["broken"]["jobs"], rows["broken"]["results"]) == (1, 0)
    assert (rows["done"]["uid"], rows["done"]["session_id"]) == (done.uid, done.session_id)
    assert rows["done"]["started_at"] < rows["done"]["last_activity_at"]
    assert rows["going on"]["session_id"] is None
    assert done.uid[:8] in shown
    assert going.uid[:8] in shown
    assert _json("show", going.uid[:8], "--ledger-url", ledger_url)["uid"] == going.uid
    broken.cancel_session()


def test_each_is_one_line_of_a_terminal(tmp_path: Path) -> None:
    """Of 80 columns, however long the name is; what is needed to type it back is whole."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    uids = [identify(Ledger(url), "a long name " * 5 + str(one)).uid for one in range(3)]
    for command in ("experiments list", "submissions list", "sessions list", "usage"):
        said = in_terminal([sys.executable, "-m", "session_block", *command.split()], url)
        assert {len(line) <= 80 for line in said} == {True}, said
        if command == "experiments list":
            assert [line.split("  ")[1] for line in said[1:]] == [uid[:8] for uid in uids]


def in_terminal(command: list[str], ledger_url: str) -> list[str]:
    """Run a command in a terminal of 80 columns; return its lines, without colours."""
    typed = f"stty cols 80; SESSION_BLOCK_LEDGER_URL={ledger_url} {shlex.join(command)}"
    ran = subprocess.run(
        ["script", "-qec", typed, "/dev/null"], capture_output=True, text=True, check=True
    )
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout).splitlines()]


@pytest.mark.parametrize("command", ["experiments list", "submissions list", "sessions list"])
def test_what_reads_the_ledger_alone_imports_little(command: str, tmp_path: Path) -> None:
    """Neither Prefect nor Qiskit, which take most of the time."""
    code = (
        "import sys; from session_block.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "print(sorted({'prefect', 'qiskit', 'qiskit_ibm_runtime', 'numpy'} & {*sys.modules}))"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_beginning_of_a_uid_is_enough_if_it_is_long_enough(tmp_path: Path) -> None:
    """A name that is not there is no short beginning."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    uid = identify(Ledger(url), "mine").uid
    where = ("--ledger-url", url)
    assert _json("show", uid[:8], *where)["uid"] == uid
    assert "has no experiment" in _run("show", uid[:7], *where, code=1).stderr


def test_an_empty_ledger_lists_none(tmp_path: Path) -> None:
    """An empty list is an answer too, also as JSON."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    assert "No experiments." in _run("list", "--ledger-url", url).stdout
    assert _json("list", "--ledger-url", url) == []


def test_everything_about_one_is_shown(block: QuantumSession, ledger_url: str) -> None:
    """Sessions, submissions, attempts, budget, usage, flow runs and report of one experiment."""
    limited = block.model_copy(update={"max_jobs": 5})
    _broken_off(limited.experiment("shown"), lambda one: run(one, 1))
    with limited.experiment("shown") as second:
        run(second, 1)
        run(second, 2)
        second.report({"energy": -1.137, "best": 1.5})
    about = _json("show", "shown", "--ledger-url", ledger_url)
    assert about == _json("show", second.uid, "--ledger-url", ledger_url)
    assert (about["state"], about["jobs"], about["results"]) == ("finished", 2, 2)
    assert [one["session_id"] for one in about["sessions"]] == [second.session_id]
    assert [one["job_id"] for one in about["submissions"]] == second.job_ids
    assert [one["results_before"] for one in about["attempts"]] == [0, 1]
    assert [one["failed_at"] is None for one in about["attempts"]] == [False, True]
    assert about["budget"] == {"jobs_counted": 2, "refused": 0}
    assert about["report"]["best"] == 1.5
    assert about["flow_runs"] == []
    assert set(about["usage"]["sessions"]) == {second.session_id}
    shown = _run("show", "shown", "--ledger-url", ledger_url).stdout
    for told in (second.uid, *second.job_ids, "Attempts"):
        assert told in shown
    assert shown.count(str(second.session_id)) >= 2  # at a glance, and in its own row
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[:3] == ["shown: finished", "", "best -1.137000"]
    assert "report's best 1.5" in lines  # a name that the page uses, too
    assert "usage unknown (session-block usage --block NAME asks)" in lines
    refused = _run("show", "nobody", "--ledger-url", ledger_url, code=1).stderr
    assert "has no experiment 'nobody'" in refused


def test_two_experiments_are_compared_request_by_request(
    block: QuantumSession, ledger_url: str
) -> None:
    """Shows equal, different and missing requests, and how far values differ."""
    with block.experiment("one") as one:
        one.run_estimator([(bare(1), "Z")])
        run(one, 3)
        one.run_sampler([measured(4)], shots=8, label="mine")
    with block.experiment("other") as other:
        other.run_estimator([(bare(1), "Z")])
        run(other, 5)
    told = _json("compare", "one", "other", "--ledger-url", ledger_url)
    assert [pair["same_request"] for pair in told["submissions"]] == [True, False, False]
    assert (told["same_requests"], told["first_different_request"]) == (1, 2)
    first, _, last = told["submissions"]
    assert first["same_result"] == (first["largest_difference"] == 0)
    assert first["left"]["fingerprint"] == first["right"]["fingerprint"]
    assert (first["left"]["job_id"], first["right"]["job_id"]) == (one.job_ids[0], other.job_ids[0])
    assert (last["left"]["label"], last["right"], last["same_result"]) == ("mine", None, None)
    assert [side["jobs"] for side in told["experiments"]] == [3, 2]
    assert [side["usage_seconds"] for side in told["experiments"]] == [None, None]
    shown = _run("compare", "one", "other", "--ledger-url", ledger_url).stdout
    assert "Their requests first differ at submission 2." in shown
    itself = _json("compare", "one", one.uid, "--ledger-url", ledger_url)
    assert (itself["same_results"], itself["different_results"]) == (3, 0)
    assert itself["first_different_request"] is None


def test_what_two_experiments_found_is_compared(block: QuantumSession, ledger_url: str) -> None:
    """Best and exact value, parameters and counts; what is unknown is said to be, and no zero."""
    reports = {
        "found": {"energy": -1.5, "exact": -1.6, "parameters": [0.25, 3.0], "reference": -1.4},
        "sampled": {"value": 2, "counts": {"00": 510, "11": 514}},
    }
    for name, report in reports.items():
        with block.experiment(name) as experiment:
            run(experiment, 1)
            experiment.report(report)
    told = _json("compare", "found", "sampled", "--ledger-url", ledger_url)
    first, second = told["experiments"]
    assert (first["best"], first["exact"], first["reference"]) == (-1.5, -1.6, -1.4)
    assert (first["parameters"], first["counts"]) == ({"parameters": [0.25, 3.0]}, None)
    assert (second["best"], second["exact"], second["reference"]) == (2, None, None)
    assert list(second["counts"].items()) == [("11", 514), ("00", 510)]
    assert (first["usage_seconds"], first["usage_complete"]) == (None, False)
    shown = _run("compare", "found", "sampled", "--ledger-url", ledger_url).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "best -1.5 2" in lines
    assert "exact -1.6" in lines
    assert "parameters parameters: 0.25, 3" in lines
    assert "counts 11: 514, 00: 510" in lines
    assert "usage unknown unknown" in lines


def test_an_export_holds_all_facts_and_readable_results(
    platform: Platform, block: QuantumSession, ledger_url: str, tmp_path: Path
) -> None:
    """Values are plain, results come back as Qiskit's own, circuits as QPY; nothing is secret."""
    with block.experiment("exported") as experiment:
        pinned = experiment.transpile(measured(1))
        counts = run(experiment, 7)
        value = experiment.run_estimator([(bare(1), "Z")])[0].data.evs
        experiment.once("x0", lambda: [0.25])
    printed = json.loads(_run("export", "exported", "--ledger-url", ledger_url).stdout)
    assert (printed["format"], printed["format_version"]) == ("session-block-experiment", 1)
    assert printed["experiment"] == _json("show", "exported", "--ledger-url", ledger_url)
    facts = block.ledger().facts(experiment.uid)
    assert [fact["key"] for fact in printed["facts"]] == [fact.key for fact in facts]
    assert [fact["body"] for fact in printed["facts"]] == [dict(fact.body) for fact in facts]
    sampled, estimated = printed["results"]
    assert sampled["values"] == [{"meas": {"num_shots": 8, "counts": counts}}]
    assert estimated["values"][0]["evs"] == float(value)
    assert [sampled["job_id"], estimated["job_id"]] == experiment.job_ids

    file = tmp_path / "exported.json"
    told = _json("export", "exported", "--ledger-url", ledger_url, "-o", str(file))
    assert told == {"file": str(file), "facts": len(facts), "results": 2}
    assert json.loads(file.read_text()) == printed
    assert platform.info.token not in file.read_text()
    read = json.loads(file.read_text(), cls=RuntimeDecoder)["results"]
    assert read[0]["result"][0].data.meas.get_counts() == counts
    assert float(read[1]["result"][0].data.evs) == float(value)
    [circuit] = [fact["payload"] for fact in printed["facts"] if fact["payload"]]
    assert qpy.load(io.BytesIO(base64.b64decode(circuit)))[0] == pinned

    refused = _run("export", "exported", "--ledger-url", ledger_url, "-o", str(file), code=1)
    assert "--overwrite" in refused.stderr
    file.write_text("old")
    _run("export", "exported", "--ledger-url", ledger_url, "-o", str(file), "--overwrite")
    assert json.loads(file.read_text()) == printed
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".exp")] == []
    nowhere = str(tmp_path / "nowhere" / "file.json")
    refused = _run("export", "exported", "--ledger-url", ledger_url, "-o", nowhere, code=1)
    assert "cannot be written" in refused.stderr


def test_an_experiment_is_cancelled_when_its_user_confirms(
    slow_platform: Platform, prefect_server: str, slow_block: QuantumSession, ledger_url: str
) -> None:
    """Its pending jobs are cancelled and its session closed, after a question or with --yes."""
    assert prefect_server
    slow_block.save("t-cancelled", overwrite=True)
    experiment = slow_block.experiment("cancelled")
    submit(experiment, *range(1, 13))  # each command takes its time
    arguments = ("cancel", "cancelled", "--block", "t-cancelled")
    assert "Nothing was done." in _run(*arguments, code=1, stdin="n\n").stderr
    assert "--yes" in _run(*arguments, code=1).stderr
    states = [job["state"] for job in jobs_at(slow_platform.info, experiment)]
    assert "Cancelled" not in states
    told = _json(*arguments, "--yes")
    assert told == {"experiment": "cancelled", "uid": experiment.uid, "cancelled": True}
    states = [job["state"].casefold() for job in jobs_at(slow_platform.info, experiment)]
    assert states.count("cancelled") >= 1
    wait_until(
        lambda: sessions_at(slow_platform.info, experiment)[0]["state"] == "closed",
        seconds=10,
        what="the job that runs is done, and the session closed",
    )
    rows = _json("list", "--ledger-url", ledger_url)
    assert [row["state"] for row in rows if row["experiment"] == "cancelled"] == ["cancelled"]


def test_a_finished_experiment_is_not_cancelled(saved_block: str, block: QuantumSession) -> None:
    """There is nothing to cancel, and the command says so."""
    with block.experiment("finished") as experiment:
        run(experiment, 1)
    shown = _run("cancel", "finished", "--block", saved_block, stdin="y\n").stdout
    assert "was already finished" in shown
    assert experiment.sealed


@pytest.mark.parametrize("state", [Failed(), Crashed()])
def test_an_ended_flow_run_is_scheduled_again(
    prefect_server: str, ledger_url: str, state: State[Any]
) -> None:
    """The latest flow run that opened the experiment waits for a worker again."""
    assert prefect_server
    ledger = Ledger(ledger_url)
    earlier, latest = _flow_run_in(Failed()), _flow_run_in(state)
    for one in (earlier, latest):
        identify(ledger, "retried", place=RunPlace(str(one.id)))
    told = _json("retry", "retried", "--ledger-url", ledger_url)
    assert told == {"flow_run_id": str(latest.id), "name": latest.name, "was": state.name}
    now = flow_run(latest.id).state
    assert now is not None
    assert (now.type.value, now.name) == ("SCHEDULED", "AwaitingRetry")
    untouched = flow_run(earlier.id).state
    assert untouched is not None
    assert untouched.is_failed()
    again = _run("retry", "retried", "--ledger-url", ledger_url, code=1).stderr
    assert "only a run that has ended can be retried" in again


def test_a_flow_run_that_cannot_be_retried_is_left_alone(
    prefect_server: str, ledger_url: str
) -> None:
    """Refused with the reason: running, completed, deleted, not deployed, or no run at all."""
    assert prefect_server
    ledger = Ledger(ledger_url)
    refused = {
        "is Running": _flow_run_in(Running()).id,
        "is completed": _flow_run_in(Completed()).id,
        "--entrypoint": _flow_run_in(Failed(), deployed=False).id,
        "unknown to the Prefect server": UUID(int=7),
    }
    for reason, run_id in refused.items():
        name = f"because {reason}"
        identify(ledger, name, place=RunPlace(str(run_id)))
        told = _run("retry", name, "--ledger-url", ledger_url, "--json", code=1)
        assert told.stdout == ""
        assert reason in json.loads(told.stderr)["error"]
    identify(ledger, "a script's")
    told = _run("retry", "a script's", "--ledger-url", ledger_url, code=1)
    assert "was not opened by a flow run" in told.stderr
    running = flow_run(refused["is Running"]).state
    assert running is not None
    assert running.is_running()


_FLOW = """
from pathlib import Path
from prefect import flow
from qiskit import QuantumCircuit
from session_block.blocks.quantum_session import load_block

@flow
def breaks_once(block: str, marker: str):
    with load_block(block).experiment() as experiment:
        for turns in (1, 2):
            circuit = QuantumCircuit(1)
            circuit.rz(0.1 * turns, 0)
            experiment.run_estimator([(circuit, "Z")])
            if turns == 1 and not Path(marker).exists():
                Path(marker).touch()
                raise RuntimeError("once")
"""


@pytest.mark.nightly
def test_a_worker_continues_a_retried_experiment(
    platform: Platform, saved_block: str, block: QuantumSession, tmp_path: Path
) -> None:
    """Failed in a real worker and retried by its name, it ends in its session, no job twice."""
    (tmp_path / "breaks.py").write_text(_FLOW)
    pool = "of-retried-experiments"
    deployed = flow.from_source(str(tmp_path), entrypoint="breaks.py:breaks_once")
    _prefect("work-pool", "create", pool, "--type", "process")
    deployment_id = deployed.deploy("retried", work_pool_name=pool, print_next_steps=False)
    marker = tmp_path / "broken"
    with get_client(sync_client=True) as client:
        made = client.create_flow_run_from_deployment(
            deployment_id, parameters={"block": saved_block, "marker": str(marker)}
        )
    _prefect("worker", "start", "--pool", pool, "--run-once")
    failed = flow_run(made.id).state
    assert failed is not None
    assert failed.is_failed()
    uid = block.experiment(str(made.id)).uid
    assert platform.jobs_of(uid) == 1
    arguments = ("retry", str(made.id), "--block", saved_block)
    assert _json(*arguments)["flow_run_id"] == str(made.id)
    _prefect("worker", "start", "--pool", pool, "--run-once")
    completed = flow_run(made.id).state
    assert completed is not None
    assert completed.is_completed()
    about = _json("show", uid, "--block", saved_block)
    assert (about["state"], about["jobs"], len(about["sessions"])) == ("finished", 2, 1)
    assert about["flow_runs"] == [str(made.id)]
    assert platform.jobs_of(uid) == 2


def _prefect(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=api_environment(PREFECT_WORKER_PREFETCH_SECONDS="60"),
        capture_output=True,
        check=True,
        timeout=120,
    )
