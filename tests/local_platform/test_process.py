from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from forked import Child
from qiskit_ibm_runtime import EstimatorV2, SamplerV2, Session

from session_block import local_platform
from session_block.local_platform import LocalPlatform, PlatformError, Settings
from session_block.local_platform.config.state import load_identity, load_record, new_identity
from session_block.local_platform.process import launcher
from session_block.local_platform.process.discovery import living_process

from .support import H2, bell, ground_state, is_gone, isa, raw_client, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qiskit_ibm_runtime import QiskitRuntimeService

    Connect = Callable[..., QiskitRuntimeService]

legacy = pytest.mark.filterwarnings("ignore:The (Estimator|Sampler)V2 class is deprecated")


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A directory of its own whose platform does not outlive the test."""
    yield tmp_path / "state"
    local_platform.stop(tmp_path / "state")


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for a condition, and fail if it stays away."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 seconds"
        time.sleep(0.05)


def test_importing_is_light() -> None:
    """Importing the package loads no heavy library of its own accord."""
    code = (
        "import sys, session_block\n"
        "before = set(sys.modules)\n"
        "import session_block.local_platform\n"
        "heavy = {'qiskit', 'qiskit_aer', 'fastapi', 'starlette', 'uvicorn', 'sqlalchemy'}\n"
        "print(sorted((set(sys.modules) - before) & heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_concurrent_starts_give_one_server(state_dir: Path) -> None:
    """Processes that start one platform at once all get the same one, and so does a later one."""
    code = (
        "import sys, pathlib, session_block.local_platform as p\n"
        "info = p.start(pathlib.Path(sys.argv[1]))\n"
        "print(info.pid, info.origin, info.token)"
    )
    command = [sys.executable, "-c", code, str(state_dir)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {start.communicate(timeout=60)[0] for start in starts}
    assert len(answers) == 1
    info = local_platform.find(state_dir)
    assert info is not None
    assert answers == {f"{info.pid} {info.origin} {info.token}\n"}
    assert local_platform.start(state_dir) == info
    assert info.token not in repr(info)
    with pytest.raises(PlatformError, match="runs with seed 0, not 5: stop it first"):
        local_platform.start(state_dir, seed=5)


def test_stop_and_start_keep_identity_and_settings(state_dir: Path) -> None:
    """A stopped platform comes back at its port with its key, its CRN and its settings."""
    first = local_platform.start(state_dir, noise="shots", seed=7)
    workers = psutil.Process(first.pid).children(recursive=True)
    assert local_platform.stop(state_dir)
    assert local_platform.find(state_dir) is None
    assert not local_platform.stop(state_dir)
    assert all(is_gone(worker) for worker in workers)
    second = local_platform.start(state_dir, seed=7)
    assert (second.origin, second.token, second.instance) == (
        first.origin,
        first.token,
        first.instance,
    )
    with pytest.raises(PlatformError, match="noise shots, not exact"):
        local_platform.start(state_dir, noise="exact")


def test_a_port_in_use_is_named(state_dir: Path) -> None:
    """A port that another program holds is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError, match=f"port {port} is in use"):
            local_platform.start(state_dir, port=port)


def test_another_process_with_the_recorded_pid_is_no_platform(state_dir: Path) -> None:
    """A record that names a living process which is not the server counts as stale."""
    state_dir.mkdir()
    record = f'{{"pid": {os.getpid()}, "created": 1.0, "port": 1}}'
    (state_dir / "server.json").write_text(record)
    assert local_platform.find(state_dir) is None
    assert not local_platform.stop(state_dir)
    assert local_platform.start(state_dir).pid != os.getpid()


def test_a_damaged_identity_is_refused(state_dir: Path) -> None:
    """A state directory whose identity cannot be read is named, not silently replaced."""
    state_dir.mkdir()
    for text in ("", "{", "[]", "{}", '{"settings": {"unknown": 1}}'):
        (state_dir / "identity.json").write_text(text)
        with pytest.raises(PlatformError, match=r"identity\.json is damaged"):
            local_platform.start(state_dir)


