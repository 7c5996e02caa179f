"""A newcomer's first hour on a clean machine, by the commands that the pages tell to type."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from postgres import Postgres
from snippets import ROOT, snippets
from support import free_port

from session_block import local_platform
from session_block.local_platform import Admin

SYSTEM_PYTHON = shutil.which(os.environ.get("PYTHON", "python3"))
"""The one that has pip."""

HELD = """
from qiskit import QuantumCircuit

from session_block import LocalPlatformCredentials, QuantumSession

block = QuantumSession(
    credentials=LocalPlatformCredentials(), backend_name="ibm_manila", unsettled="hold"
)
circuit = QuantumCircuit(1)
circuit.x(0)
circuit.measure_all()
with block.experiment("my-experiment") as experiment:
    pinned = experiment.transpile(circuit)
    experiment.open_session()
    print(experiment.run_sampler([pinned], shots=16)[0].data.meas.get_counts())
"""


class Newcomer:
    """Somebody with a checkout, an empty home, and a shell."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.work = directory / "work"
        self.home = directory / "home"
        self.work.mkdir()
        subprocess.run(["git", "clone", "-q", ROOT, self.checkout], check=True)
        unwanted = ("PREFECT_", "SESSION_BLOCK_", "QISKIT_", "PYTHON", "MAKE", "VIRTUAL_ENV")
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(unwanted)},
            "PREFECT_HOME": str(self.home),
            "PATH": f"{self.checkout}/.venv/bin:{os.environ['PATH']}",
            "COLUMNS": "200",
        }

    def types(self, command: str, *, code: int = 0, where: Path | None = None) -> str:
        """Run a command, which must end so, and return what it prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=where or self.work,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-3000:]}"
        return done.stdout

    @contextmanager
    def beside(self, command: str, where: Path | None = None) -> Iterator[Callable[[], str]]:
        """Run a command in another terminal, and give what it has printed so far."""
        output = self.work / "other-terminal"
        with output.open("wb") as printed:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=where or self.work,
                env=self.environment,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        try:
            yield output.read_text
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    @property
    def platform(self) -> Admin:
        """What counts at the local platform that runs in this home."""
        found = local_platform.find(self.home / "session-block" / "platform")
        assert found is not None
        return Admin.of(found)

    def jobs(self, experiment: str) -> int:
        """How many jobs of an experiment the platform has ever seen."""
        return int(self.platform.stats()["jobs"]["by_tag"].get(f"qs-exp:{experiment}", 0))

    def leaves(self) -> None:
        """Stop all that still runs in this home."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("PREFECT_HOME") == str(self.home):
                    process.kill()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """One newcomer, who goes through everything in order."""
    somebody = Newcomer(tmp_path_factory.mktemp("newcomer"))
    yield somebody
    somebody.leaves()


def _told(page: str, command: str) -> str:
    """Return a command as it is; its page must tell to type it."""
    assert command in (ROOT / page).read_text(), f"{page} does not tell: {command}"
    return command


def _until(happened: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)


@pytest.mark.nightly
def test_the_demo_is_killed_and_goes_on(newcomer: Newcomer) -> None:
    """README: `make demo`, kill -9 in the middle, `make demo`: one session, each job once."""
    demo = _told("README.md", "make demo")
    with newcomer.beside(demo, newcomer.checkout) as said:
        _until(lambda: "evaluation  10" in said(), 480, "the demo works")
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline()[-1:] == ["demo"] and str(newcomer.checkout) in process.cwd():
                    process.kill()
    said_again = newcomer.types(demo, where=newcomer.checkout)
    assert "from the ledger" in said_again
    jobs = re.search(r"^jobs +(\d+)", said_again, re.MULTILINE)
    assert jobs is not None
    stats = newcomer.platform.stats()
    assert stats["requests"]["POST /jobs"] == int(jobs[1])
    assert stats["requests"]["POST /sessions"] == 1


@pytest.mark.nightly
def test_a_hamiltonian_of_their_own_is_killed_and_goes_on(newcomer: Newcomer) -> None:
    """The tutorial's program, killed after its tenth job, and run twice more."""
    page = (ROOT / "docs/tutorial.md").read_text()
    (program,) = (one for one in snippets(page, "python") if one.title == "chain.py")
    (newcomer.work / "chain.py").write_text(program.text)
    killed, again, shown = (one.text for one in snippets(page, "bash"))
    assert "killed" in newcomer.types(killed)
    assert "9 evaluations are recorded already" in newcomer.types(again)
    jobs = newcomer.jobs("chain-of-three")
    assert "energy" in newcomer.types(again)
    assert newcomer.jobs("chain-of-three") == jobs
    assert "finished" in newcomer.types(shown)


