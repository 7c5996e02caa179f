"""Access tokens as the client gets, keeps and renews them, and what becomes of wrong ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts.exceptions import InvalidAccountError
from qiskit_ibm_runtime.api.client_parameters import ClientParameters
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError
from runtime_client import RuntimeClient

from session_block.local_platform import LocalPlatform

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    from collections.abc import Iterator

# The client renews a token ten seconds before its end, so one of thirteen is good for three.
TOKEN_SECONDS = 13
IAM = "POST /identity/token"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform whose access tokens live for seconds only."""
    with LocalPlatform(token_seconds=TOKEN_SECONDS) as running:
        yield running


def tokens(local: LocalPlatform) -> int:
    """Return how often a token was asked for."""
    return int(local.stats()["requests"][IAM])


def low_level(local: LocalPlatform, token: str) -> RuntimeClient:
    """Return the client's own HTTP layer. A service would wait a minute after a failed log-in."""
    return RuntimeClient(
        ClientParameters(
            channel="ibm_quantum_platform",
            token=token,
            url=local.info.url,
            instance=local.info.instance,
        )
    )


def test_a_token_is_kept_and_renewed(local: LocalPlatform) -> None:
    """The client keeps a token while it is good, and gets itself another one in time."""
    service = local.service()
    service.usage()
    time.sleep(TOKEN_SECONDS - 10)
    before = tokens(local)
    service.usage()
    assert tokens(local) == before + 1
    service.usage()
    assert tokens(local) == before + 1
    time.sleep(TOKEN_SECONDS - 10)
    service.usage()
    assert tokens(local) == before + 2


def test_tokens_too_short_to_be_kept() -> None:
    """With tokens shorter than the client's margin it asks for one each time, and works."""
    with LocalPlatform(token_seconds=5) as local:
        service = local.service()
        before = tokens(local)
        for _ in range(3):
            service.usage()
        assert tokens(local) == before + 3


def test_a_wrong_key(local: LocalPlatform) -> None:
    """With a wrong API key no service comes about."""
    with pytest.raises(InvalidAccountError, match="valid API token"):
        local.service(token="wrong")


def test_a_wrong_key_in_the_header(local: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the client gets no token it sends the key itself, and a wrong one is not authorized."""
    monkeypatch.setenv("IAM_URL", local.environment["IAM_URL"])
    client = low_level(local, "wrong")
    instead = "API Key will be used instead. .*Provided API key could not be found"
    with (
        pytest.warns(UserWarning, match=instead),
        pytest.raises(IBMNotAuthorizedError, match=r'401 Client Error.*"code":1200'),
    ):
        client.jobs_get(limit=1)


def test_the_key_in_the_header(local: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right key in place of a token is as good as one."""
    monkeypatch.setenv("IAM_URL", f"{local.info.origin}/nowhere")
    client = low_level(local, local.info.token)
    with pytest.warns(UserWarning, match="API Key will be used instead"):
        assert client.jobs_get(limit=1)["count"] == 0


def test_a_custom_url_resolver(local: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform also answers below /api/v1, where a URL resolver may point."""
    for name, value in local.environment.items():
        monkeypatch.setenv(name, value)
    service = QiskitRuntimeService(url_resolver=lambda *_: f"{local.info.origin}/api/v1")
    assert service._active_api_client._session.base_url == f"{local.info.origin}/api/v1"
    assert service.usage()["instance_id"] == local.info.instance
