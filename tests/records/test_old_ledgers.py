"""What is durable is read for ever: a run that an earlier version began goes on, buying nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres import Postgres
from qiskit.quantum_info import SparsePauliOp
from snippets import ROOT

from session_block import LocalPlatformCredentials, QuantumSession, local_platform
from session_block.algorithms.hamiltonians import H2_PAULIS
from session_block.algorithms.vqe import VQEReport, run_vqe
from session_block.errors import LedgerVersionError
from session_block.ledger.store import Ledger, open_ledger
from session_block.local_platform import Admin, PlatformInfo
from session_block.records.identity import known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import ExperimentBegan, Intent, Outcome, Result
from session_block.records.sender import SUBMIT_DEADLINE
from session_block.records.versions import CURRENT, FIRST
from session_block.tags import SubmissionTag

DATA = Path(__file__).parents[1] / "data" / "first-ledger"
FIRST_COMMIT = "97c2f2f"
NAME = "an old one"
JOBS, RECORDED = 12, 5
WHOLE = {
    "energy": -1.8569753495778742,
    "parameters": [
        -1.4039759722119427,
        -1.771754267701723,
        1.7438635290013178,
        1.6188257928332797,
    ],
}
"""How the run ended under the version that began it, where nobody killed it."""


@pytest.fixture
def old(tmp_path: Path) -> Iterator[PlatformInfo]:
    """The platform as the killed process left it."""
    state_dir = tmp_path / "platform"
    shutil.copytree(DATA / "platform", state_dir)
    yield local_platform.start(state_dir)
    local_platform.stop(state_dir)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    """The ledger as the killed process left it."""
    shutil.copy(DATA / "ledger.db", tmp_path / "ledger.db")
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture(autouse=True)
def _the_killed_sender_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ran on another machine, so its deadline decides, which is not waited for here."""
    monkeypatch.setenv(SUBMIT_DEADLINE, "0")


def _block(info: PlatformInfo, ledger_url: str) -> QuantumSession:
    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=info.state_dir),
        backend_name="ibm_manila",
        max_time="8h",
        ledger_url=ledger_url,
    )


def _goes_on(block: QuantumSession) -> VQEReport:
    """Run the program that was killed, once more."""
    with block.experiment(NAME) as experiment:
        return run_vqe(
            experiment,
            SparsePauliOp.from_list(list(H2_PAULIS)),
            optimizer="COBYLA",
            optimizer_options={"maxiter": JOBS},
            seed=3,
        )


def _jobs(info: PlatformInfo) -> list[dict[str, Any]]:
    return Admin.of(info).jobs()


def _check(info: PlatformInfo, ledger: Ledger, report: VQEReport) -> None:
    """The same end bit for bit, one session, each job once, under the rules of its beginning."""
    assert {"energy": report.energy, "parameters": report.parameters} == WHOLE
    jobs = _jobs(info)
    assert len(jobs) == JOBS
    assert len({job["session_id"] for job in jobs}) == 1
    [identity] = known_experiments(ledger)
    journal = Journal(ledger, identity.uid)
    began = journal.get(ExperimentBegan)
    assert began is not None
    assert (began.versions, began.family) == (FIRST, "v2")
    kinds = (Intent, Outcome, Result)
    assert [journal.count(kind) for kind in kinds] == [JOBS] * len(kinds)
    tags = [SubmissionTag.parse(tag) for job in jobs for tag in job["tags"]]
    assert {tag.version for tag in tags if tag is not None} == {FIRST.tags}


@pytest.mark.rest
def test_a_killed_run_of_the_first_version_goes_on(old: PlatformInfo, ledger_url: str) -> None:
    """SQLite: 12 jobs in all, the one that was on its way when it was killed among them."""
    assert len(_jobs(old)) == RECORDED + 1
    report = _goes_on(_block(old, ledger_url))
    _check(old, open_ledger(ledger_url), report)


@pytest.mark.rest
def test_a_killed_run_of_the_first_version_goes_on_in_postgresql(
    old: PlatformInfo, postgres: Postgres
) -> None:
    """The same facts, as a PostgreSQL database holds them."""
    url = postgres.new_store()
    postgres.query((DATA / "ledger.sql").read_text(), url)
    report = _goes_on(_block(old, url))
    with closing(open_ledger(url)) as ledger:
        _check(old, ledger, report)


@pytest.mark.rest
def test_a_lost_ledger_of_the_first_version_is_told_by_the_tags(
    old: PlatformInfo, tmp_path: Path
) -> None:
    """An empty ledger finds the experiment, and the rules by which its jobs are recognised."""
    url = f"sqlite:///{tmp_path}/empty.db"
    experiment = _block(old, url).experiment(NAME)
    assert (experiment.identity.lost, experiment.versions) == (True, FIRST)
    assert Ledger(url).schema_version() == 1
    assert len(_jobs(old)) == RECORDED + 1


