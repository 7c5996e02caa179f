"""How sessions and batches end, and what they, their jobs and their instance then say."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from session_block.errors import PlatformError
from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec, Layout
from session_block.local_platform.workloads.session_lifecycle import (
    CLOSED_COST_LIMIT,
    CLOSED_MAX_TIME,
    CLOSED_UNUSED,
)

from .support import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from session_block.local_platform.config.state import CancelledSessionJobs
    from session_block.local_platform.workloads.session_lifecycle import HowToEnd

JOB_SECONDS = 10
IDLE_SECONDS = 60
UNUSED_SECONDS = 1800
MAX_TIME = 600
JOB = {"program_id": "sampler", "params": {"pubs": []}, "backend": "ibm_manila"}
MINE = "mine"
LAYOUT = Layout(
    accounts=(
        AccountSpec(instances=(InstanceSpec(name=MINE), InstanceSpec(name="neighbour"))),
        AccountSpec(instances=(InstanceSpec(name="neighbour"),)),
    )
)
MODES = ["dedicated", "batch"]


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of two instances without a limit, whose clock moves when it is advanced."""
    with LocalPlatform(
        time_scale=0, charges="simulated", job_seconds=JOB_SECONDS, layout=LAYOUT
    ) as running:
        yield running


@pytest.fixture
def api(platform: LocalPlatform) -> Iterator[httpx.Client]:
    """The API of the first instance, which has no limit and no session when the test begins."""
    platform.set_usage_limit(MINE, 0)
    platform.set_usage_limit(MINE, None)
    platform.advance(MAX_TIME)
    with raw_client(platform.info) as client:
        yield client


def open_session(api: httpx.Client, mode: str = "dedicated", backend: str = "ibm_manila") -> str:
    """Open a session or batch and return its ID."""
    body = {"mode": mode, "backend": backend, "max_ttl": MAX_TIME}
    return str(api.post("/sessions", json=body).raise_for_status().json()["id"])


def submit(api: httpx.Client, session_id: str, backend: str = "ibm_manila") -> str:
    """Submit a job to a session and return its ID."""
    body = {**JOB, "session_id": session_id, "backend": backend}
    return str(api.post("/jobs", json=body).raise_for_status().json()["id"])


def look(api: httpx.Client, session_id: str) -> dict[str, Any]:
    """Return a session as the API shows it."""
    content: dict[str, Any] = api.get(f"/sessions/{session_id}").raise_for_status().json()
    return content


def state_of(api: httpx.Client, session_id: str) -> tuple[str, str]:
    """Return the state of a session and its reason."""
    seen = look(api, session_id)
    return seen["state"], seen["state_reason"]


def job_of(api: httpx.Client, job_id: str) -> tuple[str, int | None]:
    """Return the state of a job and its code."""
    state = api.get(f"/jobs/{job_id}").json()["state"]
    return state["status"], state.get("reason_code")


def usage(api: httpx.Client) -> dict[str, Any]:
    """Return the usage of the first instance."""
    content: dict[str, Any] = api.get("/instances/usage").json()
    return content


def moment(text: str) -> float:
    """Return a time of the API as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("mode", MODES)
def test_the_reason_while_it_lives(platform: LocalPlatform, api: httpx.Client, mode: str) -> None:
    """IBM's words say that a session was created, and that idling made it inactive."""
    session_id = open_session(api, mode)
    assert state_of(api, session_id) == ("open", "session_created")
    assert moment(look(api, session_id)["created_at"]) == pytest.approx(platform.now())
    submit(api, session_id)
    platform.advance(JOB_SECONDS)
    assert state_of(api, session_id) == ("active", "session_created")
    platform.advance(IDLE_SECONDS)
    assert state_of(api, session_id) == ("inactive", "session_inactivated_by_interactive_ttl")
    submit(api, session_id)
    platform.advance(1)
    assert state_of(api, session_id) == ("active", "session_created")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("close", "session_closed_early"),
        ("cancel", "session_closed_early"),
        ("max_time", CLOSED_MAX_TIME),
        ("cost_limit", CLOSED_COST_LIMIT),
    ],
)
def test_an_admin_ends_it_without_its_client(
    platform: LocalPlatform, api: httpx.Client, mode: str, by: HowToEnd, reason: str
) -> None:
    """A session is closed or cancelled as by a person, or ended by a limit; its reason says so."""
    session_id = open_session(api, mode)
    submit(api, session_id)
    platform.advance(JOB_SECONDS)
    platform.end_session(session_id, by=by)
    ended = look(api, session_id)
    assert (ended["state"], ended["state_reason"]) == ("closed", reason)
    assert moment(ended["closed_at"]) == pytest.approx(platform.now())
    platform.end_session(session_id, by=by)
    assert look(api, session_id) == ended


