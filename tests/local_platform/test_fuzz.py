"""Whatever is sent: never an internal error, never the end of the server, never another's data."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_block.local_platform import LocalPlatform
from session_block.local_platform.api.bodies import MAX_BODY_BYTES
from session_block.local_platform.api.local_access import KEY_HEADER
from session_block.local_platform.api.operations import API
from session_block.local_platform.api.routes_backends import LOCAL as BACKENDS
from session_block.local_platform.api.routes_local import LOCAL
from session_block.local_platform.api.routes_local import LOCAL as CLOCK
from session_block.local_platform.api.routes_sessions import LOCAL as SESSIONS
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec, Layout

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy

BASE = "/experimental/api/v1"
SECRET = "seventeen-kets"
JOB = {
    "program_id": "sampler",
    "backend": "ibm_manila",
    "params": {"pubs": [], "note": SECRET},
    "tags": [SECRET],
}
OUR_JOB = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}, "tags": ["t"]}
SESSION = {"mode": "batch", "backend": "ibm_manila", "max_ttl": 3600}
TWO_ACCOUNTS = Layout(
    accounts=(
        AccountSpec(instances=(InstanceSpec(name="theirs"),)),
        AccountSpec(instances=(InstanceSpec(name="ours"),)),
    )
)

fuzzed = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Target:
    """A platform of two accounts, each with a job and a session; requests are the second's."""

    platform: LocalPlatform
    http: httpx.Client
    job_id: str
    session_id: str
    our_job_id: str
    our_session_id: str

    def headers(self, account: int) -> dict[str, str]:
        """Return the credentials of an account."""
        owner = self.platform.accounts[account]
        return {
            "Authorization": f"apikey {owner.token}",
            "Service-CRN": owner.instances[0].crn,
        }

    def path(self, template: str) -> str:
        """Return the path of an operation with the first account's IDs in it."""
        names = {
            "{job_id}": self.job_id,
            "{session_id}": self.session_id,
            "{name}": "ibm_manila",
            "{plan_id}": "plan-paygo",
            "{account_id}": self.platform.accounts[0].instances[0].account_id,
            "{fault_id}": "x",
            "{instance_id:path}": self.platform.accounts[0].instances[0].crn,
        }
        for name, value in names.items():
            template = template.replace(name, quote(value, safe=""))
        return template


OPERATIONS = [
    (operation.method, prefix, operation.path)
    for prefix, operations in {**API, "": (*LOCAL, *BACKENDS, *CLOCK, *SESSIONS)}.items()
    for operation in operations
    # One of the two is enough.
    if prefix != "/api/v1"
]
operations = st.sampled_from(OPERATIONS)
texts = st.text(max_size=20)
values: SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["\x00", "\ud800", 10**400, -1, "x" * 2000, "9" * 5000, [], {}]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
bodies = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The platform that all is sent to. Its log has no traceback in the end."""
    with (
        LocalPlatform(layout=TWO_ACCOUNTS) as platform,
        httpx.Client(base_url=platform.info.origin, trust_env=False, timeout=60) as http,
    ):
        found = []
        for account, job in zip(platform.accounts, (JOB, OUR_JOB), strict=True):
            http.headers.update(
                {
                    "Authorization": f"apikey {account.token}",
                    "Service-CRN": account.instances[0].crn,
                    KEY_HEADER: platform.info.owner_key,
                }
            )
            session_id = http.post(f"{BASE}/sessions", json=SESSION).json()["id"]
            body = {**job, "session_id": session_id}
            found += [http.post(f"{BASE}/jobs", json=body).json()["id"], session_id]
        target = Target(platform, http, *found)
        yield target
        assert http.get("/_local/health").json()["pid"] == platform.info.pid
        answer = http.get(f"{BASE}/jobs/{target.job_id}", headers=target.headers(0))
        assert answer.json()["tags"] == [SECRET]
        assert "Traceback" not in (platform.info.state_dir / "platform.log").read_text()


@fuzzed
@given(operation=operations, body=bodies)
def test_any_body(target: Target, operation: tuple[str, str, str], body: bytes) -> None:
    """Any body for any operation of one's own is carried out or refused."""
    method, prefix, template = operation
    answer = target.http.request(method, prefix + target.path(template), content=body)
    assert answer.status_code < 500
    assert SECRET not in answer.text or prefix == ""


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{BASE}/jobs", OUR_JOB),
    ("POST", f"{BASE}/sessions", SESSION),
    ("PATCH", f"{BASE}/sessions/{{session}}", {"accepting_jobs": False}),
    ("PUT", f"{BASE}/jobs/{{job}}/tags", {"tags": ["t"]}),
    ("POST", "/search/v3/resources/search", {"query": "*", "search_cursor": "0"}),
    ("POST", "/_local/backends/ibm_fez/calibration", {"faulty_qubits": [1], "faulty_gates": []}),
    ("POST", "/_local/clock", {"advance": 0}),
    ("POST", "/_local/usage_limit", {"instance": "x", "seconds": 1}),
    ("POST", "/_local/sessions/{session}/end", {"by": "close"}),
]