IDENTITY: dict[str, Any] = json.loads(json.dumps(asdict(new_identity(Settings(), None))))


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1},
        {"secret": None},
        {"accounts": []},
        {"accounts": [1]},
        {"accounts": None},
        {"accounts": [{**IDENTITY["accounts"][0], "instances": []}]},
        {"accounts": [{**IDENTITY["accounts"][0], "token": 5}]},
        {"accounts": [{**IDENTITY["accounts"][0], "instances": [{"plan": "none"}]}]},
        {"settings": {"time_scale": "fast"}},
        {"settings": {"noise": "loud"}},
        {"devices": [["one"]]},
        {"owner": "me"},
    ],
)
def test_an_identity_of_the_wrong_form_is_damaged(state_dir: Path, change: dict[str, Any]) -> None:
    """What it holds is looked at before it is used."""
    state_dir.mkdir()
    (state_dir / "identity.json").write_text(json.dumps(IDENTITY))
    assert load_identity(state_dir) is not None
    (state_dir / "identity.json").write_text(json.dumps({**IDENTITY, **change}))
    for ask in (local_platform.find, local_platform.start):
        with pytest.raises(PlatformError, match=r"identity\.json is damaged.* restore it"):
            ask(state_dir)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff",
        "{}",
        "[]",
        "[" * 100_000,
        *(
            json.dumps({"pid": 1, "created": 1.0, "port": 1, **change})
            for change in (
                {"pid": "x"},
                {"pid": -5},
                {"pid": True},
                {"created": None},
                {"port": "80"},
                {"port": 0},
                {"port": 65536},
                {"host": "localhost"},
                {"host": "::1"},
                {"host": 5},
            )
        ),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    """Who serves a state directory is not guessed, and nobody's process is ended."""
    (tmp_path / "server.json").write_bytes(text.encode("latin-1"))
    for ask in (local_platform.find, local_platform.start, local_platform.stop):
        with pytest.raises(PlatformError, match=r"server\.json is damaged.* delete the file"):
            ask(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 9, "created": 1.0, "owner_key": 5}'])
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    """Its file is named, not the one beside it."""
    (tmp_path / "server.json").write_text('{"pid": 9, "created": 1.0, "port": 1}')
    (tmp_path / "owner-key.json").write_text(text)
    for ask in (local_platform.find, local_platform.start, local_platform.stop):
        with pytest.raises(PlatformError, match=r"owner-key\.json is damaged.* delete the file"):
            ask(tmp_path)


def test_the_record_of_another_version(state_dir: Path) -> None:
    """What a later one adds is not read; an earlier one's server has no key of its own."""
    info = local_platform.start(state_dir)
    file = state_dir / "server.json"
    record = json.loads(file.read_text())
    assert record.keys() == {"pid", "created", "port", "host"}
    file.write_text(json.dumps({**record, "other": 1}))
    assert local_platform.find(state_dir) == info
    key_file = state_dir / "owner-key.json"
    key = json.loads(key_file.read_text())
    for of_another in ({**key, "pid": key["pid"] + 1}, {**key, "created": key["created"] - 1}):
        key_file.write_text(json.dumps(of_another))
        found = local_platform.find(state_dir)
        assert found is not None
        assert found.owner_key == ""


def test_a_state_directory_that_is_none(tmp_path: Path) -> None:
    """A file is told in words, too."""
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        for ask in (local_platform.find, local_platform.start, local_platform.stop):
            with pytest.raises(PlatformError, match=r"Not a directory|File exists"):
                ask(directory)


@pytest.mark.parametrize("host", ["::1", "::", "example.com", "", "127.0.0.1:80", "127.1"])
def test_hosts_that_are_no_address(state_dir: Path, host: str) -> None:
    """They are refused before anything is started or made."""
    with pytest.raises(ValueError, match="host must be an IPv4 address or localhost, not"):
        local_platform.start(state_dir, host=host)
    assert not state_dir.exists()


def test_localhost_is_loopback(state_dir: Path) -> None:
    """The platform then listens on 127.0.0.1, and both are the same host."""
    info = local_platform.start(state_dir, host="localhost")
    assert info.origin.startswith("http://127.0.0.1:")
    assert local_platform.start(state_dir, host="127.0.0.1") == info


