"""``session-block up``: a lab on one machine, that ends in good order and goes on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    temporary_settings,
)
from prefect_helpers import CHECKOUT, eventually, flow_run, in_state
from support import Platform, free_port

from session_block import LocalPlatformCredentials, QuantumSession, local_platform
from session_block.lab.deployment import BLOCK
from session_block.lab.prefect_server import OwnServer, answers

pytestmark = pytest.mark.rest

NIGHTLY = "vqe/h2-nightly"
EVALUATIONS = 14
MANY_EVALUATIONS = 70
"""A run of so many outlasts the start of another ``up``, while nobody has stopped its worker."""

COMMAND = [sys.executable, "-m", "session_block"]
SYSTEM_PYTHON = os.environ.get("PYTHON", "python3")
"""The one that has pip."""


class Lab:
    """A home of its own, in which ``session-block up`` is started and ended."""

    def __init__(self, home: Path, command: list[str]) -> None:
        self._home = home
        self._command = command
        self._output = home / "output"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        with temporary_settings({PREFECT_HOME: home}):
            self.auth_string = OwnServer().prepare().get_secret_value()
        # An evaluation takes long enough for a run to have a middle.
        local_platform.start(self._state_dir, job_seconds=0.3)
        local_platform.stop(self._state_dir)

    @property
    def _state_dir(self) -> Path:
        return self._home / "session-block" / "platform"

    @property
    def api_url(self) -> str:
        """The API of its Prefect server."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def platform(self) -> Platform:
        """Its local platform."""
        found = local_platform.find(self._state_dir)
        assert found is not None
        return Platform(found)

    def start(self) -> None:
        """Start it, and wait until it says that it is up."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._command, "up", "--server-port", str(self.port)],
                cwd=self._home,
                env={**os.environ, "PREFECT_HOME": str(self._home)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        eventually(lambda: "In another shell" in self.said(), seconds=240, what="it is up")

    def said(self) -> str:
        """What it has written; it must not have ended."""
        said = self._output.read_text()
        assert self._process is not None
        assert self._process.poll() is None, said
        return said

    def end(self, number: signal.Signals = signal.SIGINT) -> str:
        """End it by a signal, and return what it has written; it must end well."""
        assert self._process is not None
        self._process.send_signal(number)
        assert self._process.wait(60) == 0, self._output.read_text()
        return self._output.read_text()

    def processes(self) -> list[psutil.Process]:
        """Return all processes of this home, whoever has started them."""
        return [one for one in psutil.process_iter() if self._is_of_this_home(one)]

    def kill(self) -> None:
        """Kill every one of its processes, as a power cut would."""
        processes = self.processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)
        if self._process is not None:
            self._process.wait(10)

    def kill_itself(self) -> None:
        """Kill ``up`` alone; what it has started goes on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _is_of_this_home(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("PREFECT_HOME") == str(self._home)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


@contextmanager
def _lab(home: Path, command: list[str] = COMMAND) -> Iterator[Lab]:
    lab = Lab(home, command)
    try:
        reaching = {PREFECT_API_URL: lab.api_url, PREFECT_API_AUTH_STRING: lab.auth_string}
        with temporary_settings(reaching):
            yield lab
    finally:
        lab.kill()


def _begin_a_run(lab: Lab, evaluations: int = EVALUATIONS) -> UUID:
    """Start a run of the nightly deployment, and wait until it is in its middle."""
    parameters = {
        "seed": 3,
        "optimizer": "SPSA",
        "optimizer_options": {"maxiter": evaluations - 1},  # a job each, and one for the end
    }
    run = run_deployment(NIGHTLY, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    eventually(lambda: lab.platform.jobs_named(str(run.id)) >= 4, seconds=120, what="jobs are sent")
    return run.id


def _check_that_it_ends_in_its_session(lab: Lab, run: UUID, evaluations: int = EVALUATIONS) -> None:
    jobs = lab.platform.jobs_named
    eventually(lambda: jobs(str(run)) == evaluations, seconds=180, what="all jobs are sent")
    eventually(in_state(run, "Completed"), seconds=60, what="the run is Completed")
    assert jobs(str(run)) == evaluations
    assert lab.platform.sessions() == 1


def _switch_on() -> None:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(NIGHTLY)
        [schedule] = deployment.schedules
        assert not schedule.active
        client.update_deployment_schedule(deployment.id, schedule.id, active=True)


@pytest.mark.nightly
def test_up_runs_ends_in_good_order_and_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a run leaves no process and an open session; the next up goes on."""
    with _lab(tmp_path) as lab:
        lab.start()
        said = _fails(tmp_path)
        assert re.search(rf"runs already \(process \d+: {lab.api_url}\)", said)
        _switch_on()
        run = _begin_a_run(lab)

        said = lab.end()
        assert "Flow runs that continue when there is a worker again: 1" in said
        assert lab.processes() == []
        logs = re.search(r"Logs +(.*)", said)
        assert logs is not None
        assert "Worker" in (Path(logs[1]) / "worker.log").read_text()

        lab.start()
        assert {session["state"] for session in lab.platform.admin.sessions()} != {"closed"}
        _check_that_it_ends_in_its_session(lab, run)
        with get_client(sync_client=True) as client:
            automations = [one.name for one in client.read_automations()]
            deployments = client.read_deployments()
            nightly = client.read_deployment_by_name(NIGHTLY)
        assert len(automations) == len(set(automations)) > 0
        assert len(deployments) == 4
        assert [schedule.active for schedule in nightly.schedules] == [True]
        lab.end(signal.SIGTERM)
        assert lab.processes() == []


@pytest.mark.nightly
@pytest.mark.parametrize("everything", [False, True], ids=["only up", "all processes"])
def test_a_killed_up_goes_on_as_well(tmp_path: Path, everything: bool) -> None:
    """After kill -9 the next up ends what is left, and the run goes on at once in its session."""
    with _lab(tmp_path) as lab:
        lab.start()
        run = _begin_a_run(lab, MANY_EVALUATIONS)
        time.sleep(1.5)  # it looks once a second which flow runs it has
        if everything:
            lab.kill()
        else:
            lab.kill_itself()
        lab.start()
        assert "Interrupted flow runs that now continue: 1" in lab.said()
        assert len([one for one in lab.processes() if "worker" in one.cmdline()]) == 1
        _check_that_it_ends_in_its_session(lab, run, MANY_EVALUATIONS)
        assert flow_run(run).run_count == 2
        lab.end()
        assert lab.processes() == []


def _installed_as_the_image(directory: Path) -> Path:
    """Do what the Dockerfile says in an empty environment; return the directory of its commands."""
    recipe = (CHECKOUT / "deployments" / "Dockerfile").read_text().replace("\\\n", "")
    source, wheels, environment = (directory / name for name in ("source", "wheels", "venv"))
    source.mkdir()
    for names in re.findall(r"^COPY (.*) \S+$", recipe, re.MULTILINE):
        for name in names.split():
            copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
            copy(CHECKOUT / name, source / name)
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", environment], check=True)
    pip = f"{SYSTEM_PYTHON} -m pip --python {environment}/bin/python"
    lines = re.findall(r"^RUN .*?(pip .*)$", recipe, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        command = line.replace("/wheels", str(wheels)).replace("pip ", f"{pip} ", 1)
        done = subprocess.run(
            ["sh", "-c", command.replace("/constraints.txt", str(CHECKOUT / "constraints.txt"))],
            cwd=source,
            env={"EXTRAS": "postgres", **os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return environment / "bin"


@pytest.mark.nightly
def test_an_installed_wheel_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the image's recipe installs brings a lab up in an empty directory, and runs in it."""
    commands = _installed_as_the_image(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    with _lab(home, [str(commands / "session-block")]) as lab:
        lab.start()
        run = _begin_a_run(lab)
        _check_that_it_ends_in_its_session(lab, run)
        assert all(str(CHECKOUT) not in " ".join(one.cmdline()) for one in lab.processes())
        lab.end()
        assert lab.processes() == []


def _fails(tmp_path: Path, *options: str, **environment: str) -> str:
    """Run ``session-block up``, which must refuse, and return what it complains of."""
    done = subprocess.run(
        [*COMMAND, "up", *options],
        env={**os.environ, "PREFECT_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_a_taken_port_of_the_server_is_said(tmp_path: Path) -> None:
    """A port that something else listens at is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = _fails(tmp_path, "--server-port", str(port))
    assert f"Port {port} is taken" in said
    assert "give another one with --server-port" in said


def test_a_taken_port_of_the_platform_is_said(tmp_path: Path, prefect_server: str) -> None:
    """So is one of the local platform, and a Prefect server that was found goes on."""
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        # Other tests keep Blocks of this name on the server too.
        QuantumSession(
            credentials=LocalPlatformCredentials(state_dir=tmp_path / "platform"),
            backend_name="ibm_manila",
        ).save(BLOCK, overwrite=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = _fails(tmp_path, "--platform-port", port, PREFECT_API_URL=prefect_server)
    assert "The local platform cannot be started" in said
    assert port in said
    assert answers(prefect_server)


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    """A Prefect server on another machine that is configured, but silent, is not replaced."""
    said = _fails(tmp_path, PREFECT_API_URL="http://prefect.invalid/api")
    assert "http://prefect.invalid/api, does not answer" in said
    assert "--server-port" in said