@fuzzed
@given(request=st.sampled_from(REQUESTS), data=st.data(), value=values)
def test_one_field_wrong(
    target: Target, request: tuple[str, str, dict[str, Any]], data: st.DataObject, value: Any
) -> None:
    """A body with anything at all in one of its fields is accepted or refused."""
    method, path, body = request
    others = ["session_id", "cost", "private", "runtime", "log_level", "calibration_id", "instance"]
    field = data.draw(st.sampled_from([*body, *others]))
    answer = target.http.request(
        method,
        path.format(job=target.our_job_id, session=target.our_session_id),
        content=json.dumps({**body, field: value}),
    )
    assert answer.status_code < 500


KINDS = {
    "status": {"status": 503},
    "drop": {},
    "delay": {"seconds": 0},
    "truncate": {"bytes": 1},
    "expire_tokens": {},
    "listing_lag": {"seconds": 1},
    "wrong_count": {"add": 1},
    "rate_limit": {},
    "end_job": {"state": "failed", "reason": "x"},
    "end_session": {"by": "close"},
    "maintenance": {"backend": "ibm_fez"},
}


@fuzzed
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data(), value=values)
def test_any_rule(target: Target, kind: str, data: st.DataObject, value: Any) -> None:
    """A fault rule with anything at all in one of its fields is added or refused."""
    rule = {"kind": kind, **KINDS[kind]}
    common = ["kind", "method", "path", "contains", "nth", "times", "effect"]
    field = data.draw(st.sampled_from([*rule, *common]))
    try:
        body = json.dumps({**rule, field: value})
        assert target.http.post("/_local/faults", content=body).status_code in (200, 400)
        assert target.http.get("/_local/faults").is_success
    finally:
        target.platform.clear_faults()


@fuzzed
@given(operation=operations, query=st.dictionaries(texts, texts, max_size=3), data=st.data())
def test_any_query(
    target: Target, operation: tuple[str, str, str], query: dict[str, str], data: st.DataObject
) -> None:
    """Any query for any operation is understood, ignored or refused."""
    method, prefix, template = operation
    known = ["limit", "offset", "sort", "pending", "tags", "created_after", "next", "search"]
    numbers = st.integers().map(str)
    query[data.draw(st.sampled_from(known))] = data.draw(texts | numbers)
    # Surrogates have no place in a URL.
    pairs = {k.encode("utf-8", "replace"): v.encode("utf-8", "replace") for k, v in query.items()}
    url = "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs.items())
    answer = target.http.request(method, f"{prefix}{target.path(template)}?{url}")
    assert answer.status_code < 500


@fuzzed
@given(
    scheme=st.sampled_from(["apikey ", "Bearer ", "Basic ", ""]),
    credential=st.binary(max_size=30).map(lambda b: bytes(c for c in b if c > 32) + b"x"),
    crn=st.sampled_from(["", "crn:", "theirs", "ours"]),
    operation=operations,
)
def test_any_credential(
    target: Target, scheme: str, credential: bytes, crn: str, operation: tuple[str, str, str]
) -> None:
    """Without an API key or token of its own nobody gets anything that needs one."""
    method, prefix, template = operation
    if prefix in ("", "/iam") or template == "/versions":
        return
    crns = {name: target.headers(n)["Service-CRN"] for n, name in enumerate(("theirs", "ours"))}
    answer = target.http.request(
        method,
        prefix + target.path(template),
        headers={
            "Authorization": scheme.encode() + credential,
            "Service-CRN": crns.get(crn, crn),
        },
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "prefix", "template"),
    # The platform's own operations, without a prefix, are an admin's: they know no accounts.
    [item for item in OPERATIONS if item[1] and re.search("{(job|session)_id}", item[2])],
)
def test_another_accounts_ids(target: Target, method: str, prefix: str, template: str) -> None:
    """Another account's job and session do not exist, nor does its instance."""
    body = json.dumps({"accepting_jobs": False, "tags": ["mine"]})
    path = prefix + target.path(template)
    answer = target.http.request(method, path, content=body)
    assert answer.status_code == 404
    mixed = {**target.headers(1), "Service-CRN": target.headers(0)["Service-CRN"]}
    answer = target.http.request(method, path, content=body, headers=mixed)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == 1279


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_other_methods(target: Target, method: str) -> None:
    """A method that an operation's path does not have is refused, and nothing else happens."""
    paths = {(prefix, template) for _, prefix, template in OPERATIONS}
    for prefix, template in paths - {item[1:] for item in OPERATIONS if item[0] == method}:
        answer = target.http.request(method, prefix + target.path(template))
        assert answer.status_code == 405, (prefix, template)
        assert answer.json()["errors"][0]["code"] == 1290


