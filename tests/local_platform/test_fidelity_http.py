"""What IBM's API was seen to answer, and its own description says, over plain HTTP."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from session_block.local_platform import LocalPlatform

from .support import bell, isa, raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from session_block.local_platform.config.tenancy import Instance

JOB: dict[str, Any] = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
BATCH = {"mode": "batch", "backend": "ibm_manila"}


@pytest.fixture(scope="module")
def still() -> Iterator[LocalPlatform]:
    """A platform whose clock stands still; each job takes 5 s."""
    with LocalPlatform(time_scale=0, job_seconds=5) as platform:
        yield platform


@pytest.fixture(scope="module")
def api(still: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP to it, with credentials."""
    with raw_client(still.info) as client:
        yield client


def instance(platform: LocalPlatform, name: str) -> Instance:
    """Return an instance of the first account."""
    return next(one for one in platform.accounts[0].instances if one.name == name)


def test_identifiers(api: httpx.Client) -> None:
    """Sessions and batches have UUIDs, jobs have 20 characters (real)."""
    for mode in ("dedicated", "batch"):
        session_id = api.post("/sessions", json={**BATCH, "mode": mode}).json()["id"]
        assert str(UUID(session_id)) == session_id
        api.delete(f"/sessions/{session_id}/close")
    assert re.fullmatch("[0-9a-v]{20}", api.post("/jobs", json=JOB).json()["id"])


def test_unknown_mode(api: httpx.Client) -> None:
    """A session of an unknown mode gets a bare server error (real)."""
    answer = api.post("/sessions", json={**BATCH, "mode": "serial"})
    assert (answer.status_code, answer.text) == (500, "Internal server error")
    assert api.post("/sessions", json={"backend": "ibm_manila"}).status_code == 400


@pytest.mark.parametrize("part", ["status", "configuration", "properties", "defaults"])
def test_unknown_backend(api: httpx.Client, part: str) -> None:
    """An unknown backend gets a bare text that names nothing (real)."""
    answer = api.get(f"/backends/ibm_nowhere/{part}")
    assert (answer.status_code, answer.text) == (404, "Backend not found")
    assert answer.headers["content-type"].startswith("text/plain")


def test_defaults(api: httpx.Client) -> None:
    """The pulse defaults of a backend are the literal null (real)."""
    answer = api.get("/backends/ibm_manila/defaults")
    assert (answer.status_code, answer.text) == (200, "null")


def test_versions_need_no_token(still: LocalPlatform) -> None:
    """The versions of the API are open to everybody; one is live (real)."""
    answer = httpx.get(f"{still.info.url}/versions", trust_env=False)
    assert answer.json() == {"versions": [{"version": "2026-04-15", "status": "live"}]}


def test_accounts(still: LocalPlatform, api: httpx.Client) -> None:
    """An account has an entry for each plan, with the caps of its sessions and batches (real)."""
    account_id = instance(still, "local-platform").account_id
    plans = {one["plan_id"]: one for one in api.get(f"/accounts/{account_id}").json()["plans"]}
    assert set(plans) == {"plan-paygo", "plan-premium", "plan-open"}
    caps = ("max_ttl", "active_ttl", "interactive_ttl", "usage_limit_seconds")
    assert [plans["plan-open"][name] for name in caps] == [600, 600, 60, 600]
    assert plans["plan-open"]["usage_allocation_seconds"] == 600
    assert plans["plan-open"]["backends"] == ["ibm_fez", "ibm_sherbrooke"]
    assert plans["plan-paygo"]["max_ttl"] == 28_800
    assert "usage_limit_seconds" not in plans["plan-paygo"]
    only = api.get(f"/accounts/{account_id}", params={"plan_id": "plan-open"}).json()["plans"]
    assert only == [plans["plan-open"]]
    assert api.get("/accounts/somebody").status_code == 404


def test_regions(still: LocalPlatform, api: httpx.Client) -> None:
    """An instance is not found in another region than its own (real)."""
    for name, host, status in (
        ("local-platform", "quantum.cloud.platform.local", 200),
        ("local-platform", "us-east.quantum.cloud.platform.local", 200),
        ("local-platform", "eu-de.quantum.cloud.platform.local", 404),
        ("local-platform-eu", "eu-de.quantum.cloud.platform.local", 200),
        ("local-platform-eu", "quantum.cloud.platform.local", 404),
    ):
        headers = {"Host": host, "Service-CRN": instance(still, name).crn}
        answer = api.get(f"{still.info.origin}/api/v1/jobs", headers=headers)
        assert answer.status_code == status, (name, host)
        if status == 404:
            assert answer.json()["errors"][0]["code"] == 1279


