"""A newcomer's first hour on a clean machine, by the commands that the pages tell to type."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from chromium import CHROMIUM, chromium
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from playwright.sync_api import expect
from postgres import Postgres
from snippets import ROOT, snippets
from support import free_port
from terminal import Terminal

from session_block import local_platform
from session_block.local_platform import Admin

MOST_LINES = 40
KERNEL_SECONDS = 120
MOST_SECONDS = 15 * 60.0
POINTS = (0.0, 0.5, 1.0, 1.5)
"""Those of the README's program."""

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

    def types(
        self,
        command: str,
        *,
        code: int = 0,
        where: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command, which must end so, and return what it prints."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=where or self.work,
            env={**self.environment, **(extra or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-3000:]}"
        return done.stdout

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


class FirstHour:
    """What a newcomer does first, in two terminals, a browser and a notebook's kernel."""

    def __init__(self, newcomer: Newcomer, screens: Path) -> None:
        self._newcomer = newcomer
        self._screens = screens
        environment = {**newcomer.environment, "COLUMNS": "", "HOME": str(newcomer.home.parent)}
        environment["PATH"] = os.environ["PATH"]
        environment["PREFECT_HOME"] = str(newcomer.home)
        del environment["COLUMNS"]
        self._first = Terminal(newcomer.checkout, environment)
        self._second = Terminal(newcomer.checkout, environment)
        self._others: list[str] = []
        self._kept = 0

    @property
    def typed(self) -> list[str]:
        """All lines that were typed, wherever."""
        return [*self._first.typed, *self._second.typed, *self._others]

    def leave(self) -> None:
        """Close both terminals."""
        self._second.close()
        self._first.close()

    def demo_is_killed_and_goes_on(self) -> None:
        """`make demo`, `kill -9` as its screen says, `make demo`: one session, each job once."""
        demo = _told("README.md", "make demo")
        self._first.type(demo)
        kill = self._first.await_text(r"kill -9 (\d+)", seconds=480)
        self._first.await_text(r"\b1\d of|\b1\d\b.*evaluation|evaluation +1\d", seconds=120)
        self._keep("demo", self._first.seen())
        self._second.run(kill[0], seconds=10)
        assert self._first.ends(seconds=30) != 0
        self._keep("demo-killed", self._first.seen())
        again = self._first.run(demo, seconds=240)
        self._keep("demo-again", again)
        assert "ledger" in again
        stats = self._newcomer.platform.stats()
        jobs = {one["id"] for one in self._newcomer.platform.jobs(limit=200)}
        assert stats["requests"]["POST /jobs"] == len(jobs)
        assert stats["requests"]["POST /sessions"] == 1

    def own_problem_is_killed_and_goes_on(self) -> None:
        """The README's program with another Hamiltonian; then more points of it."""
        for terminal in (self._first, self._second):
            terminal.run('export PATH="$PWD/.venv/bin:$PATH"', seconds=10)
        terms = 'SparsePauliOp(["ZZ", "XI", "IX"])'
        own = 'SparsePauliOp(["ZZ", "XI", "IX"], [1.0, 0.5, 0.5])'
        (program,) = (
            one.text
            for one in snippets((ROOT / "README.md").read_text(), "python")
            if terms in one.text
        )
        program = "\n".join(one for one in program.replace(terms, own).splitlines() if one.strip())
        self._first.run(f"cat > pair.py <<'EOF'\n{program}\nEOF", seconds=10)
        crash = 'SESSION_BLOCK_CRASH_AT="record outcome, after:3" python pair.py'
        killed = self._first.run(crash, seconds=60, code=128 + signal.SIGKILL)
        self._keep("own-killed", killed)
        again = self._first.run("python pair.py", seconds=60)
        self._keep("own-again", again)
        assert self._newcomer.jobs("ising-pair") == len(POINTS)
        more = "s/(0.0, 0.5, 1.0, 1.5)/(0.0, 0.5, 1.0, 1.5, 2.0, 2.5)/"
        extend = 's/"ising-pair"/"ising-pair", extend=True/'
        self._first.run(f"sed -i '{more}; {extend}' pair.py", seconds=10)
        self._keep("own-more", self._first.run("python pair.py", seconds=60))
        assert self._newcomer.jobs("ising-pair") == len(POINTS) + 2
        self._keep("show", self._first.run("session-block experiments show ising-pair", seconds=20))

    def it_is_scheduled_and_reported(self) -> None:
        """The pages' deployment runs, its schedule is on, and its report is read."""
        told = partial(_told, "docs/tutorial.md")
        planned = partial(_told, "docs/how-to/schedule.md")
        port = free_port()
        self._second.type(f"{told('session-block up')} --server-port {port}")
        self._second.await_text("In another shell", seconds=240)
        self._keep("up", self._second.seen())
        string = self._newcomer.home / "session-block" / "up" / "server-auth"
        self._first.run(f"export PREFECT_API_URL=http://127.0.0.1:{port}/api", seconds=10)
        self._first.run(f'export PREFECT_API_AUTH_STRING="$(cat {string})"', seconds=10)
        parameter = told("""hamiltonian='[["ZZ", 1.0], ["XI", 0.5], ["IX", 0.5]]'""")
        run = told("session-block deployment run vqe/h2-nightly --watch")
        few = """optimizer_options='{"maxiter": 12}'"""
        watched = self._first.run(f"{run} --param {parameter} --param {few}", seconds=240)
        self._keep("deployment-run", watched)
        assert "is Completed" in watched
        assert re.search(r"^best +-\d", watched, re.MULTILINE)
        listing = planned("prefect deployment schedule ls vqe/h2-nightly")
        listed = self._first.run(listing, seconds=60)
        self._keep("schedules", listed)
        in_full = self._newcomer.types(listing, extra=self._prefect(port, string))
        (schedule,) = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", in_full))
        resume = planned("prefect deployment schedule resume vqe/h2-nightly SCHEDULE-ID")
        self._first.run(resume.replace("SCHEDULE-ID", schedule), seconds=60)
        look = "prefect flow-run ls --state Scheduled --flow-name vqe"
        _until(
            lambda: "SCHEDULED" in self._newcomer.types(look, extra=self._prefect(port, string)),
            120,
            "the night is planned",
        )
        self._read_the_report(f"http://127.0.0.1:{port}", string.read_text().strip())
        self._second.interrupt()
        self._second.ends(seconds=90)

    def it_is_looked_at_in_a_notebook(self) -> None:
        """Two lines in a kernel show the experiment, with its plot."""
        lines = ["from session_block import Experiment", 'Experiment.load("ising-pair")']
        self._others += lines
        html = _shown_by_a_kernel("\n".join(lines), self._newcomer)
        assert "ising-pair" in html
        page = self._screens / f"{self._number()}-notebook.html"
        page.write_text(f"<!doctype html><meta charset=utf-8>{html}")
        with chromium() as browser:
            opened = browser.new_page()
            opened.set_content(page.read_text())
            opened.screenshot(path=page.with_suffix(".png"), full_page=True)

    def _read_the_report(self, origin: str, string: str) -> None:
        """Sign in, open the last run of the flow and its report, in light and in dark."""
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"{origin}/v2/runs")
            page.get_by_placeholder("admin:pass").fill(string)
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/login" not in url)
            page.goto(f"{origin}/v2/artifacts")
            page.get_by_text(re.compile("^experiment-[0-9a-f]+$")).first.click()
            page.locator("a[href*='/artifacts/artifact/']").first.click()
            expect(page.get_by_role("img", name="convergence")).to_be_visible()
            page.screenshot(path=self._screens / f"{self._number()}-report.png", full_page=True)

    @staticmethod
    def _prefect(port: int, string: Path) -> dict[str, str]:
        return {
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_API_AUTH_STRING": string.read_text().strip(),
        }

    def _keep(self, name: str, screen: str) -> None:
        (self._screens / f"{self._number()}-{name}.txt").write_text(screen + "\n")

    def _number(self) -> str:
        self._kept += 1
        return f"{self._kept:02}"


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """One newcomer, who goes through everything in order."""
    somebody = Newcomer(tmp_path_factory.mktemp("newcomer"))
    yield somebody
    somebody.leaves()


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screens are kept: the directory that FIRST_HOUR names, or a temporary one."""
    named = os.environ.get("FIRST_HOUR")
    directory = Path(named) if named else tmp_path_factory.mktemp("first-hour")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _shown_by_a_kernel(cell: str, newcomer: Newcomer) -> str:
    """Run a cell in a notebook's kernel, and return the HTML of what it shows."""
    manager = KernelManager(
        kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
    )
    manager.start_kernel(
        env={
            **newcomer.environment,
            "PYTHONPATH": str(newcomer.checkout),
            "IPYTHONDIR": str(newcomer.work / "ipython"),
        }
    )
    client = manager.blocking_client()
    client.start_channels()
    shown: list[str] = []
    try:
        client.wait_for_ready(timeout=KERNEL_SECONDS)
        reply = client.execute_interactive(
            cell,
            timeout=KERNEL_SECONDS,
            output_hook=lambda message: shown.append(
                message["content"].get("data", {}).get("text/html", "")
            ),
        )
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    return "".join(shown)


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
@pytest.mark.skipif(CHROMIUM is None, reason="`make browser` installs Chromium")
def test_the_first_hour(newcomer: Newcomer, screens: Path) -> None:
    """README, demo, kill, resume, own problem, more of it, schedule, report: all as typed.

    In at most 40 typed lines and 15 minutes of this machine's time. Every screen is kept in
    ``screens``, to be looked at.
    """
    began = time.monotonic()
    hour = FirstHour(newcomer, screens)
    try:
        hour.demo_is_killed_and_goes_on()
        hour.own_problem_is_killed_and_goes_on()
        hour.it_is_scheduled_and_reported()
        hour.it_is_looked_at_in_a_notebook()
    finally:
        hour.leave()
    seconds = time.monotonic() - began
    typed = [line for line in hour.typed if line.strip()]
    (screens / "typed.txt").write_text("\n".join([*typed, f"({seconds:.0f} s)"]) + "\n")
    assert len(typed) <= MOST_LINES, typed
    assert seconds <= MOST_SECONDS


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
