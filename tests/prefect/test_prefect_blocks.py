"""The Blocks, as Prefect keeps and shows them."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect_helpers import prefect_cli, run_python
from pydantic import HttpUrl, SecretStr, TypeAdapter, ValidationError

import session_block
from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.errors import InvalidInputError

pytestmark = pytest.mark.rest

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
    """Loading a Block makes no request to the platform, nor opening an experiment once more."""
    opened = QuantumSession.load(saved_block).experiment("untouched")
    before = platform.stats()["requests"]
    assert QuantumSession.load(saved_block).experiment("untouched").uid == opened.uid
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


@pytest.mark.parametrize("block", BLOCKS)
def test_a_form_has_one_input_for_each_field(block: type[Block]) -> None:
    """No field is a union but that of the credentials: a form shows a union as tabs."""
    schema = block.model_json_schema()
    unions = [name for name, field in schema["properties"].items() if "type" not in field]
    assert unions == (["credentials"] if block is QuantumSession else [])
    assert not [
        name for name, field in schema["properties"].items() if field.get("default", 0) is None
    ]


def test_a_form_asks_for_what_matters_first() -> None:
    """Whose account, which backend, how and how long come before limits and policies."""
    fields = QuantumSession.model_json_schema()["properties"]
    first = ["credentials", "backend_name", "min_num_qubits", "mode", "max_time", "max_jobs"]
    assert sorted(fields, key=lambda name: fields[name]["position"])[:6] == first


@pytest.mark.parametrize("block", BLOCKS)
def test_prefect_knows_each_secret(block: type[Block]) -> None:
    """P9: what is a secret in Python is one for Prefect's API, which else shows it."""
    fields = block.model_json_schema()
    written_only = {name for name, field in fields["properties"].items() if "writeOnly" in field}
    secrets = {n for n, field in block.model_fields.items() if "SecretStr" in str(field)}
    assert written_only == secrets == {name for name in fields["secret_fields"] if "." not in name}


def test_fields_that_are_no_text_come_back_from_their_text(prefect_server: str) -> None:  # noqa: ARG001
    """Durations and choices are text in a form; in Python they are what they were."""
    saved = QuantumSession(
        credentials=LocalPlatformCredentials(),
        max_time=90,
        min_time_left=5,
        max_usage=0.5,
        block_max_usage=600.0,
        keep_failed=0,
        use_fractional_gates=None,
    )
    assert saved.model_dump(include={"max_time", "max_usage", "block_max_usage"}) == {
        "max_time": "90",
        "max_usage": "0.5",
        "block_max_usage": "600",
    }
    saved.save("texts", overwrite=True)
    loaded = QuantumSession.load("texts")
    assert isinstance(loaded, QuantumSession)
    assert loaded.model_copy(update={"credentials": saved.credentials}) == saved
    assert (loaded.max_time, loaded.max_usage, loaded.use_fractional_gates) == (90, 0.5, None)


@pytest.mark.parametrize(
    "text", ["http://user:pass@proxy:3128", ' {"urls": {"https": "http://p:1"}}']
)
def test_proxies_are_one_text(text: str) -> None:
    """A form's URL of a proxy, or JSON, is what the client takes."""
    urls = IBMSessionCredentials(token=SecretStr(TOKEN), proxies=SecretStr(text)).account().proxies
    expected = {"https": "http://p:1"} if "{" in text else {"http": text, "https": text}
    assert urls == {"urls": expected}


def test_what_a_form_saved_wrongly_is_named(prefect_server: str) -> None:
    """A form's values are first looked at when the Block is loaded: the error names the field."""
    block = QuantumSession(credentials=_ibm_credentials())
    block.save("wrong", overwrite=True)
    with httpx.Client(base_url=prefect_server) as api:
        document = api.get("/block_types/slug/quantum-session/block_documents/name/wrong").json()
        api.patch(f"/block_documents/{document['id']}", json={"data": {"max_time": "soon"}})
    with pytest.raises(
        InvalidInputError, match=r"Block 'wrong'.*max_time.*'soon'.*Edit it"
    ) as raised:
        load_block("wrong")
    assert TOKEN not in str(raised.value)


