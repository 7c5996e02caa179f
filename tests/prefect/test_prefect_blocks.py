"""The Blocks, as Prefect keeps and shows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_helpers import prefect_cli, run_python
from pydantic import HttpUrl, SecretStr, ValidationError

import session_block
from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession

if TYPE_CHECKING:
    from support import Platform

TOKEN = "a-secret-token-0123456789"
BLOCKS = [IBMSessionCredentials, LocalPlatformCredentials, QuantumSession]


class _QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="module")
def package_files() -> Iterator[str]:
    """The package's directory over HTTP, in place of the web."""
    directory = str(Path(session_block.__file__).parent)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietFiles, directory=directory))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestStandard(BlockStandardTestSuite):
    """Each Block is described, documented, and has an example and a logo, as Prefect asks for."""

    @pytest.fixture(params=BLOCKS)
    def block(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, package_files: str
    ) -> type[Block]:
        """Each Block in turn, its logo served from this checkout."""
        block: type[Block] = request.param
        path = str(block._logo_url).partition("/session_block/")[2]
        monkeypatch.setattr(block, "_logo_url", HttpUrl(f"{package_files}/{path}"))
        return block


def _ibm_credentials(token: str = TOKEN) -> IBMSessionCredentials:
    return IBMSessionCredentials(token=SecretStr(token), instance="crn:v1:a:b:c")


def test_register_names_the_three_blocks(prefect_server: str) -> None:  # noqa: ARG001
    """``prefect block register -m session_block`` registers exactly the three Blocks."""
    said = prefect_cli("block", "register", "-m", "session_block")
    assert "3 blocks" in said
    assert all(block.get_block_type_name() in said for block in BLOCKS), said


def test_ibm_credentials_come_back_with_their_secret(prefect_server: str) -> None:  # noqa: ARG001
    """A saved session with IBM credentials comes back as it was, API key and ledger URL too."""
    saved = QuantumSession(
        credentials=_ibm_credentials(),
        backend_name="ibm_fez",
        max_time="2h 30m",
        ledger_url=SecretStr("postgresql://me:pass@db/ledger"),
    )
    saved.save("round-trip-ibm", overwrite=True)
    loaded = QuantumSession.load("round-trip-ibm")
    assert isinstance(loaded.credentials, IBMSessionCredentials)
    assert loaded.credentials.account() == saved.credentials.account()
    assert loaded.credentials.account().token == TOKEN
    assert loaded.max_time == "2h 30m"
    assert loaded.ledger_url == saved.ledger_url


def test_local_credentials_come_back(platform: Platform, prefect_server: str) -> None:  # noqa: ARG001
    """A saved session on the local platform comes back as it was."""
    credentials = LocalPlatformCredentials(state_dir=platform.info.state_dir, noise="exact", seed=0)
    QuantumSession(credentials=credentials, backend_name="ibm_manila", max_time=60).save(
        "round-trip-local", overwrite=True
    )
    loaded = QuantumSession.load("round-trip-local")
    assert isinstance(loaded.credentials, LocalPlatformCredentials)
    assert loaded.credentials.account() == credentials.account()
    assert loaded.max_time == 60


def test_a_rotated_key_reaches_the_session(prefect_server: str) -> None:  # noqa: ARG001
    """A session whose credentials are a Block of their own sees the key that is saved there."""
    credentials = _ibm_credentials()
    credentials.save("rotated", overwrite=True)
    QuantumSession(credentials=credentials, backend_name="ibm_fez").save("rotates", overwrite=True)
    _ibm_credentials("the-next-token").save("rotated", overwrite=True)
    assert QuantumSession.load("rotates").credentials.account().token == "the-next-token"


def test_loading_asks_the_platform_nothing(platform: Platform, saved_block: str) -> None:
    """Loading a Block and opening an experiment make no request to the platform."""
    before = platform.stats()["requests"]
    QuantumSession.load(saved_block).experiment("untouched")
    after = platform.stats()["requests"]
    changed = {route for route in after if after[route] != before.get(route)}
    assert all("_local" in route for route in changed), changed


def test_loading_imports_no_qiskit(saved_block: str) -> None:
    """A fresh process loads the Block without importing Qiskit, whose import takes seconds."""
    said = run_python(
        "import sys; from session_block import QuantumSession; "
        f"QuantumSession.load({saved_block!r}); "
        "print(sorted(name for name in sys.modules if name.partition('.')[0].startswith('qiskit')))"
    )
    assert said.strip() == "[]"


def test_no_text_of_a_block_shows_the_key() -> None:
    """Neither repr, str nor the masked dump of a Block shows its secrets."""
    block = QuantumSession(
        credentials=_ibm_credentials(),
        backend_name="ibm_fez",
        ledger_url=SecretStr(f"postgresql://me:{TOKEN}@db/ledger"),
    )
    account = block.credentials.account()
    texts = [repr(block), str(block), block.model_dump_json(), repr(account), str(account)]
    assert not [text for text in texts if TOKEN in text]


WRONG_FIELDS: list[dict[str, Any]] = [
    {"account_name": "also-a-saved-account"},
    {"channel": "no-channel"},
    {"url": "ftp://nowhere"},
    {"verify": "perhaps"},
    {"proxies": TOKEN},
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS)
def test_validation_errors_do_not_show_the_key(wrong: dict[str, Any]) -> None:
    """An error about one field of the credentials does not show the others."""
    with pytest.raises(ValidationError) as raised:
        IBMSessionCredentials(**{"token": TOKEN, **wrong})
    assert TOKEN not in f"{raised.value} {raised.value!r}"


@pytest.mark.parametrize("wrong", WRONG_FIELDS)
def test_wrong_ibm_credentials_do_not_become_the_local_platform(wrong: dict[str, Any]) -> None:
    """Credentials that are wrong for IBM are an error, not those of the local platform."""
    with pytest.raises(ValidationError) as raised:
        QuantumSession.model_validate(
            {"credentials": {"token": TOKEN, **wrong}, "backend_name": "ibm_fez"}
        )
    assert TOKEN not in f"{raised.value} {raised.value!r}"
