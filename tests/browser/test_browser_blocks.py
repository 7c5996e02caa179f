"""The Blocks' forms in Prefect's UI: what is filled in is what Python loads, and the other way."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from pages import aside, choose_credentials, fill, save, shown
from playwright.sync_api import Page, expect
from prefect.blocks.core import Block

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.blocks.quantum_session import load_block
from session_block.errors import InvalidInputError
from session_block.references import DEFAULT_IMPLEMENTATION

pytestmark = [pytest.mark.rest, pytest.mark.shares_names]

AnyBlock = TypeVar("AnyBlock", bound=Block)

MASK = "********"
IBM: dict[str, Any] = {
    "token": "a-secret-token-0123456789",
    "instance": "crn:v1:a:b:c",
    "channel": "ibm_cloud",
    "url": "https://quantum.example.org",
    "private_endpoint": True,
    "proxies": "http://user:a-password@proxy.example.org:3128",
    "verify": False,
}
IBM_ELSEWHERE = {"account_name": "mine", "ca_bundle": "/etc/ssl/company.pem"}
LOCAL: dict[str, Any] = {"state_dir": "/srv/platform", "noise": "shots", "seed": 7}
SESSION: dict[str, Any] = {
    "backend_name": "ibm_fez",
    "min_num_qubits": 5,
    "mode": "batch",
    "max_time": "2h 30m",
    "max_jobs": 200,
    "max_usage": "600",
    "block_max_jobs": 0,
    "block_max_usage": "1.5",
    "owner": "h2-team",
    "ledger_url": "postgresql://me:a-password@db/ledger",
    "on_expiry": "reopen",
    "min_time_left": "5m",
    "max_sessions": 7,
    "keep_failed": "0",
    "without_sessions": "job",
    "in_maintenance": "move",
    "on_recalibration": "stop",
    "use_fractional_gates": "all",
    "calibration_id": "monday",
    "unsettled": "hold",
    "on_divergence": "warn",
    "max_attempts": 3,
    "submissions_per_minute": 12,
}
SECRETS = {"token", "proxies", "ledger_url"}


@pytest.fixture(scope="module", autouse=True)
def _credentials(prefect_server: str) -> None:  # noqa: ARG001 - where they are saved
    """Saved credentials of each kind; the server knows the Blocks, as once they are registered."""

    def prepare() -> None:
        QuantumSession.register_type_and_schema()
        LocalPlatformCredentials(noise="exact", seed=3).save("mine", overwrite=True)
        IBMSessionCredentials(token=IBM["token"]).save("mine", overwrite=True)

    aside(prepare)


def _fields(block: Block) -> dict[str, Any]:
    return {name: _fields(value) if isinstance(value, Block) else value for name, value in block}


def _load(block: type[AnyBlock], name: str) -> AnyBlock:
    loaded = aside(lambda: block.load(name))
    assert isinstance(loaded, block)
    return loaded


def _document_id(server: str, block: type[Block], name: str) -> UUID:
    path = f"block_types/slug/{block.get_block_type_slug()}/block_documents/name/{name}"
    return UUID(httpx.get(f"{server}/{path}").json()["id"])


def _edit(page: Page, ui: str, server: str, block: type[Block], name: str) -> None:
    page.goto(f"{ui}/blocks/block/{_document_id(server, block, name)}/edit")
    expect(page.get_by_role("button", name="Save")).to_be_visible()


@pytest.mark.parametrize(
    ("block", "values"),
    [
        (IBMSessionCredentials, IBM),
        pytest.param(IBMSessionCredentials, IBM_ELSEWHERE, marks=pytest.mark.nightly),
        pytest.param(LocalPlatformCredentials, LOCAL, marks=pytest.mark.nightly),
        (QuantumSession, SESSION),
    ],
)
def test_every_field_is_saved_loaded_shown_and_saved_again(
    page: Page, ui: str, prefect_server: str, block: type[Block], values: dict[str, Any]
) -> None:
    """A Block made in the UI is the one made in Python, shows its values, and keeps them."""
    schema = block.model_json_schema()
    name = f"with-{len(values)}-fields"
    expected = dict(values)
    if block is QuantumSession:
        expected["credentials"] = _load(LocalPlatformCredentials, "mine")

    def choose_save_and_load() -> None:
        if block is QuantumSession:
            choose_credentials(page, "LocalPlatformCredentials", "mine")
        save(page)
        assert _fields(_load(block, name)) == _fields(block.model_validate(expected))

    page.goto(f"{ui}/blocks/catalog/{block.get_block_type_slug()}/create")
    page.get_by_label("Name", exact=True).fill(name)
    fill(page, schema, values)
    choose_save_and_load()

    _edit(page, ui, prefect_server, block, name)
    for field_name, value in values.items():
        expected_text = value if isinstance(value, bool) else str(value)
        seen = shown(page, schema, field_name)
        assert seen == (MASK if field_name in SECRETS else expected_text), field_name
    choose_save_and_load()


def test_a_value_is_changed_and_another_taken_away(
    page: Page, ui: str, prefect_server: str
) -> None:
    """What is edited in the UI is what Python loads: a field that was emptied has its default."""
    saved = QuantumSession(
        credentials=_load(LocalPlatformCredentials, "mine"), backend_name="ibm_fez", max_time=90
    )
    aside(lambda: saved.save("edited", overwrite=True))
    _edit(page, ui, prefect_server, QuantumSession, "edited")
    schema = QuantumSession.model_json_schema()
    assert shown(page, schema, "max_time") == "90"
    fill(page, schema, {"max_time": "15m", "backend_name": "", "use_fractional_gates": "all"})
    choose_credentials(page, "LocalPlatformCredentials", "mine")
    save(page)
    loaded = _load(QuantumSession, "edited")
    assert (loaded.max_time, loaded.backend_name) == ("15m", None)
    assert loaded.use_fractional_gates is None


def test_credentials_that_the_form_forgot_are_an_error(
    page: Page, ui: str, prefect_server: str
) -> None:
    """The form forgets a Block that another names, and saves masks: no run takes them for a key."""
    saved = QuantumSession(credentials=_load(IBMSessionCredentials, "mine"))
    aside(lambda: saved.save("forgotten", overwrite=True))
    _edit(page, ui, prefect_server, QuantumSession, "forgotten")
    expect(page.get_by_label("Select a block")).to_be_visible()
    save(page)
    with pytest.raises(InvalidInputError, match=r"'forgotten'.* for token.*choose its credent"):
        aside(lambda: load_block("forgotten"))

    _edit(page, ui, prefect_server, QuantumSession, "forgotten")
    choose_credentials(page, "IBMSessionCredentials", "mine")
    save(page)
    loaded = aside(lambda: load_block("forgotten"))
    assert loaded.credentials.account().token == IBM["token"]


@pytest.mark.nightly
def test_what_is_filled_in_wrongly_is_named_when_it_is_loaded(page: Page, ui: str) -> None:
    """The UI checks nothing; a run that loads the Block says which field is wrong, and why."""
    page.goto(f"{ui}/blocks/catalog/quantum-session/create")
    page.get_by_label("Name", exact=True).fill("filled-in-wrongly")
    fill(page, QuantumSession.model_json_schema(), {"max_time": "two hours"})
    choose_credentials(page, "LocalPlatformCredentials", "mine")
    save(page)
    with pytest.raises(InvalidInputError, match=r"max_time.*'two hours'.*Write seconds"):
        aside(lambda: load_block("filled-in-wrongly"))


@pytest.mark.nightly
@pytest.mark.parametrize("block", [IBMSessionCredentials, LocalPlatformCredentials, QuantumSession])
def test_the_first_ui_keeps_what_it_does_not_change(
    page: Page, ui: str, prefect_server: str, block: type[Block]
) -> None:
    """A Block that is saved unedited in Prefect's first UI, too, is what it was."""
    values = {IBMSessionCredentials: IBM, LocalPlatformCredentials: LOCAL}.get(block, SESSION)
    if block is QuantumSession:
        values = {**values, "credentials": _load(IBMSessionCredentials, "mine")}
    saved = block.model_validate(values)
    aside(lambda: saved.save("first-ui", overwrite=True))
    _edit(page, ui.removesuffix("/v2"), prefect_server, block, "first-ui")
    save(page)
    assert _fields(_load(block, "first-ui")) == _fields(saved)


@pytest.mark.nightly
def test_the_first_ui_makes_blocks_of_the_default_family(
    page: Page, ui: str, prefect_server: str
) -> None:
    """It saves no choice that is the default; a Block made in it is no older one for that."""
    page.goto(f"{ui.removesuffix('/v2')}/blocks/catalog/quantum-session/create")
    following = "xpath=following::input[1]"
    page.locator("label", has_text="Block Name").locator(following).fill("made-in-it")
    credentials = page.locator("button.p-select-button__control").first
    credentials.click()
    expect(credentials).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Create").last.click()
    page.wait_for_url("**/blocks/block/**")
    path = "block_types/slug/quantum-session/block_documents/name/made-in-it"
    document = httpx.get(f"{prefect_server}/{path}").json()["data"]
    assert "implementation" not in document
    assert _load(QuantumSession, "made-in-it").implementation == DEFAULT_IMPLEMENTATION