def test_what_an_admin_cannot_end(platform: LocalPlatform, api: httpx.Client) -> None:
    """An unknown session, and an end that there is not, are refused."""
    with pytest.raises(PlatformError, match="Session not found: unknown"):
        platform.end_session("unknown", by="close")
    session_id = open_session(api)
    with pytest.raises(PlatformError, match="by must be one of max_time, close, cancel"):
        platform.end_session(session_id, by="fatigue")  # type: ignore[arg-type]
    assert state_of(api, session_id) == ("open", "session_created")


def test_the_reason_of_an_end_in_time(platform: LocalPlatform, api: httpx.Client) -> None:
    """A session that nobody uses, one over its time, and a closed one differ in their reasons."""
    unused, used, drained = (open_session(api) for _ in range(3))
    for session_id in (used, drained):
        submit(api, session_id)
    api.patch(f"/sessions/{drained}", json={"accepting_jobs": False})
    assert state_of(api, drained) == ("open", "session_created")
    platform.advance(UNUSED_SECONDS)
    assert state_of(api, unused) == ("closed", CLOSED_UNUSED)
    assert state_of(api, used) == ("closed", CLOSED_MAX_TIME)
    assert state_of(api, drained) == ("closed", "session_closed_early")


@pytest.mark.parametrize(
    ("mode", "setting", "ended"),
    [
        ("batch", "cancelled", ("Failed", 1217)),
        ("batch", "failed", ("Failed", 1217)),
        ("dedicated", None, ("Cancelled", None)),
        ("dedicated", "cancelled", ("Cancelled", None)),
        ("dedicated", "failed", ("Failed", 1217)),
    ],
)
def test_the_queued_jobs_of_a_cancelled_session(
    mode: str, setting: CancelledSessionJobs | None, ended: tuple[str, int | None]
) -> None:
    """Those of a batch fail with 1217 at no charge; a setting says it of a dedicated session."""
    with (
        LocalPlatform(
            time_scale=0,
            charges="simulated",
            job_seconds=JOB_SECONDS,
            cancelled_session_jobs=setting,
        ) as platform,
        raw_client(platform.info) as api,
    ):
        session_id = open_session(api, mode)
        running, queued = submit(api, session_id), submit(api, session_id)
        platform.advance(1)
        assert api.delete(f"/sessions/{session_id}/close").status_code == 204
        assert job_of(api, queued) == ended
        job = api.get(f"/jobs/{queued}").json()
        assert ("reason" in job["state"]) is (ended[1] is not None)
        assert job["usage"]["seconds"] == 0
        assert state_of(api, session_id) == ("active", "session_created")
        platform.advance(JOB_SECONDS)
        assert job_of(api, running) == ("Completed", None)
        assert state_of(api, session_id) == ("closed", "session_closed_early")


@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        ({}, {"max_time": "Failed", "cost_limit": "Cancelled"}),
        (
            {"max_time_jobs": "cancelled", "cost_limit_jobs": "failed"},
            {"max_time": "Cancelled", "cost_limit": "Failed"},
        ),
    ],
)
def test_the_queued_jobs_of_a_session_that_a_limit_ends(settings: Any, ends: Any) -> None:
    """Two settings say what they do at the maximum time and at the cost limit."""
    with (
        LocalPlatform(time_scale=0, job_seconds=JOB_SECONDS, **settings) as platform,
        raw_client(platform.info) as api,
    ):
        for by, mode in product(ends, MODES):
            session_id = open_session(api, mode)
            submit(api, session_id)
            queued = submit(api, session_id)
            platform.advance(1)
            platform.end_session(session_id, by=by)
            state = api.get(f"/jobs/{queued}").json()["state"]
            assert state["status"] == ends[by], (by, mode)
            failed = ends[by] == "Failed"
            assert state.get("reason_code") == (1217 if failed else None)
            assert ("longer max_time" in state.get("reason_solution", "")) is failed
            platform.set_usage_limit(platform.info.instance, None)
            platform.advance(JOB_SECONDS)


def test_the_status_of_a_refusal_by_a_closed_session() -> None:
    """The HTTP status of code 1217 is not known, and so a setting."""
    with (
        LocalPlatform(session_closed_status=409) as platform,
        raw_client(platform.info) as api,
    ):
        session_id = open_session(api)
        platform.end_session(session_id, by="close")
        refused = api.post("/jobs", json={**JOB, "session_id": session_id})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (409, 1217)
    with pytest.raises(ValueError, match="session_closed_status must be from 400 to 499"):
        LocalPlatform(session_closed_status=200).__enter__()