def test_a_new_experiment_has_the_newest_rules(old: PlatformInfo, ledger_url: str) -> None:
    """Programs that do not know them refuse the ledger from then on; the old one keeps its own."""
    block = _block(old, ledger_url)
    ledger = open_ledger(ledger_url)
    assert block.experiment(NAME).versions == FIRST
    assert ledger.schema_version() == FIRST.schema
    assert block.experiment("a new one").versions == CURRENT
    assert ledger.schema_version() == CURRENT.schema
    assert block.experiment(NAME).versions == FIRST


def test_an_experiment_of_a_newer_version_is_refused(
    old: PlatformInfo, ledger_url: str, tmp_path: Path
) -> None:
    """Before anything is sent, and again by every later try; the ledger is as it was."""
    block = _block(old, ledger_url)
    block.experiment("theirs")
    ledger = open_ledger(ledger_url)
    uid = next(one.uid for one in known_experiments(ledger) if one.name == "theirs")
    newer = tmp_path / "newer.db"
    with closing(Ledger(f"sqlite:///{newer}")) as target:
        target.require_schema(ledger.schema_version())
        for fact in ledger.everything():
            if (fact.experiment, fact.key) != (uid, "experiment"):
                target.take(fact)
        body = {"name": "theirs", "number": 1, "backend": "ibm_manila", "tags_version": 4}
        target.create(uid, "experiment", body)
    for _ in range(2):
        with pytest.raises(LedgerVersionError, match=r"tags 4 .*up to 3.* Upgrade") as raised:
            _block(old, f"sqlite:///{newer}").experiment("theirs")
        assert raised.value.experiment is not None
    assert len(_jobs(old)) == RECORDED + 1


_FIRST_VERSION = """
import sys
from session_block import LocalPlatformCredentials, QuantumSession
from session_block.hamiltonians import H2_PAULIS
from session_block.vqe import run_vqe
from qiskit.quantum_info import SparsePauliOp
state_dir, ledger_url = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name="ibm_manila", max_time="8h", ledger_url=ledger_url,
)
with block.experiment("an old one") as experiment:
    run_vqe(experiment, SparsePauliOp.from_list(list(H2_PAULIS)), optimizer="COBYLA",
            optimizer_options={"maxiter": 12}, seed=3)
"""
_THIS_VERSION = _FIRST_VERSION.replace(
    "session_block.hamiltonians", "session_block.algorithms.hamiltonians"
).replace("session_block.vqe", "session_block.algorithms.vqe")


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the first version, from this checkout's history."""
    directory = tmp_path_factory.mktemp("first-version")
    archive = subprocess.run(
        ["git", "archive", FIRST_COMMIT, "session_block"],
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    if archive.returncode != 0:
        pytest.skip("this checkout has no history, so the first version's code is not here")
    subprocess.run(["tar", "x"], cwd=directory, input=archive.stdout, check=True)
    return directory


def _by(
    code: Path, program: str, info: PlatformInfo, ledger_url: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(info.state_dir), ledger_url],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.rest
def test_old_and_new_take_turns_at_an_experiment_of_the_first_version(
    old: PlatformInfo, ledger_url: str, first_version: Path
) -> None:
    """A rolling upgrade: the old program is killed, then the new one; the old one ends it."""
    killed = _by(
        first_version, _FIRST_VERSION, old, ledger_url, SESSION_BLOCK_CRASH_AT="submit, after:2"
    )
    assert killed.returncode != 0
    assert len(_jobs(old)) == RECORDED + 3
    killed = _by(ROOT, _THIS_VERSION, old, ledger_url, SESSION_BLOCK_CRASH_AT="submit, after:2")
    assert killed.returncode != 0
    assert len(_jobs(old)) == RECORDED + 5
    ended = _by(first_version, _FIRST_VERSION, old, ledger_url)
    assert ended.returncode == 0, ended.stderr[-2000:]
    _check(old, open_ledger(ledger_url), _goes_on(_block(old, ledger_url)))


@pytest.mark.rest
def test_the_first_version_refuses_a_ledger_with_newer_experiments(
    old: PlatformInfo, ledger_url: str, first_version: Path
) -> None:
    """It says why, and what to do; it buys nothing."""
    _block(old, ledger_url).experiment("a new one")
    refused = _by(first_version, _FIRST_VERSION, old, ledger_url)
    assert "schema version 2; this version" in refused.stderr
    assert "Upgrade" in refused.stderr
    assert len(_jobs(old)) == RECORDED + 1
    with closing(sqlite3.connect(ledger_url.removeprefix("sqlite:///"))) as database:
        assert database.execute("SELECT max(version) FROM session_block_schema").fetchone() == (2,)