def test_another_accounts_lists(target: Target) -> None:
    """No list shows another account's job or session, and no job goes into its session."""
    for query in ("jobs", f"jobs?tags={SECRET}", f"jobs?session_id={target.session_id}"):
        answer = target.http.get(f"{BASE}/{query}")
        assert target.job_id not in answer.text
    for query in ("workloads", f"workloads?search={target.session_id}"):
        answer = target.http.get(f"{BASE}/{query}")
        assert target.session_id not in answer.text
    found = target.http.post("/search/v3/resources/search", json={}).json()
    assert [item["name"] for item in found["items"]] == ["ours"]
    body = {**OUR_JOB, "session_id": target.session_id}
    assert target.http.post(f"{BASE}/jobs", json=body).status_code == 404
    crn = quote(target.platform.accounts[0].instances[0].crn, safe="")
    path = f"/resource-controller/v2/resource_instances/{crn}"
    assert target.http.get(path).status_code == 404


TRICKS = [
    "/..",
    "/%2e%2e/%2e%2e/_local/faults",
    "/jobs/%00",
    "/jobs/..%2f..%2f..%2f_local%2fjobs",
    "/jobs/%ff%fe",
    "/jobs/%F0%9F%92%A5",
    "/jobs//results",
    "/jobs/",
    "//jobs",
    "/jobs;x=1",
    "/sessions/%0d%0aX-Injected:%201",
    "/jobs/" + "x" * 8000,
    "/jobs/" + "%2e" * 3000,
    "/jobs?" + "a=b&" * 5000,
    "/%5c..%5c",
    "/jobs/*",
    "/backends/../jobs/configuration",
]


@pytest.mark.parametrize("path", TRICKS, ids=range(len(TRICKS)))
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "TRACE", "PURGE"])
def test_path_tricks(target: Target, method: str, path: str) -> None:
    """A path that looks for a way around finds none."""
    status, answer = raw(target, f"{method} /experimental/api/v1{path} HTTP/1.1", target.headers(1))
    assert status < 500
    assert SECRET.encode() not in answer
    assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]


@fuzzed
@given(line=st.binary(max_size=100), rest=st.binary(max_size=100))
def test_any_bytes(target: Target, line: bytes, rest: bytes) -> None:
    """What is not even HTTP is refused or cut off, and others are served as before."""
    address = urlsplit(target.platform.info.origin)
    with socket.create_connection((address.hostname, address.port), timeout=10) as sock:
        sock.sendall(b"GET /" + line + b"\r\n" + rest + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert b" 500 " not in sock.recv(65536).partition(b"\r\n")[0]
    assert target.http.get("/_local/health").is_success


def test_too_large_a_body(target: Target) -> None:
    """A body beyond the limit is refused with 413, before it is kept in full."""
    block = bytes(1024 * 1024)
    blocks = MAX_BODY_BYTES // len(block)

    def parts() -> Iterator[bytes]:
        for _ in range(blocks):
            yield block
        yield b"x"

    answer = target.http.post("/experimental/api/v1/jobs", content=parts())
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["code"] == 1208


def raw(target: Target, line: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send a request line as it stands; return the answer's status and all of its bytes."""
    address = urlsplit(target.platform.info.origin)
    fields = {**headers, "Host": address.netloc, "Connection": "close"}
    head = "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""])
    with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
        sock.sendall(head.encode())
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer
