"""Answers that no platform should give: waits where waiting helps, else errors of our own."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.client import Connection
from session_block.client.connection import Probe
from session_block.environment.environment import Environment
from session_block.errors import (
    ConnectionFailedError,
    InvalidInputError,
    SubmissionHeldError,
)
from session_block.experiments.experiment import Experiment
from session_block.ledger.database import DatabaseStore
from session_block.local_platform import LocalPlatform
from session_block.operations.submissions import Operator

JOB = {"method": "GET", "path": "/jobs/{job_id}", "kind": "status"}
RESULTS = {"method": "GET", "path": "/jobs/{job_id}/results", "kind": "status"}
TOKEN = {"method": "POST", "path": "/identity/token", "kind": "status"}
EMPTY = {"status": 200, "body": "{}"}


def opened(platform: LocalPlatform, tmp_path: Path) -> Experiment:
    """Return a new experiment with a ledger of its own."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
        backend_name=BACKEND,
        ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
    )
    return block.experiment(tmp_path.name)


def ask(experiment: Experiment, **options: Any) -> None:
    """Run one circuit in an experiment."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    assert experiment.run_sampler([circuit], shots=8, **options)[0].data.c.num_shots == 8


def jobs_of(platform: LocalPlatform, experiment: Experiment) -> int:
    """Return how many jobs the server counted for an experiment."""
    return int(platform.stats()["jobs"]["by_tag"].get(f"qs-uid:{experiment.uid}", 0))


STRANGE: dict[str, dict[str, Any]] = {
    "an empty job": {**JOB, **EMPTY, "times": 2},
    "a list for a job": {**JOB, "status": 200, "body": "[]"},
    "a page for a job": {**JOB, "status": 200, "body": "<html></html>"},
    "a job not to be seen yet": {**JOB, "status": 404, "times": 3},
    "an empty result": {**RESULTS, **EMPTY},
    "a page for a result": {**RESULTS, "status": 200, "body": "<html></html>"},
    "an empty answer to the job": {**EMPTY, "method": "POST", "path": "/jobs", "kind": "status"}
    | {"effect": "after"},
    "an empty session": {
        **EMPTY,
        "method": "GET",
        "path": "/sessions/{session_id}",
        "kind": "status",
    },
}


@pytest.mark.rest
@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_answer_only_delays(own: LocalPlatform, tmp_path: Path, name: str) -> None:
    """The next answer is a good one, and there is one job."""
    experiment = opened(own, tmp_path)
    experiment.open_session()
    if name == "an empty session":
        experiment = opened(own, tmp_path)  # which reattaches
    own.add_fault(**STRANGE[name])
    ask(experiment)
    assert all(rule["used"] for rule in own.faults())
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_an_opening_that_names_no_session_is_an_error_of_ours(
    own: LocalPlatform, tmp_path: Path
) -> None:
    """Nobody knows whether there is a session, so it is lost; the next call opens another."""
    experiment = opened(own, tmp_path)
    own.add_fault(method="POST", path="/sessions", kind="status", **EMPTY)
    with pytest.raises(ConnectionFailedError, match="names no session"):
        ask(experiment)
    ask(experiment)
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_job_that_stays_unknown_is_held(own: LocalPlatform, tmp_path: Path) -> None:
    """After the settle window nobody expects it any more; the message names the command."""
    experiment = opened(own, tmp_path)
    own.add_fault(**JOB, status=404, times=None)
    began = time.monotonic()
    with pytest.raises(SubmissionHeldError, match="session-block submissions retry"):
        ask(experiment)
    assert time.monotonic() - began >= 1.0
    own.clear_faults()
    ask(experiment)
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_private_result_is_read_once(own: LocalPlatform, tmp_path: Path) -> None:
    """If the one answer is lost, the error does not send the user round in circles."""
    experiment = opened(own, tmp_path)
    own.add_fault(**{**RESULTS, "status": 500, "effect": "after"})
    with pytest.raises(SubmissionHeldError, match="can be read only once") as caught:
        ask(experiment, options={"environment": {"private": True}})
    assert f"submissions retry {experiment.uid} {caught.value.submission}" in str(caught.value)
    assert "Run again to look once more" not in str(caught.value)


@pytest.mark.parametrize("given", ["a/b", "../sessions", "a?b=c", "a#b", "", ".", "a b", "ä"])
def test_an_id_does_not_lead_to_another_address(own: LocalPlatform, given: str) -> None:
    """It is refused before anything is asked, wherever an ID is given."""
    connection = Connection(LocalPlatformCredentials(state_dir=own.info.state_dir).account()).open()
    probe = Probe(connection)
    before = own.stats()["requests"]
    for look in (
        connection.jobs.get,
        connection.jobs.metrics,
        connection.jobs.of_session,
        connection.sessions.look,
        probe.job,
        probe.session,
        probe.metrics,
    ):
        with pytest.raises(InvalidInputError, match="is no ID of a"):
            look(given)
    after = own.stats()["requests"]
    assert {name: n for name, n in after.items() if "_local" not in name} == {
        name: n for name, n in before.items() if "_local" not in name
    }


def test_an_operator_adopts_no_address(own: LocalPlatform, tmp_path: Path) -> None:
    """A job's ID is checked before it is recorded for ever."""
    experiment = opened(own, tmp_path)
    ask(experiment)
    [row] = experiment.load(tmp_path.name, experiment._journal.ledger).submissions()
    with pytest.raises(InvalidInputError, match="is no ID of a job"):
        Operator(experiment._journal.ledger).adopt(tmp_path.name, row["submission"], "a/b")