def _add_fields(server: str, kind: str, name: str, **fields: Any) -> None:
    """Give a saved document fields as a newer version would save them."""
    with httpx.Client(base_url=server) as api:
        document = api.get(f"/block_types/slug/{kind}/block_documents/name/{name}").json()
        api.patch(f"/block_documents/{document['id']}", json={"data": fields}).raise_for_status()


def test_fields_of_a_newer_version_are_named_and_ignored(
    prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those of credentials that are Blocks of their own; a value is never shown."""
    _ibm_credentials().save("newer-key", overwrite=True)
    LocalPlatformCredentials(seed=1).save("newer-platform", overwrite=True)
    secret = "a-secret-of-tomorrow"
    _add_fields(prefect_server, "ibm-session-credentials", "newer-key", client_secret=secret)
    _add_fields(prefect_server, "local-quantum-platform", "newer-platform", speed=secret)
    for credentials, field in (
        (IBMSessionCredentials.load("newer-key"), "client_secret"),
        (LocalPlatformCredentials.load("newer-platform"), "speed"),
    ):
        QuantumSession(credentials=credentials, backend_name="ibm_fez").save(
            "newer", overwrite=True
        )
        key = {"$ref": {"block_document_id": str(credentials._block_document_id)}}
        _add_fields(prefect_server, "quantum-session", "newer", colour=secret, credentials=key)
        caplog.clear()
        loaded = load_block("newer")
        assert type(loaded.credentials) is type(credentials)
        assert loaded.backend_name == "ibm_fez"
        assert "QuantumSession Block was saved with 'colour'" in caplog.text
        assert f"{type(credentials).__name__} Block was saved with '{field}'" in caplog.text
        assert secret not in caplog.text + repr(loaded)
    with pytest.raises(ValidationError, match="no field 'colour'"):
        QuantumSession(credentials=_ibm_credentials(), colour="red")


def test_a_saved_block_stands_for_its_name(prefect_server: str) -> None:  # noqa: ARG001
    """So does Prefect's name with the type; what is not saved is told, with what to do."""
    block = QuantumSession(credentials=_ibm_credentials(), backend_name="ibm_fez")
    with pytest.raises(InvalidInputError, match=r"never saved.*block\.save\('my-block'\)"):
        load_block(block)
    block.save("named", overwrite=True)
    loaded = QuantumSession.load("named")
    for given in ("quantum-session/named", block, loaded):
        assert load_block(given) == loaded
    block.max_jobs = 3
    with pytest.raises(InvalidInputError, match=r"'named' was changed.*overwrite=True"):
        load_block(block)
    with pytest.raises(ValueError, match="already"):
        block.save("named")
    with pytest.raises(InvalidInputError, match=r"'named' was changed"):
        load_block(block)
    block.save("named", overwrite=True)
    assert load_block(block).max_jobs == 3
    with pytest.raises(InvalidInputError, match="type 'ibm-session-credentials'"):
        load_block("ibm-session-credentials/named")
    wrong: Any
    for wrong in (_ibm_credentials(), None, 3, {"a": 1}):
        with pytest.raises(InvalidInputError, match=f"A {type(wrong).__name__} was given"):
            load_block(wrong)
    with pytest.raises(ValidationError, match=r"name was given.*QuantumSession\.load"):
        TypeAdapter(QuantumSession).validate_python("named")


def test_a_mask_is_no_secret() -> None:
    """What Prefect shows in a secret's place, and its UI may save, is refused, and says why."""
    with pytest.raises(ValidationError, match=r"token.*choose its credentials"):
        _ibm_credentials("********")


def test_the_examples_run(platform: Platform, block: QuantumSession, prefect_server: str) -> None:  # noqa: ARG001
    """The snippets that the UI shows beside the Blocks run as they are."""
    info = platform.info
    saved: list[Block] = [
        IBMSessionCredentials(token=SecretStr(info.token), url=info.origin, instance=info.instance),
        platform.credentials(),
        block,
    ]
    snippets = []
    for one in saved:
        one.save("example", overwrite=True)
        snippet = re.search(r"```python\n(.*?)```", one.get_code_example() or "", re.DOTALL)
        assert snippet is not None
        snippets.append(snippet[1].replace("BLOCK_NAME", "example"))
    *listings, counts = run_python("".join(snippets)).splitlines()
    assert all("ibm_manila" in listing for listing in listings)
    assert len(listings) == 2
    assert sum(ast.literal_eval(counts).values()) == 1000


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
