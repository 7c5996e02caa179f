"""Commands with a Block where no Prefect server answers: the ledger's copy serves."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_API_PORT,
    temporary_settings,
)
from pydantic import SecretStr
from qiskit import QuantumCircuit
from support import BACKEND, Platform, free_port
from typer.testing import CliRunner

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.blocks.copies import copy_of
from session_block.blocks.quantum_session import load_block
from session_block.cli import app
from session_block.cli.common import ExitCode
from session_block.errors import (
    BudgetExceededError,
    CredentialsRequiredError,
    LedgerVersionError,
)
from session_block.ledger.store import Ledger
from session_block.operations.copied_blocks import block_of, record_copy
from session_block.records.block_copies import find_copy, keep_copy, latest_copy
from session_block.records.journal import Journal
from session_block.records.keys import BLOCKS, BlockCopy

TOKEN = "an-api-key-of-this-test"
PROXY_PASSWORD = "pr0xyword"


@contextmanager
def nowhere() -> Iterator[None]:
    """No server is configured, and none answers at the usual place."""
    with temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_API_PORT: free_port()}):
        yield


def _run(ledger_url: str, *arguments: str, code: int = 0, **environment: str | None) -> Result:
    variables: dict[str, Any] = {"SESSION_BLOCK_LEDGER_URL": ledger_url, "COLUMNS": "200"}
    with nowhere():
        ran = CliRunner().invoke(app, arguments, env={**variables, **environment})
    assert ran.exit_code == code, ran.output
    return ran


def _bell() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    circuit.measure_all()
    return circuit


def _copies(ledger_url: str, name: str) -> list[BlockCopy]:
    return Journal(Ledger(ledger_url), BLOCKS).all(BlockCopy, name)


def _ibm(platform: Platform, **fields: Any) -> IBMSessionCredentials:
    given = {"url": platform.info.origin, "instance": platform.info.instance, **fields}
    return IBMSessionCredentials(**given)


@pytest.mark.rest
def test_opening_an_experiment_leaves_a_copy(saved_block: str, ledger_url: str) -> None:
    """One for each change of the saved Block; none of a Block that is not as it was saved."""
    for number in range(2):
        load_block(saved_block).experiment(f"one-{number}")
    [copy] = _copies(ledger_url, saved_block)
    assert (copy.number, copy.settings["backend_name"]) == (1, BACKEND)
    changed = load_block(saved_block)
    changed.max_jobs = 7
    changed.experiment("two")
    assert len(_copies(ledger_url, saved_block)) == 1
    changed.save(saved_block, overwrite=True)
    changed.experiment("three")
    assert [one.settings["max_jobs"] for one in _copies(ledger_url, saved_block)] == [None, 7]
    again = latest_copy(Ledger(ledger_url), saved_block)
    assert again is not None
    assert again.number == 2


def test_a_block_that_was_never_saved_leaves_none(block: QuantumSession, ledger_url: str) -> None:
    """It has no name by which a command could ask for it."""
    block.experiment("unsaved")
    assert Journal(Ledger(ledger_url), BLOCKS).count(BlockCopy) == 0


def test_a_copy_has_no_secret(tmp_path: Path) -> None:
    """Neither key nor proxies nor the ledger's URL stand in the file; all else comes back."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    block = QuantumSession(
        credentials=IBMSessionCredentials(
            token=SecretStr(TOKEN), instance="crn:1", proxies=f"http://u:{PROXY_PASSWORD}@p:1"
        ),
        backend_name="ibm_fez",
        max_time=3600,
        max_usage=1.5,
        block_max_jobs=3,
        use_fractional_gates=None,
        owner="h2-team",
        ledger_url=SecretStr(url),
    )
    record_copy("lab", block, url)
    copy = find_copy(url, "quantum-session/lab")
    assert copy is not None
    assert copy.left_out == ["token", "proxies", "ledger_url"]
    again = block_of(copy, url)
    assert copy_of("lab", again).settings == copy.settings == copy_of("lab", block).settings
    assert (again.use_fractional_gates, again.credentials.instance) == (None, "crn:1")
    assert (again._settings().block, again._source) == ("lab", again._settings().source)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        held = "\n".join(database.iterdump())
    assert "h2-team" in held
    assert TOKEN not in held
    assert PROXY_PASSWORD not in held


