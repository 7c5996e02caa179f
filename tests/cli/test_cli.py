"""The command line, as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
import typer
from support import commands, free_port, wait_until
from typer.testing import CliRunner

from session_block import local_platform
from session_block.cli import app
from session_block.cli.common import MEANINGS, ExitCode, reporting
from session_block.errors import LedgerUnavailableError, SessionBlockError, SubmissionHeldError

COMMAND = [sys.executable, "-m", "session_block"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a new user, and stop the platform at the end."""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "COLUMNS": "120"}
    yield environment
    _run(environment, "platform", "stop")


def _run(
    environment: Mapping[str, str], *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [*COMMAND, *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


@pytest.mark.rest
def test_the_platform_starts_once_and_stops(home: dict[str, str], tmp_path: Path) -> None:
    """``start`` is idempotent, ``status`` answers by its exit code, ``stop`` may be repeated."""
    assert "session-block platform start" in _run(home, "platform", "status", code=1).stderr
    first = json.loads(_run(home, "platform", "start", "--json").stdout)
    again = json.loads(_run(home, "platform", "start", "--json").stdout)
    assert first == again == json.loads(_run(home, "platform", "status", "--json").stdout)
    assert first["state_dir"].startswith(str(tmp_path))
    refused = _run(home, "platform", "start", "--port", str(free_port()), code=1)
    assert "port" in refused.stderr
    variables = json.loads(_run(home, "platform", "env", "--json").stdout)
    assert variables["QISKIT_IBM_URL"] == first["url"]
    moved = json.loads(_run(home, "platform", "advance", "60", "--json").stdout)
    assert moved["advanced_seconds"] == 60
    assert _run(home, "platform", "stop").stdout == "Stopped.\n"
    assert "No local platform" in _run(home, "platform", "stop").stdout
    assert json.loads(_run(home, "platform", "stop", "--json").stdout) == {"stopped": False}
    refused = _run(home, "platform", "env", "--json", code=1)
    assert refused.stdout == ""
    assert "platform start" in json.loads(refused.stderr)["error"]


@pytest.mark.parametrize("name", ["identity.json", "server.json"])
@pytest.mark.parametrize(
    "command", [["status"], ["stop"], ["page"], ["page", "--print"], ["env"], ["advance", "1"]]
)
def test_a_damaged_state_directory_is_told_in_words(
    tmp_path: Path, command: list[str], name: str
) -> None:
    """Every command of the platform says which file is damaged, also as JSON."""
    (tmp_path / name).write_text("{}")
    if name == "identity.json" and command == ["stop"]:
        return  # it needs none
    asked = ["platform", *command, "--state-dir", str(tmp_path)]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == ExitCode.REFUSED
    assert f"{name} is damaged" in told.stderr
    told = CliRunner().invoke(app, [*asked, "--json"])
    assert (told.exit_code, told.stdout) == (ExitCode.REFUSED, "")
    assert f"{name} is damaged" in json.loads(told.stderr)["error"]


def test_a_host_that_is_no_address_starts_nothing(tmp_path: Path) -> None:
    """It is refused in words."""
    asked = ["platform", "start", "--host", "::1", "--state-dir", str(tmp_path / "new")]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == ExitCode.REFUSED
    assert told.stderr.splitlines()[-1] == "host must be an IPv4 address or localhost, not '::1'"
    assert not (tmp_path / "new").exists()


@pytest.mark.rest
def test_env_points_a_plain_client_at_the_platform(home: dict[str, str]) -> None:
    """``eval "$(session-block platform env)"`` is all that an unmodified client needs."""
    _run(home, "platform", "start")
    program = (
        "from qiskit_ibm_runtime import QiskitRuntimeService; "
        "print(QiskitRuntimeService().backend('ibm_manila').num_qubits)"
    )
    script = f'eval "$({" ".join(COMMAND)} platform env)" && {sys.executable} -c "{program}"'
    ran = subprocess.run(
        ["bash", "-c", script], env=home, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "5\n"


def _stats(environment: Mapping[str, str]) -> dict[str, dict[str, int]]:
    told = json.loads(_run(environment, "platform", "status", "--json").stdout)
    found = local_platform.find(Path(told["state_dir"]))
    assert found is not None
    return local_platform.Admin.of(found).stats()


@pytest.mark.rest
def test_the_page_opens_for_its_owner(home: dict[str, str]) -> None:
    """The browser is given a file that only its user can read, and no argument with the key."""
    _run(home, "platform", "start")
    try:
        told = json.loads(_run(home, "platform", "status", "--json").stdout)
        address = _run(home, "platform", "page", "--print").stdout.strip()
        assert address.startswith(f"{told['page']}/#key=")
        key = address.partition("#key=")[2]
        opened = _run({**home, "BROWSER": "echo"}, "platform", "page").stdout
        file = Path(told["state_dir"]) / "page.html"
        assert file.as_uri() in opened
        assert key not in opened
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert address in file.read_text()
        assert key not in json.dumps(told)
    finally:
        _run(home, "platform", "stop")


@pytest.mark.rest
def test_the_demo_survives_kill_9(home: dict[str, str], tmp_path: Path) -> None:
    """Killed in the middle and run again, it continues: one session, one job per evaluation."""
    output = tmp_path / "demo.log"
    with output.open("w") as log:
        demo = subprocess.Popen([*COMMAND, "demo"], env=home, stdout=log, stderr=log)
        wait_until(lambda: "evaluation  10" in output.read_text(), seconds=90, what="the middle")
        demo.send_signal(signal.SIGKILL)
        assert demo.wait() == -signal.SIGKILL
    shown = _run(home, "demo").stdout
    energy = re.search(r"^energy +(\S+) Ha", shown, re.MULTILINE)
    jobs = re.search(r"^jobs +(\d+)", shown, re.MULTILINE)
    session = re.search(r"^session +(\S+)", shown, re.MULTILINE)
    assert energy
    assert jobs
    assert session
    assert float(energy[1]) == pytest.approx(-1.137306, abs=1e-3)
    assert "exact       -1.137306 Ha" in shown
    assert re.search(r"^cost +nothing; IBM would charge about \d+ s", shown, re.MULTILINE)
    assert "from the ledger" in shown
    assert "prefect server start" in shown.replace("\n", " ")
    stats = _stats(home)
    assert stats["sessions"]["total"] == 1
    assert stats["jobs"]["total"] == int(jobs[1])
    assert stats["jobs"]["by_session"] == {session[1]: int(jobs[1])}

    finished = _run(home, "demo").stdout
    assert "nothing was submitted" in finished.replace("\n", " ")
    told = json.loads(_run(home, "demo", "--json").stdout)
    assert (told["already_finished"], told["jobs"]) == (True, int(jobs[1]))
    assert told["report"]["run"]["session_ids"] == [session[1]]
    assert _stats(home)["jobs"]["total"] == int(jobs[1])

    fresh = _run(home, "demo", "--fresh").stdout
    assert session[1] not in fresh
    assert _stats(home)["sessions"]["total"] == 2


@pytest.mark.rest
def test_the_demo_uses_a_prefect_server_if_there_is_one(
    home: dict[str, str], prefect_server: str
) -> None:
    """With a server the demo is a flow run there."""
    shown = _run({**home, "PREFECT_API_URL": prefect_server}, "demo").stdout
    assert prefect_server.removesuffix("/api") in shown
    runs = httpx.post(
        f"{prefect_server}/flow_runs/filter",
        json={"flows": {"name": {"any_": ["h2-vqe-demo"]}}},
    ).json()
    assert [run["state"]["type"] for run in runs] == ["COMPLETED"]


def test_an_interrupted_demo_says_how_to_continue(home: dict[str, str]) -> None:
    """Ctrl-C ends it with exit code 130; with --json, stdout stays empty."""
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--json"],
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stderr is not None
    for line in demo.stderr:
        if "evaluation   1" in line:
            demo.send_signal(signal.SIGINT)
            break
    said, complained = demo.communicate(timeout=30)
    assert (demo.returncode, said) == (130, "")
    assert "Run it again to continue" in complained


@pytest.mark.parametrize(
    "command",
    [
        ("usage",),
        ("sessions", "list"),
        ("sessions", "orphans"),
        ("experiments", "list"),
        ("doctor", "--live", "--yes"),
    ],
)
def test_no_command_starts_a_prefect_server(home: dict[str, str], command: tuple[str, ...]) -> None:
    """Without one a Block cannot be loaded: that is said at once, with what to do."""
    port = str(free_port())  # none answers where Prefect's own would be, either
    alone = {name: one for name, one in home.items() if not name.startswith("PREFECT_API")}
    began = time.monotonic()
    refused = _run(
        {**alone, "PREFECT_SERVER_API_PORT": port},
        *command,
        *("--block", "mine"),
        code=ExitCode.NEEDS_OPERATOR if command[0] == "doctor" else ExitCode.WRONG_USAGE,
    )
    assert time.monotonic() - began < 20  # a server needs longer
    assert not (Path(home["PREFECT_HOME"]) / "prefect.db").exists()
    if command[0] != "doctor":
        assert "Block 'mine' is saved at a Prefect server, and none is configured" in refused.stderr


@pytest.mark.parametrize("command", [*commands()], ids=" ".join)
def test_every_command_teaches_and_speaks_json(command: tuple[str, ...]) -> None:
    """Every command has ``--json``, and an example in ``--help`` that names the command."""
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert re.search(rf"Example: .*session-block {' '.join(command)}", shown.stdout)
    assert "--json" in shown.stdout
    wrong = CliRunner().invoke(app, [*command, "--no-such-option"])
    assert wrong.exit_code == ExitCode.WRONG_USAGE


def test_help_lists_the_exit_codes() -> None:
    """All of them, each with its meaning."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert re.search(rf" {code.value}  {re.escape(meaning)}", shown)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SubmissionHeldError("Somebody has to decide."), ExitCode.NEEDS_OPERATOR),
        (LedgerUnavailableError("There is no ledger."), ExitCode.REFUSED),
    ],
)
def test_an_error_that_needs_a_person_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str], error: SessionBlockError, code: ExitCode
) -> None:
    """Scripts can see from it whether running again may help."""
    with pytest.raises(typer.Exit) as ended, reporting():
        raise error
    assert ended.value.exit_code == code
    assert str(error) in capsys.readouterr().err


def test_importing_the_package_loads_neither_prefect_nor_qiskit() -> None:
    """So the platform's processes and Prefect's server start fast."""
    for module, heavy in [
        ("session_block", {"prefect", "qiskit"}),
        ("session_block.blocks.quantum_session", {"qiskit"}),
    ]:
        code = f"import sys, {module}; print({heavy!r} & set(sys.modules))"
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert ran.stdout == "set()\n"