def test_a_user_cancels_a_job_without_a_reason(platform: LocalPlatform, api: httpx.Client) -> None:
    """A job that its user cancels, queued or running, is cancelled and gives no reason."""
    session_id = open_session(api)
    jobs = [submit(api, session_id) for _ in range(2)]
    platform.advance(1)
    for job_id in jobs:
        assert api.post(f"/jobs/{job_id}/cancel").status_code == 204
        assert api.get(f"/jobs/{job_id}").json()["state"] == {"status": "Cancelled"}


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_one_closes_at_once(platform: LocalPlatform, api: httpx.Client, mode: str) -> None:
    """A session or batch without jobs that accepts no more is closed, and says since when."""
    session_id = open_session(api, mode)
    assert look(api, session_id)["closed_at"] is None
    api.patch(f"/sessions/{session_id}", json={"accepting_jobs": False}).raise_for_status()
    seen = look(api, session_id)
    assert (seen["state"], seen["state_reason"]) == ("closed", "session_closed_early")
    assert moment(seen["closed_at"]) == pytest.approx(platform.now())


@pytest.mark.parametrize("mode", MODES)
def test_a_closed_one_stays_closed(platform: LocalPlatform, api: httpx.Client, mode: str) -> None:
    """``accepting_jobs: true`` is accepted and shown; the session stays closed, jobs refused."""
    session_id = open_session(api, mode)
    platform.end_session(session_id, by="close")
    closed = look(api, session_id)
    answer = api.patch(f"/sessions/{session_id}", json={"accepting_jobs": True})
    assert answer.status_code == 204
    assert look(api, session_id) == {**closed, "accepting_jobs": True}
    refused = api.post("/jobs", json={**JOB, "session_id": session_id})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, 1217)
    api.patch(f"/sessions/{session_id}", json={"accepting_jobs": False}).raise_for_status()
    assert look(api, session_id) == closed