@pytest.mark.nightly
def test_it_is_scheduled(newcomer: Newcomer) -> None:
    """The pages' deployment runs with their Hamiltonian, and its schedule is switched on."""
    port = free_port()
    run = _told("docs/tutorial.md", "session-block deployment run vqe/h2-nightly --watch")
    parameter = _told(
        "docs/tutorial.md", """hamiltonian='[["ZZ", 1.0], ["XI", 0.5], ["IX", 0.5]]'"""
    )
    listing = _told("docs/how-to/schedule.md", "prefect deployment schedule ls vqe/h2-nightly")
    resume = _told(
        "docs/how-to/schedule.md", "prefect deployment schedule resume vqe/h2-nightly SCHEDULE-ID"
    )
    up = _told("docs/tutorial.md", "session-block up")
    with newcomer.beside(f"{up} --server-port {port}") as said:
        _until(lambda: "In another shell" in said(), 240, "all is up")
        newcomer.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        string = re.search(r'export PREFECT_API_AUTH_STRING="\$\(cat (\S+)\)"', said())
        assert string is not None
        newcomer.environment["PREFECT_API_AUTH_STRING"] = Path(string[1]).read_text()
        watched = newcomer.types(
            f"{run} --param {parameter} --param optimizer_options='{{\"maxiter\": 12}}'"
        )
        assert "is Completed" in watched
        assert re.search(r"^best +-\d", watched, re.MULTILINE)
        (schedule,) = set(
            re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", newcomer.types(listing))
        )
        newcomer.types(resume.replace("SCHEDULE-ID", schedule))
        planned = "prefect flow-run ls --state Scheduled --flow-name vqe"
        _until(lambda: "SCHEDULED" in newcomer.types(planned), 120, "the night is planned")
    del newcomer.environment["PREFECT_API_URL"], newcomer.environment["PREFECT_API_AUTH_STRING"]


@pytest.mark.nightly
def test_a_held_submission_is_found_and_adopted(newcomer: Newcomer) -> None:
    """The job is there, and its listing is late: a person looks, and says which it is."""
    newcomer.types("session-block platform start")
    (newcomer.work / "held.py").write_text(HELD)
    platform = newcomer.platform
    platform.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
    platform.add_fault(kind="listing_lag", seconds=3600, times=None)
    assert "SubmissionHeldError" in newcomer.types("python held.py", code=1)
    platform.clear_faults()
    jobs = newcomer.jobs("my-experiment")
    assert jobs == 1
    waiting = _told("docs/how-to/recover.md", "session-block submissions list --held")
    (held,) = json.loads(newcomer.types(f"{waiting} --json", code=3))
    job_id = platform.jobs(limit=1)[0]["id"]
    adopt = _told(
        "docs/how-to/recover.md", "session-block submissions adopt my-experiment 3f0c JOB-ID"
    )
    newcomer.types(adopt.replace("3f0c", held["submission"][:4]).replace("JOB-ID", job_id))
    assert "'1': 16" in newcomer.types("python held.py")
    assert newcomer.jobs("my-experiment") == jobs
    newcomer.types(waiting)


@pytest.mark.nightly
def test_the_ledger_moves_to_postgresql(newcomer: Newcomer, postgres: Postgres) -> None:
    """Copied by one command; what was finished is still, and nothing is submitted again."""
    driver = _told("docs/how-to/postgresql.md", "'psycopg[binary]'")
    pip = f"{SYSTEM_PYTHON} -m pip --python .venv/bin/python install -q -c constraints.txt"
    newcomer.types(f"{pip} {driver}", where=newcomer.checkout)
    before = json.loads(newcomer.types("session-block experiments list --json"))
    copy = _told("docs/how-to/postgresql.md", "session-block ledger copy")
    listing = _told("docs/how-to/postgresql.md", "session-block experiments list")
    newcomer.environment["SESSION_BLOCK_LEDGER_URL"] = postgres.new_store()
    assert "0 were already there" in newcomer.types(copy)
    (newcomer.home / "session-block" / "ledger.db").rename(newcomer.work / "put-away.db")
    assert json.loads(newcomer.types(f"{listing} --json")) == before
    jobs = newcomer.platform.stats()["requests"]["POST /jobs"]
    assert "energy" in newcomer.types("python chain.py")
    assert "'1': 16" in newcomer.types("python held.py")
    assert newcomer.platform.stats()["requests"]["POST /jobs"] == jobs
