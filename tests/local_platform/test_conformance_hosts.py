"""IBM Cloud's own host names, for clients that reach the platform as their HTTP proxy."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform
from session_block.local_platform.api.local_access import KEY_HEADER

from .support import bell, isa

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Iterator

DOMAIN = "cloud.platform.local"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform with the default layout."""
    with LocalPlatform() as running:
        yield running


@pytest.fixture
def proxied(local: LocalPlatform) -> Iterator[httpx.Client]:
    """Plain HTTP that uses the platform as its proxy, with the API key."""
    headers = {"Authorization": f"apikey {local.info.token}", "Service-CRN": local.info.instance}
    with httpx.Client(proxy=local.info.origin, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def cloud(local: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a service is given that finds the platform under IBM Cloud's host names."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, local.info.origin)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("IAM_URL", f"http://iam.{DOMAIN}")
    return {
        "channel": "ibm_quantum_platform",
        "token": local.info.token,
        "url": f"http://{DOMAIN}",
        "instance": local.info.instance,
    }


def raw(local: LocalPlatform, target: str, host: str, method: str = "GET") -> str:
    """Send a request line as it stands, and return the whole answer."""
    address = urlsplit(local.info.origin)
    with closing(socket.create_connection((address.hostname, address.port), 10)) as connection:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{KEY_HEADER}: {local.info.owner_key}", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_the_client_behind_a_proxy(cloud: dict[str, Any]) -> None:
    """The client runs a session by IBM Cloud's host names, with all its own look-ups."""
    service = QiskitRuntimeService(**cloud)
    assert service._active_api_client._session.base_url == f"http://quantum.{DOMAIN}/api/v1"
    backend = service.backend("ibm_manila")
    session = Session(backend)
    job = Sampler(session).run([isa(bell(), backend)])
    assert job.result()[0].data.meas.num_shots == 4096
    session.close()
    assert session.status() == "Closed"


def test_another_region(cloud: dict[str, Any]) -> None:
    """An instance of another region is reached at the host of that region."""
    service = QiskitRuntimeService(**{**cloud, "instance": "local-platform-eu"})
    assert service._active_api_client._session.base_url == f"http://eu-de.quantum.{DOMAIN}/api/v1"
    assert service.backend("ibm_aachen").status().operational


def test_a_private_endpoint(cloud: dict[str, Any]) -> None:
    """The private endpoint of a region answers too."""
    service = QiskitRuntimeService(**cloud, private_endpoint=True)
    base_url = f"http://private.us-east.quantum.{DOMAIN}/api/v1"
    assert service._active_api_client._session.base_url == base_url
    assert service.backend("ibm_manila").status().operational


def test_a_proxy_given_to_the_service(
    local: LocalPlatform, cloud: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform may also be the proxy of one service only, without any environment."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name)
    service = QiskitRuntimeService(**cloud, proxies={"urls": {"http": local.info.origin}})
    assert service.backend("ibm_manila").status().operational


@pytest.mark.parametrize("port", ["", ":80", ":8080"])
def test_hosts_and_services(proxied: httpx.Client, local: LocalPlatform, port: str) -> None:
    """Each host name leads to its service, whatever the port, and to no other."""
    token = proxied.post(
        f"http://iam.{DOMAIN}{port}/identity/token", data={"apikey": local.info.token}
    )
    assert token.json()["token_type"] == "Bearer"
    search = f"http://api.global-search-tagging.{DOMAIN}{port}/v3/resources/search"
    assert len(proxied.post(search, json={}).json()["items"]) == 3
    plan = proxied.get(f"http://globalcatalog.{DOMAIN}{port}/api/v1/plan-open").json()
    assert plan["metadata"]["pricing"]["type"] == "free"
    jobs = proxied.get(f"http://Quantum.{DOMAIN.upper()}{port}/api/v1/jobs?limit=3").json()
    assert jobs["limit"] == 3
    assert proxied.get(f"http://iam.{DOMAIN}{port}/api/v1/jobs").status_code == 404
    assert proxied.get(f"http://quantum.{DOMAIN}{port}/identity/token").status_code == 404


def test_the_host_header_of_a_direct_request(local: LocalPlatform) -> None:
    """A request that names only a path, as with a hosts file, goes by its Host header."""
    answer = raw(local, "/api/v1/plan-premium", f"globalcatalog.{DOMAIN}")
    assert answer.startswith("HTTP/1.1 401")
    answer = raw(local, "/api/v1/plan-premium", f"quantum.{DOMAIN}")
    assert answer.startswith("HTTP/1.1 404")


def test_the_url_counts_and_not_the_header(local: LocalPlatform) -> None:
    """Of a request line with a whole URL, the Host header changes nothing."""
    url = f"http://globalcatalog.{DOMAIN}/api/v1/plan-premium"
    assert raw(local, url, "127.0.0.1").startswith("HTTP/1.1 401")
    assert raw(local, f"{local.info.origin}/_local/health", "127.0.0.1").startswith("HTTP/1.1 200")


@pytest.mark.parametrize("url", ["http://example.com/", "http://[::g]/", "http:///x"])
def test_it_is_no_proxy_for_others(local: LocalPlatform, url: str) -> None:
    """A request for a foreign host is refused, and says so."""
    answer = raw(local, url, "127.0.0.1")
    assert answer.startswith("HTTP/1.1 502")
    assert "The local platform is not a proxy for" in answer


@pytest.mark.parametrize("host", [f"quantum.{DOMAIN}", f"iam.{DOMAIN}", "example.com"])
def test_own_operations_are_not_under_such_names(local: LocalPlatform, host: str) -> None:
    """The platform's own operations, which are its owner's, are under no host name."""
    for target, header in (("/_local/stats", host), (f"http://{host}/_local/stats", "127.0.0.1")):
        answer = raw(local, target, header)
        assert answer.startswith(("HTTP/1.1 403", "HTTP/1.1 404", "HTTP/1.1 502")), target
    assert raw(local, "/_local/stats", "localhost").startswith("HTTP/1.1 200")


def test_it_makes_no_tunnels(local: LocalPlatform) -> None:
    """A tunnel, which a client with an https URL asks for, is refused."""
    answer = raw(local, "quantum.cloud.ibm.com:443", "quantum.cloud.ibm.com:443", "CONNECT")
    assert answer.startswith("HTTP/1.1 4")


def test_resource_controller(proxied: httpx.Client, local: LocalPlatform) -> None:
    """The Resource Controller knows the account's instances by CRN, GUID and name."""
    base = f"http://resource-controller.{DOMAIN}/v2/resource_instances"
    mine = local.accounts[0].instances
    listed = proxied.get(base).json()
    assert listed["rows_count"] == 3
    assert [item["crn"] for item in listed["resources"]] == [item.crn for item in mine]
    by_crn = proxied.get(f"{base}/{quote(mine[1].crn, safe='')}").json()
    assert by_crn["name"] == "local-platform-eu"
    assert by_crn["region_id"] == "eu-de"
    assert proxied.get(f"{base}/{by_crn['guid']}").json() == by_crn
    by_name = proxied.get(base, params={"name": "local-platform-eu"}).json()
    assert by_name["resources"] == [by_crn]
    assert proxied.get(base, params={"name": "unknown"}).json()["rows_count"] == 0
    assert proxied.get(f"{base}/unknown").status_code == 404
    assert httpx.get(f"{local.info.origin}/resource-controller/v2/resource_instances").is_error


def test_search_pages(proxied: httpx.Client) -> None:
    """A search gives its results in pages, each with the cursor of the next but for the last."""
    url = f"http://api.global-search-tagging.{DOMAIN}/v3/resources/search?limit=2"
    query = {"query": "service_name:quantum-computing"}
    first = proxied.post(url, json=query).json()
    cursor = first["search_cursor"]
    second = proxied.post(url, json={**query, "search_cursor": cursor}).json()
    names = [item["name"] for page in (first, second) for item in page["items"]]
    assert names == ["local-platform", "local-platform-eu", "local-platform-open"]
    assert "search_cursor" not in second
    assert proxied.post(url, json={"query": "service_name:other"}).json()["items"] == []
    for wrong in ("x", "-1", "9" * 5000, 1, "²"):
        answer = proxied.post(url, json={**query, "search_cursor": wrong})
        assert answer.status_code == 400, wrong
