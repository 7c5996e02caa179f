from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from session_block.local_platform.api.bodies import Room
from session_block.local_platform.api.http import Call, Operation, route
from session_block.local_platform.config.state import load_identity

if TYPE_CHECKING:
    from session_block.local_platform import PlatformInfo

JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}


def bearer(platform: PlatformInfo, expires: float, secret: str | None = None) -> str:
    """Return an Authorization header with a token like the platform's own."""
    identity = load_identity(platform.state_dir)
    assert identity is not None
    claims = {"exp": int(expires), "sub": identity.accounts[0].id, "jti": str(time.time_ns())}
    return "Bearer " + jwt.encode(claims, secret or identity.secret, "HS256")


def test_iam_knows_only_its_key(platform: PlatformInfo) -> None:
    """IAM gives a token of one hour for the API key, and 400 for any other."""
    url = f"{platform.origin}/iam/identity/token"
    token = httpx.post(url, data={"apikey": platform.token}, trust_env=False).json()
    assert (
        token["expiration"]
        - jwt.decode(token["access_token"], options={"verify_signature": False})["iat"]
        == 3600
    )
    for body in ({"apikey": "wrong"}, {}):
        assert httpx.post(url, data=body, trust_env=False).status_code == 400


def test_every_call_needs_a_credential(platform: PlatformInfo) -> None:
    """Missing, wrong, foreign and expired credentials get 401."""
    forever = 4e9
    wrong = [
        {},
        {"Authorization": "apikey wrong"},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": platform.token},
        {"Authorization": bearer(platform, forever, "another secret of thirty-two bytes")},
        {"Authorization": bearer(platform, 1e9)},
    ]
    for headers in wrong:
        headers["Service-CRN"] = platform.instance
        answer = httpx.get(f"{platform.url}/jobs", headers=headers, trust_env=False)
        assert answer.status_code == 401, headers
        assert answer.json()["errors"][0]["code"] == 1200
    good = {"Authorization": bearer(platform, forever), "Service-CRN": platform.instance}
    assert httpx.get(f"{platform.url}/jobs", headers=good, trust_env=False).is_success


def test_every_call_needs_the_instance(api: httpx.Client) -> None:
    """Another account's CRN is not found, and what is no CRN is refused, each with IBM's code."""
    crn = "crn:v1:bluemix:public:quantum-computing:us-east:a/b:c::"
    for given, status, code in (
        (crn, 404, 1279),
        (crn.removesuffix("::"), 400, 1348),
        (crn.replace("a/b", "b"), 400, 1348),
        ("", 400, 1241),
        ("local-platform", 400, 1241),
    ):
        answer = api.get("/jobs", headers={"Service-CRN": given})
        assert answer.status_code == status, given
        (error,) = answer.json()["errors"]
        assert error["code"] == code, given
        assert error["solution"]


@pytest.mark.parametrize(
    "path",
    ["/jobs/x", "/jobs/x/results", "/sessions/x", "/nowhere", "/jobs/%00"],
)
def test_what_does_not_exist(api: httpx.Client, path: str) -> None:
    """Unknown things get 404 in IBM's form."""
    answer = api.get(path)
    assert answer.status_code == 404
    assert set(answer.json()["errors"][0]) == {"code", "message", "solution", "more_info"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"program_id":"sampler","backend":"ibm_manila","params":' + b'{"a":' * 500,
        b'{"program_id":"sampler","backend":"ibm_manila","params":'
        + b'{"pubs":' * 300
        + b"1"
        + b"}" * 301,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
)
def test_bodies_that_are_no_request(api: httpx.Client, body: bytes) -> None:
    """A body that is not a JSON object of a sane depth gets 400."""
    assert api.post("/jobs", content=body).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"backend": None},
        {"backend": 5},
        {"program_id": ["sampler"]},
        {"params": None},
        {"params": []},
        {"params": {}},
        {"program_id": "noise-learner"},
        {"tags": [["x"]]},
        {"tags": ["\ud800"]},
        {"cost": -1},
        {"cost": 10_801},
        {"cost": 10**400},
        {"private": "yes"},
        {"session_id": {}},
        {"calibration_id": "none"},
    ],
)
def test_jobs_that_make_no_sense(api: httpx.Client, change: dict[str, Any]) -> None:
    """A job with a field of the wrong kind gets 400, and no job comes of it."""
    before = api.get("/jobs").json()["count"]
    body = json.dumps({**JOB, **change})
    assert api.post("/jobs", content=body).status_code == 400
    assert api.get("/jobs").json()["count"] == before


@pytest.mark.parametrize(
    "query",
    ["created_after=yesterday", "pending=maybe", "sort=UP", "created_before=%00"],
)
def test_queries_that_make_no_sense(api: httpx.Client, query: str) -> None:
    """A query parameter of the wrong kind gets 400."""
    assert api.get(f"/jobs?{query}").status_code == 400


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "offset=-1", "offset=" + "9" * 99]
)
def test_pages_out_of_range(api: httpx.Client, query: str) -> None:
    """A page size or offset out of range is replaced by the default, as IBM documents."""
    answer = api.get(f"/jobs?{query}").json()
    assert (answer["limit"], answer["offset"]) == (200, 0)


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", "W10=", "é"])
def test_foreign_cursors(api: httpx.Client, cursor: str) -> None:
    """A cursor that the platform did not make gets 400."""
    assert api.get("/workloads", params={"next": cursor}).status_code == 400


def test_not_a_number_comes_back(api: httpx.Client) -> None:
    """A NaN in a job's parameters is kept, not turned into an internal error."""
    body = b'{"program_id":"sampler","backend":"ibm_manila","params":{"pubs":[],"x":NaN}}'
    job_id = api.post("/jobs", content=body).json()["id"]
    assert "NaN" in api.get(f"/jobs/{job_id}").text


def test_an_internal_error_is_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that fails is answered with a 500 in IBM's form, and the log says why."""

    def fail(_: Call) -> None:
        raise RuntimeError("out of qubits")

    platform: Any = SimpleNamespace(
        stats=SimpleNamespace(count=lambda _: None),
        faults=SimpleNamespace(concern=lambda *_: False),
    )
    operation = Operation("GET", "/x", fail, needs_token=False, needs_instance=False)
    app = Starlette(routes=[route(platform, "", operation, Room())])

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/x")

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["code"] == 1000
    assert "out of qubits" in caplog.text


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("/sessions", {"mode": "dedicated"}, 400, 1352),
        ("/jobs", {"session_id": "unknown"}, 404, 1292),
        ("/jobs", {"backend": 1}, 400, 1208),
    ],
)
def test_codes(
    platform: PlatformInfo,
    api: httpx.Client,
    path: str,
    change: dict[str, Any],
    status: int,
    code: int,
) -> None:
    """Refusals bear IBM's codes where these are public."""
    identity = load_identity(platform.state_dir)
    assert identity is not None
    open_plan = next(item for item in identity.accounts[0].instances if item.plan == "open")
    body = {**JOB, "backend": open_plan.backends[0], **change}
    answer = api.post(path, json=body, headers={"Service-CRN": open_plan.crn})
    assert answer.status_code == status
    assert answer.json()["errors"][0]["code"] == code
