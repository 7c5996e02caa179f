"""Every fault, and what the real client makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psutil
import pytest
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform
from session_block.local_platform import LocalPlatform, PlatformError
from session_block.local_platform.api.local_access import KEY_HEADER

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qiskit import QuantumCircuit
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService, RuntimeJobV2

JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalPlatform]:
    """A platform for this file, whose log stays empty: no fault is an error of the server's."""
    with LocalPlatform(interactive_seconds=1) as platform:
        yield platform
        assert (platform.info.state_dir / "platform.log").read_text() == ""


@pytest.fixture
def faulty(shared: LocalPlatform) -> Iterator[LocalPlatform]:
    """The platform of this file, without rules before and after."""
    yield shared
    shared.clear_faults()


@pytest.fixture(scope="module")
def client(shared: LocalPlatform) -> QiskitRuntimeService:
    """The real client, connected to it."""
    return shared.service()


@pytest.fixture(scope="module")
def device(client: QiskitRuntimeService) -> IBMBackend:
    """Its smallest backend."""
    return client.backend("ibm_manila")


@pytest.fixture(scope="module")
def circuit(device: IBMBackend) -> QuantumCircuit:
    """A circuit for it."""
    return isa(bell(), device)


def submit(mode: object, circuit: QuantumCircuit, *tags: str) -> RuntimeJobV2:
    """Submit a job with tags."""
    return Sampler(mode, options={"environment": {"job_tags": list(tags)}}).run([circuit])


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for a condition, and fail if it stays away."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 seconds"
        time.sleep(0.05)


def jobs_of(platform: LocalPlatform, tag: str) -> int:
    """Return how many jobs with a tag the platform has."""
    return int(platform.stats()["jobs"]["by_tag"].get(tag, 0))


def test_503_is_sat_out(faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit) -> None:
    """The client sends a POST again after a 503, twice if need be, and there is one job."""
    rule = faulty.add_fault(kind="status", method="POST", path="/jobs", status=503, times=2)
    tag = uuid4().hex
    assert submit(device, circuit, tag).result() is not None
    assert jobs_of(faulty, tag) == 1
    (kept,) = faulty.faults()
    assert (kept["id"], kept["seen"], kept["used"]) == (rule, 3, 2)


def test_a_body_is_sent_as_it_is(faulty: LocalPlatform) -> None:
    """A page as a firewall sends it, and a success of another form; no success without a body."""
    at = {"kind": "status", "method": "GET", "path": "/jobs"}
    faulty.add_fault(**at, status=403, body="<html></html>", retry_after=3)
    faulty.add_fault(**at, status=200, body="{}")
    with raw_client(faulty.info) as api:
        page, empty = api.get("/jobs"), api.get("/jobs")
    assert (page.status_code, page.text) == (403, "<html></html>")
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Retry-After"] == "3"
    assert (empty.status_code, empty.json()) == (200, {})
    with pytest.raises(PlatformError, match="with a body it may also be 200"):
        faulty.add_fault(**at, status=200)


def test_500_after_the_effect(
    faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit
) -> None:
    """A 5xx for a job that was accepted makes the client submit a second one."""
    faulty.add_fault(kind="status", method="POST", path="/jobs", status=500, effect="after")
    tag = uuid4().hex
    submit(device, circuit, tag)
    assert jobs_of(faulty, tag) == 2


def test_204_for_results(
    faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit
) -> None:
    """Without an answer's body the client's result is None, though the job is done."""
    job = submit(device, circuit)
    job.wait_for_final_state()
    faulty.add_fault(kind="status", path="/jobs/{job_id}/results", status=204)
    assert job.result() is None
    assert job.result() is not None


def test_429_on_post(faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit) -> None:
    """The client does not repeat a POST that was one too many, whatever Retry-After says."""
    faulty.add_fault(
        kind="status", method="POST", path="/jobs", status=429, code=1202, retry_after=1
    )
    tag = uuid4().hex
    with pytest.raises(IBMRuntimeError, match='"code":1202'):
        submit(device, circuit, tag)
    assert jobs_of(faulty, tag) == 0


def test_429_on_get(faulty: LocalPlatform, client: QiskitRuntimeService) -> None:
    """The client repeats a GET after the time that it is told."""
    faulty.add_fault(kind="status", path="/jobs", method="GET", status=429, retry_after=1)
    began = time.monotonic()
    client.jobs(limit=1)
    assert time.monotonic() - began >= 1