def test_a_start_that_fails_leaves_no_server(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of another machine is named; a server that cannot be found is ended."""
    with pytest.raises(PlatformError, match=r"cannot listen on 192\.0\.2\.1 \(.*--host"):
        local_platform.start(state_dir, host="192.0.2.1")

    def fail(_: Path) -> None:
        if (state_dir / "server.json").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "find", fail)
    with pytest.raises(KeyboardInterrupt):
        local_platform.start(state_dir)
    record = load_record(state_dir)
    assert record is not None
    assert living_process(record) is None


@legacy
def test_a_killed_server_loses_nothing(state_dir: Path, connect: Connect) -> None:
    """After kill -9 a queued and a running job complete, counted once, for the same client."""
    info = local_platform.start(state_dir, charges="simulated", job_seconds=1.0)
    service = connect(info)
    backend = service.backend("ibm_manila")
    session = Session(backend)
    jobs = [SamplerV2(session).run([isa(bell(), backend)], shots=100 + n) for n in range(2)]
    wait_until(lambda: jobs[0].status() == "RUNNING")
    assert jobs[1].status() == "QUEUED"
    workers = psutil.Process(info.pid).children(recursive=True)
    assert workers
    os.kill(info.pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(worker) for worker in workers))
    assert local_platform.find(state_dir) is None

    again = local_platform.start(state_dir)
    assert again.pid != info.pid
    assert again.origin == info.origin
    assert [job.result()[0].data.meas.num_shots for job in jobs] == [100, 101]
    assert session.details()["state"] == "active"
    counted = stats(again)
    assert counted["jobs"]["total"] == 2
    assert counted["jobs"]["by_state"] == {"completed": 2}
    assert counted["jobs"]["by_session"] == {session.session_id: 2}
    assert jobs[0].metrics()["usage"]["seconds"] >= 1.0


@pytest.mark.rest
@legacy
def test_equal_seeds_give_equal_noise(tmp_path: Path, connect: Connect) -> None:
    """Two platforms of one seed give bit-identical results, in whatever order jobs come."""
    results = []
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        info = local_platform.start(tmp_path / name, noise="shots", seed=1)
        try:
            service = connect(info)
            backend = service.backend("ibm_manila")
            circuit = isa(ground_state(), backend)
            observable = H2.apply_layout(circuit.layout)
            values: dict[int, Any] = {}
            for kind in order:
                if kind:
                    job = SamplerV2(backend).run([isa(bell(), backend)])
                    values[kind] = job.result()[0].data.meas.array
                else:
                    data = EstimatorV2(backend).run([(circuit, observable)]).result()[0].data
                    assert data.stds == 0.015625
                    assert abs(data.evs + 1.857275) < 0.1
                    values[kind] = data.evs
            results.append(values)
        finally:
            local_platform.stop(tmp_path / name)
    one, same = results
    assert one[0] == same[0]
    assert np.array_equal(one[1], same[1])


@pytest.mark.rest
def test_jobs_outlive_their_session_as_failures(state_dir: Path) -> None:
    """At the maximum time the running job finishes and the queued one fails with code 1217."""
    info = local_platform.start(state_dir, charges="simulated", job_seconds=1.5, time_scale=0)
    clock = local_platform.Admin.of(info)
    with raw_client(info) as api:
        body = {"mode": "dedicated", "backend": "ibm_manila", "max_ttl": 1}
        session_id = api.post("/sessions", json=body).json()["id"]
        job = {
            "program_id": "sampler",
            "backend": "ibm_manila",
            "params": {"pubs": []},
            "session_id": session_id,
        }
        first, second = (api.post("/jobs", json=job).json()["id"] for _ in range(2))

        def state(job_id: str) -> dict[str, Any]:
            content: dict[str, Any] = api.get(f"/jobs/{job_id}").json()["state"]
            return content

        clock.advance(1)
        assert state(second)["status"] == "Failed"
        assert state(second)["reason_code"] == 1217
        assert session_id in state(second)["reason"]
        assert state(first)["status"] == "Running"
        clock.advance(0.5)
        assert state(first)["status"] == "Completed"
        details = api.get(f"/sessions/{session_id}").json()
        assert (details["state"], details["elapsed_time"]) == ("closed", pytest.approx(1.5))


def test_a_forked_child_stops_nothing() -> None:
    """It leaves the ``with`` block of its parent's platform, which goes on."""
    with LocalPlatform() as platform:
        state_dir = platform.info.state_dir
        assert Child(lambda: platform.__exit__(None, None, None)).answer() == {"value": None}
        assert platform.stats()["jobs"]["total"] == 0
        assert state_dir.exists()
    assert not state_dir.exists()