@pytest.mark.rest
def test_commands_work_with_a_copy(saved_block: str, ledger_url: str, tmp_path: Path) -> None:
    """Those that ask the platform too; one line says where the Block comes from."""
    experiment = load_block(saved_block).experiment("open")
    session_id = str(experiment.open_session())
    for command in (
        ["experiments", "list"],
        ["experiments", "show", "open"],
        ["sessions", "list", "--live"],
        ["sessions", "show", session_id],
        ["sessions", "orphans"],
        ["usage"],
    ):
        ran = _run(ledger_url, *command, "--block", saved_block, "--json")
        json.loads(ran.stdout)
        told = [line for line in ran.stderr.splitlines() if "copy in the ledger" in line]
        assert len(told) == 1, ran.stderr
        assert "without its ledger_url: recorded" in told[0]
    ran = _run(ledger_url, "sessions", "close", session_id, "--block", saved_block)
    assert ran.stdout == f"Closed session {session_id}.\n"
    cancelled = _run(
        ledger_url, "experiments", "cancel", "open", "--yes", "--block", saved_block, "--json"
    )
    assert json.loads(cancelled.stdout)["cancelled"] is True
    assert not list(tmp_path.rglob("prefect.db"))


@pytest.mark.rest
def test_a_server_s_block_wins_over_its_copy(
    prefect_server: str, saved_block: str, ledger_url: str
) -> None:
    """However new the copy is."""
    changed = load_block(saved_block)
    stale = copy_of(saved_block, changed.model_copy(update={"mode": "batch"}))
    keep_copy(Ledger(ledger_url), stale)
    told = CliRunner().invoke(app, ["doctor", "--block", saved_block])
    assert "mode session" in told.stdout
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        ran = CliRunner().invoke(app, ["usage", "--block", saved_block])
    assert ran.exit_code == 0, ran.output
    assert "copy in the ledger" not in ran.stderr


@pytest.mark.rest
def test_a_configured_server_that_does_not_answer_is_none(
    saved_block: str, ledger_url: str
) -> None:
    """The copy serves; without one the message names the server."""
    load_block(saved_block).experiment("any")
    dead = f"http://127.0.0.1:{free_port()}/api"
    environment = {"SESSION_BLOCK_LEDGER_URL": ledger_url}
    with temporary_settings({PREFECT_API_URL: dead}):
        ran = CliRunner().invoke(app, ["usage", "--block", saved_block], env=environment)
        other = CliRunner().invoke(app, ["usage", "--block", "another"], env=environment)
    assert ran.exit_code == 0, ran.output
    assert "copy in the ledger" in ran.stderr
    assert other.exit_code == ExitCode.WRONG_USAGE
    assert f"the one that is configured, {dead}, does not answer" in other.stderr


def test_neither_a_server_nor_a_copy(tmp_path: Path) -> None:
    """Exit code 2, both ways named, and no ledger made."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    told = _run(url, "usage", "--block", "mine", code=ExitCode.WRONG_USAGE).stderr
    assert "prefect server start" in told
    assert "ledger.db has none" in told
    assert "SESSION_BLOCK_LEDGER_URL" in told
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.rest
def test_doctor_checks_a_copy(
    saved_block: str, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It warns that the Block is a copy, and checks the platform with it."""
    monkeypatch.setenv("SESSION_BLOCK_LEDGER_URL", ledger_url)
    load_block(saved_block).experiment("any")
    with nowhere():
        ran = CliRunner().invoke(app, ["doctor", "--block", saved_block, "--json"])
    checks = {one["what"]: one for one in json.loads(ran.stdout)["checks"]}
    assert "copy in the ledger" in checks["Block"]["found"]
    assert checks["Block"]["verdict"] == "warning"
    assert checks["backend"]["verdict"] == "ok"
    assert ran.exit_code == 0


@pytest.fixture
def account_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the client keep its accounts in a file of this test."""
    from qiskit_ibm_runtime.accounts import management

    file = tmp_path / "qiskit" / "qiskit-ibm.json"
    monkeypatch.setattr(management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(file))
    return file


@pytest.mark.rest
def test_the_key_comes_from_the_environment_or_from_ibm_s_file(
    platform: Platform, ledger_url: str, account_file: Path
) -> None:
    """Without either, exit code 2 names both; the key goes only where it belongs."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    credentials = _ibm(platform, token=SecretStr(TOKEN))
    record_copy("ibm", QuantumSession(credentials=credentials, backend_name=BACKEND), ledger_url)
    command = ("usage", "--block", "ibm")
    told = _run(ledger_url, *command, code=ExitCode.WRONG_USAGE).stderr
    assert "QISKIT_IBM_TOKEN" in told
    assert "QiskitRuntimeService.save_account" in told
    assert "PREFECT_API_URL" in told

    key = {"QISKIT_IBM_TOKEN": platform.info.token}
    told = _run(ledger_url, *command, code=ExitCode.REFUSED, **key).stderr
    assert "is for https://cloud.ibm.com, and the Block for" in told
    assert platform.info.token not in told
    _run(ledger_url, *command, **key, QISKIT_IBM_URL=platform.info.origin)

    assert json.loads(account_file.read_text()) == {}
    QiskitRuntimeService.save_account(token="not-a-key-of-this-one", url="https://elsewhere.test")
    told = _run(ledger_url, *command, code=ExitCode.REFUSED).stderr
    assert "The saved default account is for https://elsewhere.test" in told
    QiskitRuntimeService.save_account(
        token=platform.info.token, url=platform.info.origin, overwrite=True
    )
    _run(ledger_url, *command)