def test_rate_limit(faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit) -> None:
    """Calls beyond the limit of a minute are refused with code 1202 and when to come again."""
    faulty.add_fault(kind="rate_limit", method="POST", path="/jobs", per_minute=2)
    for _ in range(2):
        submit(device, circuit)
    with pytest.raises(IBMRuntimeError, match='"code":1202,"message":"Too many requests'):
        submit(device, circuit)
    with raw_client(faulty.info) as api:
        answer = api.post("/jobs", json=JOB)
        assert answer.status_code == 429
        assert 50 <= int(answer.headers["Retry-After"]) <= 60
        faulty.advance(61)
        assert api.post("/jobs", json=JOB).is_success
    (kept,) = faulty.faults()
    assert (kept["seen"], kept["used"]) == (5, 2)


def test_drop_before_the_effect(
    faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit
) -> None:
    """A POST that is cut off is an error, and no job comes of it."""
    faulty.add_fault(kind="drop", method="POST", path="/jobs")
    tag = uuid4().hex
    with pytest.raises(IBMRuntimeError, match="Remote end closed connection"):
        submit(device, circuit, tag)
    assert jobs_of(faulty, tag) == 0


def test_drop_after_the_effect(
    faulty: LocalPlatform,
    client: QiskitRuntimeService,
    device: IBMBackend,
    circuit: QuantumCircuit,
) -> None:
    """A lost answer is the same error, though there is a job, which is found by its tag."""
    faulty.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
    tag = uuid4().hex
    with pytest.raises(IBMRuntimeError, match="Remote end closed connection"):
        submit(device, circuit, tag)
    (found,) = client.jobs(job_tags=[tag])
    assert found.result() is not None
    assert jobs_of(faulty, tag) == 1


def test_dropped_get(faulty: LocalPlatform, client: QiskitRuntimeService) -> None:
    """The client asks again when a GET is cut off."""
    faulty.add_fault(kind="drop", method="GET", path="/jobs", times=2)
    client.jobs(limit=1)
    assert faulty.faults()[0]["seen"] == 3


def test_500_on_close(faulty: LocalPlatform, device: IBMBackend) -> None:
    """The client never repeats a PATCH: closing fails and the session stays open."""
    session = Session(device)
    faulty.add_fault(kind="status", method="PATCH", path="/sessions/{session_id}", status=500)
    with pytest.raises(IBMRuntimeError, match="Error closing session"):
        session.close()
    assert session.details()["accepting_jobs"]
    session.close()
    assert session.status() == "Closed"


def test_delay(faulty: LocalPlatform, client: QiskitRuntimeService) -> None:
    """The client waits for a late answer; others are answered meanwhile."""
    faulty.add_fault(kind="delay", path="/jobs", method="GET", seconds=1.0)
    began = time.monotonic()
    client.jobs(limit=1)
    assert 1 <= time.monotonic() - began < 5


def test_truncated_result(
    faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit
) -> None:
    """A result of which only the beginning arrives is an error, and can be fetched again."""
    job = submit(device, circuit)
    job.wait_for_final_state()
    faulty.add_fault(kind="truncate", path="/jobs/{job_id}/results", bytes=20)
    with pytest.raises(RequestsApiError, match="IncompleteRead"):
        job.result()
    assert job.result() is not None


def test_expired_tokens(tmp_path: Path) -> None:
    """The client does not react to a 401: it uses the token until its time is up."""
    with LocalPlatform(tmp_path) as platform:
        service = platform.service()
        platform.add_fault(kind="expire_tokens", method="GET", path="/jobs")
        for _ in range(2):
            with pytest.raises(IBMNotAuthorizedError, match='"code":1200'):
                service.jobs(limit=1)
        assert platform.service().jobs(limit=1) == []
        (kept,) = platform.faults()
        # A call without a good credential is refused before anything else looks at it.
        assert (kept["seen"], kept["used"]) == (2, 1)


def test_short_lived_tokens(tmp_path: Path) -> None:
    """When four fifths of a token's time are up, the client gets a new one by itself."""
    with LocalPlatform(tmp_path, token_seconds=2) as platform:
        service = platform.service()
        token = "POST /identity/token"
        before = platform.stats()["requests"][token]
        time.sleep(2.1)
        assert service.jobs() == []
        assert platform.stats()["requests"][token] == before + 1


