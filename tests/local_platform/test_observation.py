"""What people and programs may see of a platform without a credential, and who may not."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from session_block.local_platform import LocalPlatform
from session_block.local_platform.api import routes_backends, routes_local, routes_sessions
from session_block.local_platform.api.local_access import KEY_HEADER, OPEN

from .support import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "angle-of-the-day"
JOB = {
    "program_id": "sampler",
    "backend": "ibm_manila",
    "params": {"pubs": [], "note": SECRET},
    "tags": ["t1"],
}


@pytest.fixture(scope="module")
def watched() -> Iterator[LocalPlatform]:
    """A platform with a session of two jobs, a deleted job, and one of another instance."""
    with LocalPlatform() as platform:
        other = {"Service-CRN": platform.accounts[0].instances[1].crn}
        with raw_client(platform.info) as api:
            body = {"mode": "dedicated", "backend": "ibm_manila", "max_ttl": 600}
            session_id = api.post("/sessions", json=body).json()["id"]
            for _ in range(2):
                api.post("/jobs", json={**JOB, "session_id": session_id})
            deleted = api.post("/jobs", json=JOB).json()["id"]
            api.delete(f"/jobs/{deleted}")
            api.post("/jobs", json={**JOB, "backend": "ibm_aachen"}, headers=other)
        yield platform


@pytest.fixture
def local(watched: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP to the platform's own operations, with its owner's key alone."""
    headers = {KEY_HEADER: watched.info.owner_key}
    with httpx.Client(base_url=watched.info.origin, headers=headers, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("key", [None, "", "0" * 64])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", f"/_local/{name}")
            for name in ("stats", "jobs", "sessions", "backends", "faults")
        ),
        ("POST", "/_local/faults"),
        ("DELETE", "/_local/faults"),
        ("DELETE", "/_local/faults/1"),
        ("POST", "/_local/clock"),
        ("POST", "/_local/usage_limit"),
        ("POST", "/_local/backends/ibm_fez/calibration"),
        ("POST", "/_local/sessions/1/end"),
    ],
)
def test_without_the_key_nothing_is_shown_or_changed(
    watched: LocalPlatform, method: str, path: str, key: str | None
) -> None:
    """Another user of the machine, who has no access to the state directory, is refused."""
    headers = {} if key is None else {KEY_HEADER: key}
    answer = httpx.request(method, f"{watched.info.origin}{path}", json={}, headers=headers)
    assert answer.status_code == 401
    assert "Only the platform's owner" in answer.text
    assert "session-block platform page" in answer.text


def test_all_operations_of_its_own_are_in_the_attack() -> None:
    """The list above is whole, but for what anybody may read."""
    marks = test_without_the_key_nothing_is_shown_or_changed.pytestmark
    attacked = {(m, re.sub(r"/1\b|ibm_fez", "/{}", p)) for m, p in marks[0].args[1]}
    own = (*routes_local.LOCAL, *routes_backends.LOCAL, *routes_sessions.LOCAL)
    there = {(one.method, re.sub(r"/\{\w+\}", "/{}", one.path)) for one in own}
    attacked = {(m, p.replace("//{}", "/{}")) for m, p in attacked}
    assert there - attacked == {("GET", path) for path in OPEN}


def test_what_anybody_may_read(watched: LocalPlatform) -> None:
    """Whether it answers, its time, and a page without content."""
    for path in OPEN:
        answer = httpx.get(f"{watched.info.origin}{path}")
        assert answer.is_success
        assert watched.info.owner_key not in answer.text
    assert httpx.get(f"{watched.info.origin}/_local/health").json().keys() == {
        "status",
        "id",
        "pid",
        "settings",
    }


def test_the_key_is_no_part_of_what_is_shown(watched: LocalPlatform) -> None:
    """Neither a repr nor the platform's log has it, and only its user can read where it stands."""
    key = watched.info.owner_key
    assert len(key) == 64
    assert key not in repr(watched.info)
    assert key not in (watched.info.state_dir / "platform.log").read_text()
    for file in watched.info.state_dir.iterdir():
        if key.encode() in file.read_bytes():
            assert file.name == "owner-key.json"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_lives_as_long_as_its_server() -> None:
    """A page that is still open sends it to whoever takes the port next; it opens nothing more."""
    with LocalPlatform() as platform:
        first = platform.info
        platform.restart()
        assert platform.info.owner_key != first.owner_key
        assert platform.stats()["jobs"]["total"] == 0
        platform.kill()
        platform.restart()
        assert platform.faults() == []
        answer = httpx.get(
            f"{platform.info.origin}/_local/stats", headers={KEY_HEADER: first.owner_key}
        )
        assert answer.status_code == 401


def test_all_jobs(watched: LocalPlatform) -> None:
    """Jobs of all instances are shown, newest first, deleted ones too."""
    newest, deleted, second, first = watched.jobs()
    (session,) = watched.sessions()
    assert (newest["instance"], newest["backend"]) == ("local-platform-eu", "ibm_aachen")
    assert [job["deleted"] for job in (newest, deleted, second, first)] == [0, 1, 0, 0]
    assert deleted["state"] == "cancelled"
    assert first["session_id"] == second["session_id"] == session["id"]
    assert (first["program"], first["tags"], first["instance"]) == (
        "sampler",
        ["t1"],
        "local-platform",
    )
    assert first["created"] <= second["created"] <= deleted["created"] <= newest["created"]