def test_a_token_service_that_is_down_prolongs_the_wait(own: LocalPlatform, tmp_path: Path) -> None:
    """The token is refused in the middle of a run, and its service is down for a while."""
    experiment = opened(own, tmp_path)
    experiment.open_session()
    own.add_fault(**{**JOB, "kind": "expire_tokens"})
    own.add_fault(**TOKEN, status=503, times=5)
    ask(experiment)
    assert all(rule["used"] == (rule["times"] or 0) for rule in own.faults())
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_token_that_is_refused_with_its_service_down(own: LocalPlatform, tmp_path: Path) -> None:
    """The same for a submission: it is refused, and sent once the token is there."""
    experiment = opened(own, tmp_path)
    experiment.open_session()
    own.add_fault(kind="expire_tokens", method="POST", path="/jobs")
    own.add_fault(**TOKEN, status=503, times=3)
    ask(experiment)
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_run_that_begins_in_an_outage_waits(own: LocalPlatform, tmp_path: Path) -> None:
    """Connecting waits like everything else, for the token service and for the platform."""
    experiment = opened(own, tmp_path)
    own.add_fault(**TOKEN, status=503, times=3)
    own.add_fault(kind="drop", method="GET", path="/backends/*", times=4)
    own.add_fault(kind="status", method="GET", path="/backends/*", status=429, times=2)
    ask(experiment)
    assert jobs_of(own, experiment) == 1


@pytest.mark.rest
def test_a_run_that_begins_before_the_platform_waits(tmp_path: Path) -> None:
    """Nothing listens yet when the run begins."""
    with LocalPlatform(tmp_path / "platform", interactive_seconds=1) as platform:
        info = platform.info
        credentials = IBMSessionCredentials(
            token=SecretStr(info.token), url=info.url, instance=info.instance
        )
        block = QuantumSession(
            credentials=credentials,
            backend_name=BACKEND,
            ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
        )
        experiment = block.experiment("early")
        platform.kill()
        thread = threading.Thread(target=ask, args=(experiment,))
        thread.start()
        time.sleep(1)
        assert thread.is_alive()
        platform.restart()
        thread.join(60)
        assert jobs_of(platform, experiment) == 1


class Impatient(Environment):
    """A world in which a long pause takes no time."""

    def __init__(self) -> None:
        super().__init__(DatabaseStore)
        self.skipped = 0.0

    def monotonic(self) -> float:
        """Return a time that knows of the pauses that were skipped."""
        return super().monotonic() + self.skipped

    def pause(self, seconds: float) -> None:
        """Skip a long pause."""
        if seconds > 5:
            self.skipped += seconds
        else:
            super().pause(seconds)


@pytest.mark.rest
def test_a_wait_beyond_the_sessions_life_is_said(
    own: LocalPlatform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The user hears that the session is of no use any more, before the hour passes."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=own.info.state_dir),
        backend_name=BACKEND,
        max_time="10m",
        ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
    )
    experiment = block.experiment(tmp_path.name)
    world = Impatient()
    ask(experiment)
    submitter = experiment._parts.submitter
    submitter._environment = submitter._limiter._environment = world
    own.add_fault(
        method="POST", path="/jobs", kind="status", status=429, code=1202, retry_after=86_400
    )
    with caplog.at_level(logging.WARNING):
        ask(experiment, label="second")
    assert "asks to wait 86400 s" in caplog.text
    assert "its session ends in" in caplog.text
    assert world.skipped == pytest.approx(3600, abs=1)
    assert jobs_of(own, experiment) == 2