def test_search_of_tags(api: httpx.Client) -> None:
    """Tags are searched by three characters or more; fewer get a bare refusal (real)."""
    for tags in (["fidelity-one", "other"], ["fidelity-two"]):
        api.post("/jobs", json={**JOB, "tags": tags})
    found = api.get("/tags", params={"type": "job", "search": "fidelity"}).json()
    assert found == {"tags": ["fidelity-one", "fidelity-two"]}
    assert api.get("/tags", params={"search": "fid"}).json() == found
    for search in ("", "fi", "f" * 101):
        answer = api.get("/tags", params={"type": "job", "search": search})
        assert answer.status_code == 400
        assert "{" not in answer.text


def test_tags_count_characters(api: httpx.Client) -> None:
    """A job has eight tags of 86 characters each, whatever their width in UTF-16 (real)."""
    tags = [f"{number}{'𝜓' * 85}" for number in range(8)]
    job_id = api.post("/jobs", json={**JOB, "tags": tags}).json()["id"]
    assert api.get(f"/jobs/{job_id}").json()["tags"] == tags
    assert api.post("/jobs", json={**JOB, "tags": [*tags, "one more"]}).status_code == 400
    assert api.post("/jobs", json={**JOB, "tags": ["𝜓" * 87]}).status_code == 400


def test_tags_in_a_listing(api: httpx.Client) -> None:
    """A repeated ``tags`` means AND; ``tags[]`` is ignored, so that all jobs are listed (real)."""
    for tags in (["and-a", "and-b"], ["and-a"]):
        api.post("/jobs", json={**JOB, "tags": tags})

    def count(*names: str, key: str = "tags") -> int:
        return int(api.get("/jobs", params=[(key, name) for name in names]).json()["count"])

    assert (count("and-a"), count("and-a", "and-b"), count("and-b", "none")) == (2, 1, 0)
    assert count("none", key="tags[]") == count() > 2


def test_wait_time() -> None:
    """The wait on a backend is given where it is asked for, and where there is any (spec)."""
    with LocalPlatform(other_jobs=3, other_job_seconds=40) as busy, raw_client(busy.info) as api:
        asked = api.get("/backends", params={"fields": "wait_time_seconds"}).json()["devices"]
        assert asked[0]["wait_time_seconds"] == {"average": 120, "p50": 120, "p95": 120}
        assert "wait_time_seconds" not in api.get("/backends").json()["devices"][0]


def test_no_wait_time(api: httpx.Client) -> None:
    """It is often absent (real)."""
    devices = api.get("/backends", params={"fields": "wait_time_seconds"}).json()["devices"]
    assert all("wait_time_seconds" not in device for device in devices)


def test_times_of_a_session(still: LocalPlatform, api: httpx.Client) -> None:
    """An interactive time is at most the active one, and that at most the maximum one (spec)."""
    times = {"max_ttl": 300, "active_ttl": 200, "interactive_ttl": 100}
    session = api.post("/sessions", json={**BATCH, **times}).json()
    assert {name: session[name] for name in times} == times
    for wrong in ({"active_ttl": 301}, {"interactive_ttl": 201}, {"interactive_ttl": 0}):
        assert api.post("/sessions", json={**BATCH, **times, **wrong}).status_code == 400, wrong
    # What is left of the active time shrinks while the session is active.
    job = {**JOB, "session_id": session["id"]}
    api.post("/jobs", json=job)
    still.advance(1005)
    ended = api.get(f"/sessions/{session['id']}").json()
    assert (ended["state"], ended["active_ttl"]) == ("closed", 0)


def test_active_time(still: LocalPlatform, api: httpx.Client) -> None:
    """A session that was active for its active time ends, though its maximum time goes on."""
    opened = {"mode": "dedicated", "backend": "ibm_nairobi", "active_ttl": 12, "interactive_ttl": 4}
    session_id = api.post("/sessions", json=opened).json()["id"]
    job = {**JOB, "backend": "ibm_nairobi", "session_id": session_id}
    seen = []
    for _ in range(2):
        api.post("/jobs", json=job)
        still.advance(100)
        session = api.get(f"/sessions/{session_id}").json()
        seen.append((session["state"], session["active_ttl"], session["elapsed_time"]))
    # 5 s of a job and 4 s of idling; then the last 3 s, in which the second job still runs.
    assert seen[0] == ("inactive", 3, 9.0)
    assert seen[1][:2] == ("closed", 0)