def test_all_sessions(watched: LocalPlatform) -> None:
    """Sessions are shown with their state, their times, their usage and their number of jobs."""
    (known,) = watched.sessions()
    with raw_client(watched.info) as api:
        details = api.get(f"/sessions/{known['id']}").json()
    # Looked at last: its first job may have begun to run meanwhile.
    (session,) = watched.sessions()
    assert (session["mode"], session["backend"], session["instance"]) == (
        "dedicated",
        "ibm_manila",
        "local-platform",
    )
    assert (session["jobs"], session["max_ttl"], session["accepting_jobs"]) == (2, 600, True)
    assert session["usage_seconds"] >= 0
    assert (session["created"], session["started"]) == (
        details["created_at"],
        details["started_at"],
    )


def test_usage_of_sessions(watched: LocalPlatform) -> None:
    """A session's usage is what the API says, while it runs and afterwards, also of a batch."""
    with raw_client(watched.info) as api:
        for mode in ("dedicated", "batch"):
            body = {"mode": mode, "backend": "ibm_nairobi"}
            session_id = api.post("/sessions", json=body).json()["id"]
            job = {**JOB, "backend": "ibm_nairobi", "session_id": session_id}
            api.post("/jobs", json=job)
            watched.advance(30)
            for state in ("active", "inactive"):
                details = api.get(f"/sessions/{session_id}").json()
                shown = next(item for item in watched.sessions() if item["id"] == session_id)
                assert details["state"] == shown["state"] == state
                assert shown["usage_seconds"] == pytest.approx(details["elapsed_time"], abs=2)
                watched.advance(60)


def test_pages_of_jobs(watched: LocalPlatform) -> None:
    """Limit and offset give a part of the list; the count is that of all."""
    everything = watched.jobs()
    pages = [watched.jobs(limit=1, offset=offset) for offset in range(len(everything))]
    assert [job for page in pages for job in page] == everything
    assert watched.jobs(offset=len(everything)) == []


def test_counts(watched: LocalPlatform) -> None:
    """Requests are counted by operation, jobs by state, session and tag."""
    stats = watched.stats()
    assert stats["requests"]["DELETE /jobs/{job_id}"] == 1
    assert stats["jobs"]["total"] == stats["jobs"]["by_tag"]["t1"] == len(watched.jobs())


def test_nothing_secret_is_shown(watched: LocalPlatform, local: httpx.Client) -> None:
    """Neither parameters nor API keys are in any answer that asks for no credential."""
    for path in ("/", *(f"/_local/{name}" for name in ("health", "stats", "jobs", "sessions"))):
        answer = local.get(path)
        assert answer.is_success
        assert SECRET not in answer.text
        for account in watched.accounts:
            assert account.token not in answer.text


def test_the_page(local: httpx.Client) -> None:
    """The page loads nothing from elsewhere, and shows only what the answers hold."""
    answer = local.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|innerHTML|localStorage", answer.text)
    for name in ("backends", "sessions", "jobs"):
        columns = re.search(rf"^  {name}: \[\n(.*?)^  \],", answer.text, re.MULTILINE | re.DOTALL)
        assert columns is not None
        used = set(re.findall(r"row\.(\w+)", columns[1]))
        row: dict[str, Any] = local.get(f"/_local/{name}").json()[name][0]
        assert used
        assert used <= set(row)


def test_backends_are_shown(watched: LocalPlatform, local: httpx.Client) -> None:
    """Backends are shown with their size, status and queue, mocks left out."""
    watched.add_fault(kind="maintenance", backend="ibm_fez")
    try:
        with raw_client(watched.info) as api:
            api.post("/jobs", json={**JOB, "backend": "ibm_fez"})
        rows = {row["name"]: row for row in local.get("/_local/backends").json()["backends"]}
    finally:
        watched.clear_faults()
    assert rows["ibm_fez"] == {"name": "ibm_fez", "qubits": 156, "status": "paused", "queue": 1}
    assert rows["ibm_nairobi"]["status"] == "online"
    assert not any(name.startswith("mock") for name in rows)


def test_it_listens_on_loopback_only(watched: LocalPlatform) -> None:
    """Unless it is told otherwise no other machine reaches it."""
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(watched.info.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("path", ["/", "/_local/jobs", "/_local/health"])
def test_other_names_are_refused(local: httpx.Client, path: str) -> None:
    """A web page that has its own name lead to the platform (DNS rebinding) sees nothing."""
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1]"):
        assert local.get(path, headers={"Host": host}).status_code in (400, 403), host
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:80"):
        assert local.get(path, headers={"Host": host}).is_success, host


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Sec-Fetch-Site": "none"}, 204),
        ({}, 204),
    ],
)
def test_pages_from_elsewhere_change_nothing(
    watched: LocalPlatform, local: httpx.Client, headers: dict[str, str], status: int
) -> None:
    """A page of another site can neither add nor remove a rule, a program can."""
    watched.add_fault(kind="delay", seconds=0)
    try:
        assert local.delete("/_local/faults", headers=headers).status_code == status
        assert (watched.faults() == []) == (status == 204)
        answer = local.post("/_local/faults", json={"kind": "delay", "seconds": 0}, headers=headers)
        assert answer.status_code == (200 if status == 204 else 403)
    finally:
        watched.clear_faults()


def test_the_own_page_may_change(watched: LocalPlatform, local: httpx.Client) -> None:
    """A page that the platform itself served is no other site."""
    own = {"Origin": watched.info.origin, "Sec-Fetch-Site": "same-origin"}
    assert local.delete("/_local/faults", headers=own).status_code == 204