def test_a_saved_account_that_a_copy_names_has_to_be_there(
    account_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other key takes its place."""
    assert not account_file.exists()
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    named = IBMSessionCredentials(account_name="mine").as_copy()
    with pytest.raises(CredentialsRequiredError, match="No account 'mine' is saved"):
        named.account()
    assert IBMSessionCredentials().as_copy().account().token == TOKEN


def test_limits_on_a_copy_count(platform: Platform, ledger_url: str) -> None:
    """Those of the experiment, and those of the Block, in the same count as the Block itself."""
    block = QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        mode="job",
        max_jobs=2,
        block_max_jobs=1,
    )
    record_copy("limited", block, ledger_url)
    copy = find_copy(ledger_url, "limited")
    assert copy is not None
    with block_of(copy, ledger_url).experiment("first") as first:
        first.run_sampler([first.transpile(_bell())], shots=1)
    second = block_of(copy, ledger_url).experiment("second")
    with pytest.raises(BudgetExceededError, match="Block 'limited'"):
        second.run_sampler([second.transpile(_bell())], shots=1)
    assert platform.jobs_of(second.uid) == 0


def test_a_copy_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A limit that is not known here would not be kept."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    copy = copy_of("lab", QuantumSession(credentials=LocalPlatformCredentials()))
    for changes in (
        {"settings": {**copy.settings, "max_regret": 3}},
        {"credentials_type": "dream-credentials"},
        {"credentials": {**copy.credentials, "colour": "red"}},
    ):
        body = {**copy.fact_body, **changes}
        newer = BlockCopy(block="lab", number=1, **body)
        with pytest.raises(LedgerVersionError, match="Upgrade"):
            block_of(newer, url)


@pytest.mark.rest
def test_setup_without_a_server_saves_what_it_can(
    platform: Platform, ledger_url: str, account_file: Path
) -> None:
    """The account in IBM's own file, the rest in the ledger; and it says what was not done."""
    options = [
        *("--url", platform.info.origin, "--instance", platform.info.instance),
        *("--backend", BACKEND, "--max-time", "30m"),
    ]
    command, key = ["setup", "ibm", *options], {"QISKIT_IBM_TOKEN": platform.info.token}
    ran = _run(ledger_url, *command, **key)
    assert "Not done: no Block is saved, which flows and deployments need." in ran.stdout
    assert "session-block up" in ran.stdout
    assert platform.info.token not in ran.output
    assert stat.S_IMODE(account_file.stat().st_mode) == 0o600
    saved = json.loads(account_file.read_text())["ibm-quantum"]
    assert (saved["token"], saved["url"]) == (platform.info.token, platform.info.origin)
    [copy] = _copies(ledger_url, "quantum-session")
    assert (copy.settings["max_time"], copy.left_out) == ("30m", [])

    used = _run(ledger_url, "usage", "--block", "quantum-session", "--json")
    assert json.loads(used.stdout)[0]["instance"] == platform.info.instance

    changed = [*command[:-1], "1h"]
    for taken in ([], ["--credentials-name", "another"]):
        assert "--overwrite" in _run(ledger_url, *changed, *taken, code=1, **key).stderr
    told = json.loads(_run(ledger_url, *changed, "--overwrite", "--json", **key).stdout)
    assert told["account_file"] == str(account_file)
    assert [one.settings["max_time"] for one in _copies(ledger_url, "quantum-session")] == [
        "30m",
        "1h",
    ]


@pytest.mark.rest
def test_setup_without_a_server_saves_nothing_unconfirmed(
    platform: Platform, ledger_url: str, account_file: Path
) -> None:
    """Neither the account nor a copy."""
    options = ["--url", platform.info.origin, "--instance", platform.info.instance]
    options += ["--backend", "ibm_nowhere", "--max-time", "30m"]
    _run(ledger_url, "setup", "ibm", *options, code=1, QISKIT_IBM_TOKEN=platform.info.token)
    assert json.loads(account_file.read_text()) == {}
    assert _copies(ledger_url, "quantum-session") == []