def test_listing_lag(
    faulty: LocalPlatform,
    client: QiskitRuntimeService,
    device: IBMBackend,
    circuit: QuantumCircuit,
) -> None:
    """A young job is not listed, though it can be looked up by its ID."""
    faulty.add_fault(kind="listing_lag", seconds=60)
    tag = uuid4().hex
    job = submit(device, circuit, tag)
    assert client.jobs(job_tags=[tag]) == []
    assert client.job(job.job_id()).job_id() == job.job_id()
    faulty.advance(60)
    assert len(client.jobs(job_tags=[tag])) == 1


def test_wrong_count(
    faulty: LocalPlatform,
    client: QiskitRuntimeService,
    device: IBMBackend,
    circuit: QuantumCircuit,
) -> None:
    """With a count that is too low the client takes the listing to be over too soon."""
    tag = uuid4().hex
    for _ in range(25):
        submit(device, circuit, tag)
    faulty.add_fault(kind="wrong_count", add=-5, times=None)
    assert len(client.jobs(job_tags=[tag], limit=None)) == 20
    with raw_client(faulty.info) as api:
        answer = api.get("/jobs", params={"tags": tag}).json()
    assert (answer["count"], len(answer["jobs"])) == (20, 25)


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        (
            {"state": "failed", "reason": "Qubits on fire", "reason_code": 9707},
            RuntimeJobFailureError,
            "Error code 9707; Qubits on fire",
        ),
        (
            {"state": "cancelled", "reason": "Too long", "reason_code": 1305},
            RuntimeJobMaxTimeoutError,
            "Too long",
        ),
        (
            {"state": "cancelled", "reason": "By the operator"},
            RuntimeInvalidStateError,
            "cancelled",
        ),
    ],
)
def test_ended_jobs(
    faulty: LocalPlatform,
    device: IBMBackend,
    circuit: QuantumCircuit,
    ending: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """A job that ends as planned is the exception that the client has for such an end."""
    faulty.add_fault(kind="end_job", **ending)
    job = submit(device, circuit)
    with pytest.raises(error, match=message):
        job.result()
    assert submit(device, circuit).result() is not None


def test_a_job_runs_before_it_ends_as_planned(faulty: LocalPlatform) -> None:
    """A planned end comes after so many seconds of the platform's clock."""
    faulty.add_fault(kind="end_job", state="failed", reason="Later", after_seconds=600)
    with raw_client(faulty.info) as api:
        job_id = api.post("/jobs", json=JOB).json()["id"]

        def status() -> str:
            return str(api.get(f"/jobs/{job_id}").json()["state"]["status"])

        wait_until(lambda: status() == "Running")
        faulty.advance(599)
        assert status() == "Running"
        faulty.advance(1)
        assert status() == "Failed"


@pytest.mark.parametrize("how", ["max_time", "close", "cancel"])
def test_a_session_that_ends_under_the_client(
    faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit, how: str
) -> None:
    """A job for a session that ended unseen is refused with code 1217, and there is none."""
    session = Session(device)
    submit(session, circuit).result()
    faulty.add_fault(kind="end_session", method="POST", path="/jobs", by=how)
    tag = uuid4().hex
    with pytest.raises(IBMRuntimeError, match=r'"code":1217.*Session has been closed'):
        submit(session, circuit, tag)
    assert jobs_of(faulty, tag) == 0
    assert session.status() == "Closed"


def test_a_session_ends_when_it_is_looked_at(faulty: LocalPlatform, device: IBMBackend) -> None:
    """The session may also be the one in the call's path; another instance's is left alone."""
    session = Session(device)
    faulty.add_fault(kind="end_session", path="/sessions/{session_id}", by="close", nth=2)
    other = faulty.accounts[0].instances[2].crn
    with raw_client(faulty.info) as api:
        path = f"/sessions/{session.session_id}"
        assert api.get(path).json()["state"] == "open"
        assert api.get(path, headers={"Service-CRN": other}).status_code == 404
        assert api.get(path).json()["state"] == "open"
    faulty.add_fault(kind="end_session", path="/sessions/{session_id}", by="close")
    assert session.status() == "Closed"


def test_maintenance(faulty: LocalPlatform, device: IBMBackend, circuit: QuantumCircuit) -> None:
    """A job for a paused backend waits, and runs when the rule is gone; others run meanwhile."""
    rule = faulty.add_fault(kind="maintenance", backend="ibm_manila")
    assert not device.status().operational
    job = submit(device, circuit)
    other = device.service.backend("ibm_nairobi")
    assert submit(other, isa(bell(), other)).result() is not None
    assert job.status() == "QUEUED"
    faulty.clear_faults(rule)
    assert device.status().operational
    assert job.result() is not None


CLIENT = """
import sys, time
from qiskit_ibm_runtime import QiskitRuntimeService
service = QiskitRuntimeService()
print("ready", flush=True)
for line in sys.stdin:
    service.jobs(limit=0, job_tags=[line.strip()])
    print("done", flush=True)
"""


@pytest.fixture
def other_process(faulty: LocalPlatform) -> Iterator[subprocess.Popen[str]]:
    """A process with a client of its own, which asks for jobs by the tags that it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, **faulty.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Send a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_a_client_killed_at_a_request(
    faulty: LocalPlatform, other_process: subprocess.Popen[str]
) -> None:
    """A client is killed at its second request, when that has been carried out."""
    faulty.add_fault(
        kind="signal",
        pid=other_process.pid,
        signal="SIGKILL",
        path="/jobs",
        method="GET",
        nth=2,
        effect="after",
    )
    tell(other_process, "first")
    assert other_process.stdout is not None
    assert other_process.stdout.readline() == "done\n"
    tell(other_process, "second")
    assert other_process.wait(timeout=30) == -signal.SIGKILL
    (kept,) = faulty.faults()
    assert (kept["seen"], kept["used"]) == (2, 1)


def test_a_client_stopped_and_continued(
    faulty: LocalPlatform, other_process: subprocess.Popen[str]
) -> None:
    """A client is stopped at a request, and goes on at a request of somebody else's."""
    stop = {"kind": "signal", "pid": other_process.pid, "signal": "SIGSTOP"}
    go_on = {**stop, "signal": "SIGCONT"}
    faulty.add_fault(**stop, path="/jobs", method="GET")
    faulty.add_fault(**go_on, path="/sessions/{session_id}", method="GET")
    tell(other_process, "x")
    watched = psutil.Process(other_process.pid)
    wait_until(lambda: watched.status() == psutil.STATUS_STOPPED)
    with raw_client(faulty.info) as api:
        api.get("/sessions/x")
    assert other_process.stdout is not None
    assert other_process.stdout.readline() == "done\n"


def test_a_server_killed_at_a_request(tmp_path: Path) -> None:
    """The server itself dies after accepting a job, which is there, counted, when it is back."""
    with LocalPlatform(tmp_path) as platform:
        service = platform.service()
        backend = service.backend("ibm_manila")
        circuit = isa(bell(), backend)
        platform.add_fault(
            kind="signal",
            pid=platform.info.pid,
            signal="SIGKILL",
            method="POST",
            path="/jobs",
            effect="after",
        )
        platform.add_fault(kind="maintenance", backend="ibm_nairobi")
        with pytest.raises(IBMRuntimeError, match="Remote end closed connection"):
            submit(backend, circuit, "survivor")
        platform.restart()
        (job,) = service.jobs(job_tags=["survivor"])
        assert job.result() is not None
        killer, maintenance = platform.faults()
        assert (killer["seen"], killer["used"]) == (1, 1)
        assert maintenance["backend"] == "ibm_nairobi"
        assert not service.backend("ibm_nairobi").status().operational


def test_rules_from_a_file(tmp_path: Path) -> None:
    """A server may begin with rules from a file; started again with it, it goes on counting."""
    file = tmp_path / "faults.json"
    rule = {"kind": "status", "path": "/jobs", "method": "GET", "status": 418}
    file.write_text(json.dumps({"faults": [{**rule, "nth": 2}, {**rule, "status": 420}]}))
    directory = tmp_path / "state"
    try:
        for answers in ((420, 418), (200, 200)):
            info = local_platform.start(directory, faults=file)
            with raw_client(info) as api:
                assert tuple(api.get("/jobs").status_code for _ in range(2)) == answers
            with pytest.raises(PlatformError, match="is already running"):
                local_platform.start(directory, faults=file)
            local_platform.stop(directory)
        for text, message in (
            ("{", "Expecting property name"),
            ("[1]", "the rule: Input should be a valid dictionary"),
            ('{"kind": "drop", "path": "/job"}', "no operation for drop is"),
        ):
            file.write_text(text)
            with pytest.raises(PlatformError, match=rf"fault rules in .*faults\.json: .*{message}"):
                local_platform.start(directory, faults=file)
        with pytest.raises(PlatformError, match="No such file"):
            local_platform.start(directory, faults=tmp_path / "none.json")
    finally:
        local_platform.stop(directory)


def test_which_calls_are_hit(faulty: LocalPlatform) -> None:
    """A rule counts the calls of its method, path and text, and hits some from the n-th on."""
    faulty.add_fault(
        kind="status", method="*", path="/sessions/*", contains="needle", nth=2, times=2, status=418
    )
    with raw_client(faulty.info) as api:

        def patch(text: str) -> int:
            return api.patch("/sessions/x", content=text).status_code

        assert api.get("/sessions/x").status_code == 404
        assert api.post("/jobs", content="needle").status_code == 400
        texts = ["needle", "hay", "a needle", "hay", "needles", "needle"]
        assert [patch(text) for text in texts] == [404, 404, 418, 404, 418, 404]


def test_several_rules_at_one_call(faulty: LocalPlatform) -> None:
    """No call is ended twice: the rule that did not come to its turn hits the next call."""
    at = {"method": "GET", "path": "/jobs"}
    faulty.add_fault(kind="status", status=418, **at)
    faulty.add_fault(kind="wrong_count", add=3)
    faulty.add_fault(kind="delay", seconds=0.3, **at)
    faulty.add_fault(kind="status", status=420, effect="after", **at)
    with raw_client(faulty.info) as api:
        real = api.get("/jobs/x")
        answers = [api.get("/jobs", params={"limit": 1}) for _ in range(3)]
    assert real.status_code == 404
    assert [answer.status_code for answer in answers] == [418, 420, 200]
    assert answers[0].elapsed.total_seconds() < 0.3 <= answers[1].elapsed.total_seconds()
    assert [kept["seen"] for kept in faulty.faults()] == [3, 3, 3, 3]
    assert [kept["used"] for kept in faulty.faults()] == [1, 1, 1, 1]


def test_rules_come_and_go(faulty: LocalPlatform) -> None:
    """Rules are listed in order, and removed one by one or all at once."""
    rules = {"faults": [{"kind": "delay", "seconds": n} for n in range(3)]}
    url = f"{faulty.info.origin}/_local/faults"
    key = {KEY_HEADER: faulty.info.owner_key}
    added = httpx.post(url, json=rules, headers=key).json()["faults"]
    assert [rule["seconds"] for rule in added] == [0, 1, 2]
    assert faulty.faults() == added
    faulty.clear_faults(added[1]["id"])
    assert [rule["seconds"] for rule in faulty.faults()] == [0, 2]
    with pytest.raises(PlatformError, match="Fault not found"):
        faulty.clear_faults(added[1]["id"])
    faulty.clear_faults()
    assert faulty.faults() == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "the rule: Unable to extract tag"),
        ({"kind": "flood"}, "does not match any of the expected tags"),
        ({"kind": "drop", "when": "now"}, "drop.when: Extra inputs are not permitted"),
        ({"kind": "drop", "effect": "never"}, "drop.effect"),
        ({"kind": "drop", "method": "get"}, "drop.method"),
        ({"kind": "drop", "path": "jobs"}, "drop.path"),
        ({"kind": "drop", "path": "/job"}, r"no operation for drop is \* /job"),
        ({"kind": "drop", "path": "/_local/faults"}, "no operation"),
        ({"kind": "drop", "nth": 0}, "drop.nth"),
        ({"kind": "drop", "times": 0}, "drop.times"),
        ({"kind": "status"}, "status.status: Field required"),
        ({"kind": "status", "status": "503"}, "status.status: Input should be a valid integer"),
        ({"kind": "status", "status": 302}, "status must be 204 or from 400 to 599"),
        ({"kind": "delay", "seconds": -1}, "delay.seconds"),
        ({"kind": "wrong_count", "add": 1, "path": "/sessions"}, "no operation for wrong_count"),
        ({"kind": "end_job", "state": "done", "reason": "x"}, "end_job.state"),
        ({"kind": "maintenance", "backend": "ibm_nowhere"}, "Backend not found: ibm_nowhere"),
        ({"kind": "signal", "pid": 1, "signal": "SIGKILL"}, "signal.pid"),
        ({"kind": "signal", "pid": 999_999_999, "signal": "SIGKILL"}, "no process 999999999"),
        ({"kind": "signal", "pid": 2, "signal": "SIGHUP"}, "signal.signal"),
        ({"faults": []}, "faults: List should have at least 1 item"),
        ({"faults": [{"kind": "drop"}, {"kind": "flood"}]}, "faults.1: Input tag 'flood'"),
    ],
)
def test_bad_rules(faulty: LocalPlatform, rule: dict[str, Any], message: str) -> None:
    """A rule that could never act as it says is refused in words, and none is added."""
    with pytest.raises(PlatformError, match=message):
        faulty.add_fault(**rule)
    assert faulty.faults() == []