def test_private_job() -> None:
    """A private job's parameters come back empty, and its result can be read once (real, spec)."""
    with LocalPlatform() as platform, raw_client(platform.info) as api:
        service = platform.service()
        backend = service.backend("ibm_manila")
        circuit = isa(bell(), backend)
        options = {"backend": backend}
        job = service._run("sampler", {"pubs": [[circuit, None, 10]]}, options)
        body = {**JOB, "params": api.get(f"/jobs/{job.job_id()}").json()["params"]}
        private = api.post("/jobs", json={**body, "private": True}).json()["id"]
        job.wait_for_final_state()
        service.job(private).wait_for_final_state()
        shown = api.get(f"/jobs/{private}").json()
        assert (shown["private"], shown["params"]) == (True, {})
        listed = api.get("/jobs", params={"exclude_params": "false"}).json()["jobs"]
        assert [bool(one["params"]) for one in listed] == [False, True]
        assert api.get(f"/jobs/{private}/results").status_code == 200
        assert api.get(f"/jobs/{private}/results").status_code == 204


def test_interim_results(still: LocalPlatform, api: httpx.Client) -> None:
    """Interim results are kept two days after the end of the job (spec)."""
    job_id = api.post("/jobs", json=JOB).json()["id"]
    path = f"/jobs/{job_id}/interim_results"
    answers = [api.get(path).status_code]
    for seconds in (3600, 2 * 86_400 - 3600, 3600):
        still.advance(seconds)
        answers.append(api.get(path).status_code)
    assert answers == [200, 200, 200, 404]
    assert api.get("/jobs/unknown/interim_results").status_code == 404


def test_calibration_on_the_open_plan(still: LocalPlatform, api: httpx.Client) -> None:
    """The open plan refuses a job with a calibration of its own choice (real)."""
    calibration = still.calibrate("ibm_fez")
    body = {**JOB, "backend": "ibm_fez", "calibration_id": calibration}
    opened = {"Service-CRN": instance(still, "local-platform-open").crn}
    assert api.post("/jobs", json=body, headers=opened).status_code == 400
    assert api.post("/jobs", json=body).is_success


def test_cursors_repeat_where_asked_for() -> None:
    """A cursor of workloads is base64 of a time; it repeats (real) where a fault rule says so."""
    with LocalPlatform(time_scale=0) as platform, raw_client(platform.info) as api:
        for _ in range(4):
            api.post("/sessions", json=BATCH)

        def walk(pages: int) -> tuple[list[str], list[str]]:
            cursor, cursors, seen = "", [], []
            for _ in range(pages):
                params = {"limit": "1", **({"next": cursor} if cursor else {})}
                page = api.get("/workloads", params=params).json()
                seen.append(page["workloads"][0]["id"])
                cursor = page["next"]["href"].partition("next=")[2]
                cursors.append(cursor)
            return seen, cursors

        seen, cursors = walk(3)
        assert len(set(seen)) == len(set(cursors)) == 3
        datetime.fromisoformat(base64.urlsafe_b64decode(cursors[0]).decode().partition(" ")[0])
        platform.add_fault(kind="repeat_cursor")
        again, repeated = walk(3)
        assert again == [seen[0], seen[1], seen[1]]
        assert repeated[0] == repeated[1] != repeated[2]


def test_state_of_an_earlier_version(tmp_path: Path) -> None:
    """A state directory from before these columns and IDs opens, with its sessions and jobs."""
    with LocalPlatform(tmp_path, time_scale=0) as platform, raw_client(platform.info) as api:
        session_id = api.post("/sessions", json=BATCH).json()["id"]
        job_id = api.post("/jobs", json={**JOB, "session_id": session_id}).json()["id"]
        platform.advance(1)
    old_id = "dl5qg0k3vgkfgkcj3k8r"
    with closing(sqlite3.connect(tmp_path / "platform.sqlite")) as db:
        for column in ("reason_solution", "estimated_seconds"):
            db.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        (record,) = db.execute("SELECT record FROM sessions").fetchone()
        assert "active_ttl" not in json.loads(record)
        db.execute(
            "UPDATE sessions SET id=?, record=?", (old_id, record.replace(session_id, old_id))
        )
        db.execute("UPDATE jobs SET session_id=?", (old_id,))
        db.commit()
    with LocalPlatform(tmp_path) as platform, raw_client(platform.info) as api:
        assert api.get(f"/sessions/{old_id}").json()["id"] == old_id
        assert api.get(f"/jobs/{job_id}").json()["session_id"] == old_id
        again = api.post("/jobs", json={**JOB, "session_id": old_id}).json()["id"]
        platform.advance(60)
        assert api.get(f"/jobs/{again}").json()["state"]["status"] == "Completed"