def test_one_that_still_runs_can_accept_jobs_again(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """A session that was closed with a job running does not end with that job after all."""
    session_id = open_session(api)
    submit(api, session_id)
    platform.advance(1)
    for accepting in (False, True):
        body = {"accepting_jobs": accepting}
        assert api.patch(f"/sessions/{session_id}", json=body).status_code == 204
        assert look(api, session_id)["accepting_jobs"] is accepting
    submit(api, session_id)
    platform.advance(2 * JOB_SECONDS)
    assert state_of(api, session_id) == ("active", "session_created")


@pytest.mark.parametrize("wrong", [None, 1, "false"])
def test_a_session_accepts_jobs_or_not(api: httpx.Client, wrong: object) -> None:
    """``accepting_jobs`` is true or false, and nothing else."""
    answer = api.patch(f"/sessions/{open_session(api)}", json={"accepting_jobs": wrong})
    assert answer.status_code == 400


def test_the_cost_limit_ends_all_sessions_at_its_moment(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """All of the instance's end when its active ones reach the limit; the running job finishes."""
    used = usage(api)["usage_consumed_seconds"]
    platform.set_usage_limit(MINE, used + 15)
    begun = platform.now()
    active, idle, batch = open_session(api), open_session(api), open_session(api, "batch")
    done, running, queued = (submit(api, active) for _ in range(3))
    waiting = submit(api, batch)
    neighbour = platform.accounts[0].instances[1].crn
    theirs = {"mode": "dedicated", "backend": "ibm_manila"}
    api.headers["Service-CRN"] = neighbour
    untouched = str(api.post("/sessions", json=theirs).json()["id"])
    api.headers["Service-CRN"] = platform.info.instance

    platform.advance(14)
    assert state_of(api, active) == ("active", "session_created")
    assert usage(api)["usage_limit_reached"] is False
    platform.advance(4)
    for session_id in (active, idle, batch):
        assert state_of(api, session_id) == ("closed", CLOSED_COST_LIMIT)
        assert moment(look(api, session_id)["closed_at"]) - begun == pytest.approx(15, abs=2e-3)
    assert usage(api)["usage_limit_reached"] is True
    assert job_of(api, done) == ("Completed", None)
    assert job_of(api, running) == ("Running", None)
    assert job_of(api, queued) == job_of(api, waiting) == ("Cancelled", None)
    platform.advance(2)
    assert job_of(api, running) == ("Completed", None)
    assert usage(api)["usage_consumed_seconds"] == used + 20
    api.headers["Service-CRN"] = neighbour
    assert state_of(api, untouched) == ("open", "session_created")
    platform.end_session(untouched, by="cancel")


def test_two_active_sessions_reach_the_limit_together(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """Sessions on two backends use the limit up in half the time."""
    platform.set_usage_limit(MINE, usage(api)["usage_consumed_seconds"] + 30)
    begun = platform.now()
    sessions = {name: open_session(api, backend=name) for name in ("ibm_manila", "ibm_nairobi")}
    for name, session_id in sessions.items():
        submit(api, session_id, name)
    platform.advance(40)
    for session_id in sessions.values():
        assert state_of(api, session_id) == ("closed", CLOSED_COST_LIMIT)
        assert moment(look(api, session_id)["closed_at"]) - begun == pytest.approx(15, abs=2e-3)


def test_a_job_of_a_batch_reaches_the_limit_when_it_ends(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """A batch is charged by its jobs: the one that exceeds the limit finishes, no other runs."""
    platform.set_usage_limit(MINE, usage(api)["usage_consumed_seconds"] + 15)
    batch = open_session(api, "batch")
    jobs = [submit(api, batch) for _ in range(3)]
    platform.advance(19)
    assert state_of(api, batch)[0] == "active"
    platform.advance(10)
    assert state_of(api, batch) == ("closed", CLOSED_COST_LIMIT)
    assert [job_of(api, job_id) for job_id in jobs] == [("Completed", None)] * 2 + [
        ("Cancelled", None)
    ]


def test_the_limit_ends_a_session_that_rests_as_it_is_reached(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """The session that used up the last second by idling is ended, not only inactive."""
    allowed = JOB_SECONDS + IDLE_SECONDS
    platform.set_usage_limit(MINE, usage(api)["usage_consumed_seconds"] + allowed)
    session_id = open_session(api)
    submit(api, session_id)
    platform.advance(allowed + 1)
    assert state_of(api, session_id) == ("closed", CLOSED_COST_LIMIT)


def test_an_admin_lowers_and_raises_the_limit(platform: LocalPlatform, api: httpx.Client) -> None:
    """A lowered limit ends sessions at once, a raised one lets new ones run; both are kept."""
    session_id = open_session(api)
    submit(api, session_id)
    platform.advance(JOB_SECONDS)
    used = usage(api)["usage_consumed_seconds"]
    figures = platform.set_usage_limit(platform.info.instance, used)
    assert figures == usage(api)
    assert (figures["usage_limit_seconds"], figures["usage_limit_reached"]) == (used, True)
    assert state_of(api, session_id) == ("closed", CLOSED_COST_LIMIT)
    assert api.post("/jobs", json=JOB).status_code == 409
    platform.kill()
    platform.restart()
    assert usage(api) == figures
    late = open_session(api)
    platform.advance(0)
    assert state_of(api, late) == ("closed", CLOSED_COST_LIMIT)

    figures = platform.set_usage_limit(MINE, used + 1000)
    assert (figures["usage_limit_seconds"], figures["usage_limit_reached"]) == (used + 1000, False)
    assert state_of(api, session_id)[0] == "closed"
    job_id = submit(api, open_session(api))
    platform.advance(JOB_SECONDS)
    assert job_of(api, job_id) == ("Completed", None)
    assert "usage_limit_seconds" not in platform.set_usage_limit(MINE, None)


def test_whose_limit_it_is(platform: LocalPlatform) -> None:
    """A name that two accounts have, an unknown one, and no number are refused."""
    with pytest.raises(PlatformError, match="several accounts have an instance neighbour"):
        platform.set_usage_limit("neighbour", 1)
    with pytest.raises(PlatformError, match="Instance not found: nobody"):
        platform.set_usage_limit("nobody", 1)
    with pytest.raises(PlatformError, match="seconds must be a whole number"):
        platform.set_usage_limit(MINE, -1)


def test_a_rule_makes_the_instance_reach_its_limit(
    platform: LocalPlatform, api: httpx.Client
) -> None:
    """The session that a call names ends by the cost limit, and the figures of usage agree."""
    session_id, other = open_session(api), open_session(api)
    running, queued = submit(api, session_id), submit(api, session_id)
    platform.advance(1)
    platform.add_fault(kind="end_session", by="cost_limit", path="/sessions/{session_id}")
    assert state_of(api, session_id) == ("closed", CLOSED_COST_LIMIT)
    assert state_of(api, other) == ("closed", CLOSED_COST_LIMIT)
    assert usage(api)["usage_limit_reached"] is True
    assert (job_of(api, running)[0], job_of(api, queued)) == ("Running", ("Cancelled", None))
    assert api.post("/jobs", json={**JOB, "session_id": session_id}).status_code == 409
    platform.advance(JOB_SECONDS)
    assert job_of(api, running) == ("Completed", None)
    platform.set_usage_limit(MINE, None)
    refused = api.post("/jobs", json={**JOB, "session_id": session_id})
    assert refused.json()["errors"][0]["code"] == 1217
