"""``session-block doctor``, as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr
from session_support import block_for, run
from support import Platform, free_port, wait_until
from typer.testing import CliRunner

from session_block import IBMSessionCredentials, QuantumSession
from session_block.cli import app
from session_block.doctor.check import Verdict
from session_block.doctor.fidelity import case as fidelity
from session_block.doctor.live_report import compared, disagreements
from session_block.doctor.machine import check_disk, check_versions
from session_block.errors import SubmissionHeldError
from session_block.ledger.store import SCHEMA_VERSION, Ledger
from session_block.local_platform import LocalPlatform
from session_block.tags import uid_tag

pytestmark = pytest.mark.rest


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalPlatform]:
    """The test's own platform, whose jobs take long enough to be watched."""
    with LocalPlatform(tmp_path / "platform", job_seconds=1.5) as platform:
        yield platform


def _run(*arguments: str, code: int = 0, stdin: str = "") -> Result:
    ran = CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"}, input=stdin)
    assert ran.exit_code == code, ran.output
    return ran


def _checks(*arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    told = json.loads(_run(*arguments, "--json", code=code).stdout)
    return {check["what"]: check for check in told["checks"]}


def _saved(block: QuantumSession, name: str) -> str:
    block.save(name, overwrite=True)
    return name


def test_all_is_well_if_everything_is_there(
    platform: Platform, saved_block: str, ledger_url: str
) -> None:
    """Each check says what it found; nothing is submitted, and no output holds a secret."""
    before = platform.stats()["jobs"]["total"], platform.sessions()
    checks = _checks("--block", saved_block)
    server = checks.pop("Prefect access")  # the tests' own is open
    assert server["verdict"] == "warning"
    assert "whoever can reach it and by any web page" in server["found"]
    assert "PREFECT_SERVER_API_AUTH_STRING" in server["advice"]
    assert {what: check["verdict"] for what, check in checks.items()} == dict.fromkeys(
        [
            "versions",
            "Prefect API",
            "Block",
            "ledger",
            "ledger's disk",
            "credentials",
            "instance",
            "plan",
            "backend",
        ],
        "ok",
    )
    assert f"qiskit-ibm-runtime {version('qiskit-ibm-runtime')}" in checks["versions"]["found"]
    assert f"schema version {SCHEMA_VERSION}" in checks["ledger"]["found"]
    assert platform.info.instance in checks["instance"]["found"]
    shown = _run("--block", saved_block).stdout
    assert "ok       backend" in shown
    assert platform.info.token not in shown
    assert (platform.stats()["jobs"]["total"], platform.sessions()) == before
    written = Ledger(ledger_url).facts("@doctor")
    assert len(written) == 2


def test_without_a_block_no_platform_is_asked(
    platform: Platform, prefect_server: str, ledger_url: str
) -> None:
    """That is a warning, which names the option; the exit code is 0."""
    assert prefect_server
    before = platform.stats()["requests"]
    checks = _checks("--ledger-url", ledger_url)
    asked = {*platform.stats()["requests"].items()} - {*before.items()}
    assert [route for route, _ in asked] == ["GET /_local/stats"]
    assert checks["Block"]["verdict"] == "warning"
    assert "--block NAME" in checks["Block"]["advice"]
    assert "credentials" not in checks


def test_a_prefect_server_that_is_down_fails(ledger_url: str) -> None:
    """Exit code 3; whatever needs no server is still checked."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        checks = _checks("--block", "any", "--ledger-url", ledger_url, code=3)
    assert checks["Prefect API"]["verdict"] == "failed"
    assert "PREFECT_API_URL" in checks["Prefect API"]["advice"]
    assert checks["Block"]["verdict"] == "failed"
    assert checks["ledger"]["verdict"] == "ok"


def test_a_block_that_is_not_there_fails(prefect_server: str, ledger_url: str) -> None:
    """The check names the Block."""
    assert prefect_server
    checks = _checks("--block", "no-such", "--ledger-url", ledger_url, code=3)
    assert "'no-such'" in checks["Block"]["found"]


def test_refused_credentials_fail(
    platform: Platform, prefect_server: str, block: QuantumSession
) -> None:
    """The checks that need credentials are skipped."""
    assert prefect_server
    wrong = IBMSessionCredentials(
        token=SecretStr("wrong"), url=platform.info.origin, instance=platform.info.instance
    )
    name = _saved(block.model_copy(update={"credentials": wrong}), "t-doctor-wrong-key")
    checks = _checks("--block", name, code=3)
    assert checks["credentials"]["verdict"] == "failed"
    assert "backend" not in checks


def test_an_unknown_backend_fails_and_one_that_is_down_is_a_warning(
    own: LocalPlatform, prefect_server: str, ledger_url: str
) -> None:
    """Runs wait for a backend in maintenance, but not for an unknown one."""
    assert prefect_server
    unknown = block_for(own.info, ledger_url, backend_name="ibm_nowhere")
    checks = _checks("--block", _saved(unknown, "t-doctor-nowhere"), code=3)
    assert checks["backend"]["verdict"] == "failed"
    assert "ibm_nowhere" in checks["backend"]["found"]
    assert checks["instance"]["verdict"] == "ok"
    own.add_fault(kind="maintenance", backend="ibm_manila")
    down = block_for(own.info, ledger_url)
    checks = _checks("--block", _saved(down, "t-doctor-down"))
    assert checks["backend"]["verdict"] == "warning"
    assert "Runs wait for it." in checks["backend"]["advice"]


def test_a_plan_without_sessions_fails_unless_something_takes_their_place(
    platform: Platform, prefect_server: str, block: QuantumSession
) -> None:
    """A Block for sessions cannot work on the open plan; one that falls back to batches can."""
    assert prefect_server
    instances = block.credentials.get_client().instances()
    opened = next(one["crn"] for one in instances if one["plan"] == "open")
    credentials = IBMSessionCredentials(
        token=SecretStr(platform.info.token), url=platform.info.origin, instance=opened
    )
    changes = {"credentials": credentials, "backend_name": "ibm_fez"}
    strict = block.model_copy(update=changes)
    checks = _checks("--block", _saved(strict, "t-doctor-open"), code=3)
    assert checks["instance"]["verdict"] == "failed"
    assert "without_sessions" in checks["instance"]["advice"]
    lenient = block.model_copy(update={**changes, "without_sessions": "batch"})
    checks = _checks("--block", _saved(lenient, "t-doctor-open-batch"))
    assert checks["instance"]["verdict"] == "ok"


def test_a_damaged_or_newer_ledger_fails(prefect_server: str, tmp_path: Path) -> None:
    """The message says what is wrong, and the file stays as it was."""
    assert prefect_server
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no ledger" * 1000)
    checks = _checks("--ledger-url", f"sqlite:///{damaged}", code=3)
    assert checks["ledger"]["verdict"] == "failed"
    assert damaged.read_bytes() == b"no ledger" * 1000
    newer = tmp_path / "newer.db"
    Ledger(f"sqlite:///{newer}").close()
    with closing(sqlite3.connect(newer, isolation_level=None)) as database:
        database.execute("INSERT INTO session_block_schema VALUES (?)", (SCHEMA_VERSION + 1,))
    checks = _checks("--ledger-url", f"sqlite:///{newer}", code=3)
    assert f"schema version {SCHEMA_VERSION + 1}" in checks["ledger"]["found"]


def test_held_submissions_are_a_warning(
    own: LocalPlatform, prefect_server: str, ledger_url: str
) -> None:
    """They wait for an operator, and the advice gives the command."""
    assert prefect_server
    experiment = block_for(own.info, ledger_url, unsettled="hold").experiment("waiting")
    experiment.open_session()
    own.add_fault(kind="drop", method="POST", path="/jobs", effect="before")
    with pytest.raises(SubmissionHeldError):
        run(experiment, 1)
    checks = _checks("--ledger-url", ledger_url)
    assert checks["submissions"]["verdict"] == "warning"
    assert "'waiting'" in checks["submissions"]["found"]
    assert "list --held" in checks["submissions"]["advice"]


@pytest.mark.parametrize(
    ("filesystem", "verdict"),
    [
        ("nfs4", Verdict.FAILED),
        ("9p", Verdict.WARNING),
        ("tmpfs", Verdict.WARNING),
        ("ext4", Verdict.OK),
    ],
)
def test_a_ledger_belongs_on_a_local_disk(filesystem: str, verdict: Verdict) -> None:
    """SQLite cannot rely on the locks of a network file system, and memory does not last."""
    assert check_disk(Path("/somewhere/ledger.db"), filesystem).verdict is verdict


def test_versions_are_compared_with_what_is_declared() -> None:
    """Packages that are too old, too new or missing fail; extras are left out."""
    wrong = ["prefect<3", "no-such-package>=1", "qiskit>=2.2,<3", "also-none; extra == 'docs'"]
    checks = list(check_versions(wrong))
    assert [check.verdict for check in checks] == [Verdict.FAILED, Verdict.FAILED, Verdict.OK]
    assert checks[0].advice == "pip install 'prefect<3'"
    assert "no-such-package is not installed" in checks[1].found
    assert checks[2].found.startswith("qiskit 2.")


def test_a_live_check_records_what_the_platform_does(
    own: LocalPlatform, prefect_server: str, ledger_url: str, tmp_path: Path
) -> None:
    """One job in one session, a refused job, an unused batch; all closed, all in a report."""
    assert prefect_server
    block = block_for(own.info, ledger_url)
    name = _saved(block, "t-doctor-live")
    file = tmp_path / "live.json"
    ran = _run("--block", name, "--live", "--yes", "--report", str(file), "--json")
    told = json.loads(ran.stdout)
    report = json.loads(file.read_text())
    assert told["live"] == report
    assert told["checks"][-1]["verdict"] == "ok"
    assert own.info.token not in file.read_text()
    assert report["error"] is None
    [job] = own.jobs()
    session, batch = sorted(own.sessions(), key=lambda one: one["mode"], reverse=True)
    assert (session["state"], batch["state"]) == ("closed", "closed")
    assert (report["found"]["session_id"], report["found"]["job_id"]) == (session["id"], job["id"])
    assert [one["state"] for one in report["states"]["session"]] == ["open", "active", "closed"]
    assert [one["state"] for one in report["states"]["job"]][-2:] == ["Running", "Completed"]
    late = report["found"]["late_submission"]
    assert (late["refused"], late["http_status"], late["code"]) == (True, 400, 1217)
    assert report["found"]["job_usage"] == pytest.approx(job["usage_seconds"])
    assert report["found"]["batch_interactive_timeout"] == 60
    assert "elapsed_time" in report["fields"]["session"]
    assert "timestamps" in report["fields"]["metrics"]
    # The platform's own clock: a job takes its 1.5 seconds, and more on a busy machine.
    assert 1.4 < report["timings"]["ran_by_platform"] < 30
    assert [one["what"] for one in report["assumptions"] if one["agrees"] is not True] == []
    recorded = block.experiment(report["experiment"])
    assert recorded.report() == {"live_check": report["found"]}
    assert uid_tag(recorded.uid) in job["tags"]


@pytest.mark.nightly
def test_a_live_check_says_where_the_platform_differs(
    prefect_server: str, ledger_url: str, tmp_path: Path
) -> None:
    """A wrong assumption is a warning that says what was found."""
    assert prefect_server
    with LocalPlatform(tmp_path / "other", interactive_seconds=7, job_seconds=0.5) as other:
        name = _saved(block_for(other.info, ledger_url), "t-doctor-differs")
        file = tmp_path / "live.json"
        ran = _run("--block", name, "--live", "--report", str(file), stdin="y\n")
    assert "warning  live" in ran.stdout
    assert "idle time of a session in seconds: assumed 60, found 7" in ran.stdout


def test_only_assumptions_that_were_seen_to_be_wrong_are_reported() -> None:
    """Another idle time, an unknown state and a late job that was accepted; nothing else."""
    found = {
        "interactive_timeout": 7,
        "late_submission": {"refused": False},
        "listed_after_seconds": 0.5,
        "settle_seconds": 1.0,
    }
    states = {"session": [{"state": "open"}, {"state": "resting"}], "job": []}
    told = disagreements({"assumptions": compared(found, states)})
    assert [one.partition(":")[0] for one in told] == [
        "states of a session",
        "a job for a closed session is refused",
        "idle time of a session in seconds",
    ]
    assert told[2].endswith("assumed 60, found 7")


def test_a_live_check_that_fails_leaves_no_session_open(
    own: LocalPlatform, prefect_server: str, ledger_url: str, tmp_path: Path
) -> None:
    """The job's failure is in the report, the exit code is 3, and the session is closed."""
    assert prefect_server
    name = _saved(block_for(own.info, ledger_url), "t-doctor-fails")
    own.add_fault(kind="end_job", state="failed", reason="out of tune", reason_code=9999)
    file = tmp_path / "live.json"
    checks = _checks("--block", name, "--live", "--yes", "--report", str(file), code=3)
    assert checks["live"]["verdict"] == "failed"
    assert json.loads(file.read_text())["error"] in checks["live"]["found"]
    assert {one["state"] for one in own.sessions()} == {"closed"}


@pytest.mark.nightly
def test_an_interrupted_live_check_leaves_no_session_open(
    prefect_server: str, ledger_url: str, tmp_path: Path
) -> None:
    """Ctrl-C ends it with exit code 130; the running job finishes, and the session closes."""
    with LocalPlatform(tmp_path / "long", job_seconds=4) as platform:
        name = _saved(block_for(platform.info, ledger_url), "t-doctor-interrupted")
        live = subprocess.Popen(
            [sys.executable, "-m", "session_block", "doctor", "--block", name, "--live", "--yes"],
            env={**os.environ, "PREFECT_API_URL": prefect_server},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert live.stdout is not None
        for line in live.stdout:
            if line.startswith("Waiting for job"):
                live.send_signal(signal.SIGINT)
                break
        live.communicate(timeout=60)
        assert live.returncode == 130
        [session] = platform.sessions()
        assert session["accepting_jobs"] is False
        wait_until(
            lambda: platform.sessions()[0]["state"] == "closed", seconds=15, what="it is closed"
        )


def test_a_live_check_needs_a_block_and_consent(
    platform: Platform, saved_block: str, ledger_url: str
) -> None:
    """Without a Block, without a yes, or with a failed check, no job is run."""
    before = platform.stats()["jobs"]["total"], platform.sessions()
    assert "--block NAME" in _run("--live", "--ledger-url", ledger_url, code=1).stderr
    refused = _run("--live", "--block", saved_block, code=1, stdin="n\n")
    assert "Nothing was done." in refused.stderr
    failed = _run("--live", "--yes", "--block", saved_block, "--ledger-url", "nonsense", code=3)
    assert "Nothing is sent while a check fails" in failed.stdout
    assert (platform.stats()["jobs"]["total"], platform.sessions()) == before


def test_the_suite_is_run_live_and_leaves_a_record(
    own: LocalPlatform,
    prefect_server: str,
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the Block's instance, for nothing by default; the record holds no key and no ID."""
    assert prefect_server
    book = fidelity.read_book()
    some = [one for one in book.cases if one.set_up == "closed-batch" or one.id.startswith("usage")]
    monkeypatch.setattr(fidelity, "read_book", lambda: book.model_copy(update={"cases": some}))
    name = _saved(block_for(own.info, ledger_url), "t-doctor-suite")
    file = tmp_path / "suite.json"
    ran = _run("--block", name, "--live", "--suite", "--yes", "--report", str(file))
    last = ran.stdout.splitlines()[-1]
    assert re.fullmatch(r"\d+ cases: \d+ agree, 0 differ, \d+ are guesses", last), ran.output
    record = json.loads(file.read_text())
    assert record["summary"] == last
    assert (record["platform"], record["plans"]) == ("live", ["paid"])
    assert (record["bound_seconds"], record["planned_seconds"]) == (0, 0)
    ids = [one["id"] for one in own.sessions()]
    account = own.info.instance.split(":")[6].removeprefix("a/")
    for secret in (own.info.token, own.info.instance, account, "ibm_manila", "eyJ", *ids):
        assert secret not in file.read_text()
    assert {one["state"] for one in own.sessions()} == {"closed"}


def test_a_suite_that_differs_is_told_by_the_exit_code(
    own: LocalPlatform,
    prefect_server: str,
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1, and the case is named with what was found and what was expected."""
    assert prefect_server
    book = fidelity.read_book()
    some = [one for one in book.cases if one.id == "usage-instance"]
    monkeypatch.setattr(fidelity, "read_book", lambda: book.model_copy(update={"cases": some}))
    monkeypatch.chdir(tmp_path)
    name = _saved(block_for(own.info, ledger_url), "t-doctor-differs")
    usage = {"method": "GET", "path": "/instances/usage"}
    own.add_fault(kind="status", status=200, body="{}", times=None, **usage)
    ran = _run("--block", name, "--live", "--suite", "--yes", code=1)
    assert ran.stdout.splitlines()[-1] == "1 cases: 0 agree, 1 differ, 0 are guesses"
    assert "usage-instance (spec): instance_id is missing" in ran.stdout
    assert len(list(tmp_path.glob("session-block-fidelity-*.json"))) == 1


def test_the_suite_needs_a_live_platform() -> None:
    """Without --live it is refused, and nothing is sent."""
    assert "--live" in _run("--suite", code=1).output
