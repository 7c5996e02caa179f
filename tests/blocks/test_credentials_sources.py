"""API keys that a Block does not hold: the environment's, a Secret block's, a saved account's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.blocks.system import Secret
from pydantic import SecretStr, ValidationError
from support import BACKEND, Platform

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.blocks.accounts import checked_token
from session_block.errors import InvalidInputError


@pytest.fixture
def environment(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The process environment, with the credentials of the tests' platform in it."""
    monkeypatch.setenv("QISKIT_IBM_TOKEN", platform.info.token)
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", platform.info.instance)
    monkeypatch.setenv("QISKIT_IBM_URL", platform.info.origin)
    monkeypatch.setenv("QISKIT_IBM_CHANNEL", "ibm_cloud")
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_the_environment_is_used_where_a_block_names_no_key(platform: Platform) -> None:
    """An empty Block connects as QISKIT_IBM_* say, also to the platform on this machine."""
    credentials = IBMSessionCredentials()
    account = credentials.account()
    assert (account.channel, account.instance) == ("ibm_cloud", platform.info.instance)
    assert account.settle_seconds == 1
    assert credentials.get_client().backend(BACKEND).num_qubits == 5


@pytest.mark.usefixtures("environment")
def test_fields_of_the_block_come_before_the_environment() -> None:
    """What the Block says of instance, URL and channel is not asked of the environment."""
    account = IBMSessionCredentials(
        instance="another", url="https://quantum.example.org", channel="ibm_quantum_platform"
    ).account()
    assert account.instance == "another"
    assert account.url == "https://quantum.example.org"
    assert account.channel == "ibm_quantum_platform"


@pytest.mark.usefixtures("environment")
def test_a_key_in_the_block_leaves_the_environment_aside() -> None:
    """The environment's instance and URL belong to its own key, not to the Block's."""
    account = IBMSessionCredentials(token=SecretStr("key")).account()
    assert (account.token, account.instance, account.url) == ("key", None, None)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_a_clear_error(
    environment: pytest.MonkeyPatch, value: str | None
) -> None:
    """Without any API key the error names the variable and the fields that would do instead."""
    environment.delenv("QISKIT_IBM_TOKEN")
    if value is not None:
        environment.setenv("QISKIT_IBM_TOKEN", value)
    with pytest.raises(InvalidInputError, match=r"QISKIT_IBM_TOKEN.*token_secret or account_name"):
        IBMSessionCredentials().account()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QISKIT_IBM_TOKEN", "hunter2 hunter2"),
        ("QISKIT_IBM_TOKEN", "hunter2\nhunter2"),
        ("QISKIT_IBM_TOKEN", " \n"),
        ("QISKIT_IBM_URL", "hunter2.example.org"),
        ("QISKIT_IBM_URL", "https://user:hunter2@example.org"),
        ("QISKIT_IBM_CHANNEL", "local"),
    ],
)
def test_a_malformed_variable_is_named(
    environment: pytest.MonkeyPatch, platform: Platform, variable: str, value: str
) -> None:
    """What cannot work is refused by its name, without its secret and without a request."""
    environment.setenv(variable, value)
    before = platform.stats()["requests"].get("POST /identity/token")
    with pytest.raises(InvalidInputError, match=variable) as caught:
        IBMSessionCredentials().get_client()
    assert "hunter2" not in f"{caught.value} {caught.value!r}"
    assert platform.stats()["requests"].get("POST /identity/token") == before


def test_white_space_around_a_key_is_no_part_of_it() -> None:
    """A line break at the end of a key, as files and clipboards add it, does no harm."""
    assert IBMSessionCredentials(token=SecretStr("key\n")).account().token == "key"


@pytest.mark.parametrize("token", ["", " ", "two words", "clé", "a\x00b", None, 12])
def test_what_is_no_key_is_refused(token: Any) -> None:
    """A key is text without spaces, control characters and accents."""
    with pytest.raises(InvalidInputError, match="The source holds no API key"):
        checked_token(token, "The source")


@pytest.mark.parametrize(
    "fields",
    [
        {"token": "key", "account_name": "mine"},
        {"token": "key", "token_secret": "mine"},
        {"token_secret": "mine", "account_name": "mine"},
    ],
)
def test_two_keys_are_one_too_many(fields: dict[str, Any]) -> None:
    """A Block says in one way only where its key is."""
    with pytest.raises(ValidationError, match="only one of token, token_secret and account_name"):
        IBMSessionCredentials(**fields)


@pytest.fixture
def secret(prefect_server: str, platform: Platform) -> str:  # noqa: ARG001 - it is saved there
    """The name of a Secret block with the platform's API key."""
    name = f"api-key-{uuid4().hex[:8]}"
    Secret(value=platform.info.token).save(name)
    return name


def _by_secret(platform: Platform, secret: str) -> IBMSessionCredentials:
    return IBMSessionCredentials(
        token_secret=secret, url=platform.info.origin, instance=platform.info.instance
    )


@pytest.mark.rest
def test_the_key_is_read_from_a_secret_block(platform: Platform, secret: str) -> None:
    """The Block holds the name only, and connects with the key that the Secret block holds."""
    credentials = _by_secret(platform, secret)
    assert credentials.get_client().backend(BACKEND).num_qubits == 5
    texts = [repr(credentials), credentials.model_dump_json(), repr(credentials.account())]
    assert not [text for text in texts if platform.info.token in text]


def test_a_key_replaced_in_the_secret_block_is_used_at_once(
    platform: Platform, secret: str
) -> None:
    """The Secret block is asked for each account anew, so nothing else has to be changed."""
    credentials = _by_secret(platform, secret)
    Secret(value="the-next-key").save(secret, overwrite=True)
    assert credentials.account().token == "the-next-key"


def test_digits_are_a_key_too(platform: Platform, secret: str) -> None:
    """A Secret block that Prefect reads as a number is still the text that was typed."""
    Secret(value="0123").save(secret, overwrite=True)
    assert _by_secret(platform, secret).account().token == "0123"


@pytest.mark.usefixtures("prefect_server")
def test_a_missing_secret_block_is_a_clear_error(platform: Platform) -> None:
    """The error names the Secret block that Prefect does not know."""
    with pytest.raises(InvalidInputError, match="no Secret block 'nowhere'"):
        _by_secret(platform, "nowhere").account()


@pytest.mark.parametrize("value", [{"key": "hunter2"}, "hunter2 hunter2", ""])
def test_a_secret_block_without_a_key_is_a_clear_error(
    platform: Platform, secret: str, value: Any
) -> None:
    """A Secret block that holds something else is named, and what it holds is not shown."""
    Secret(value=value).save(secret, overwrite=True)
    with pytest.raises(InvalidInputError, match=f"{secret}.*no API key") as caught:
        _by_secret(platform, secret).account()
    assert "hunter2" not in f"{caught.value} {caught.value!r}"


def test_a_secret_block_is_loaded_inside_an_event_loop(platform: Platform, secret: str) -> None:
    """As in a notebook's cell, where all of the user's code runs inside one."""

    async def connect() -> str:
        return _by_secret(platform, secret).account().token

    assert asyncio.run(connect()) == platform.info.token


@pytest.mark.rest
@pytest.mark.parametrize(
    "credentials",
    [
        IBMSessionCredentials(),
        IBMSessionCredentials(token_secret="mine"),
        LocalPlatformCredentials(),
    ],
    ids=["environment", "secret", "local"],
)
@pytest.mark.usefixtures("prefect_server")
def test_a_saved_block_keeps_where_its_key_is(
    credentials: IBMSessionCredentials | LocalPlatformCredentials,
) -> None:
    """Credentials without a key of their own come back from Prefect as the kind they were."""
    QuantumSession(credentials=credentials, backend_name=BACKEND).save("keyless", overwrite=True)
    loaded = QuantumSession.load("keyless").credentials
    assert type(loaded) is type(credentials)
    assert loaded.model_dump() == credentials.model_dump()


def _with_saved(home: Path, platform: Platform, program: str, **saved: Any) -> str:
    """Run a program of a user who has saved an account 'mine'; return what it prints."""
    script = (
        "import json, sys\n"
        "from qiskit_ibm_runtime import QiskitRuntimeService\n"
        "from session_block import IBMSessionCredentials\n"
        "QiskitRuntimeService.save_account(name='mine', **json.loads(sys.stdin.read()))\n"
    ) + program
    account = {"token": platform.info.token, "url": platform.info.url, **saved}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(home)},
        input=json.dumps(account),
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


SHOW_BACKEND = (
    "service = IBMSessionCredentials(account_name='mine').get_client()\n"
    "print(service.active_instance(), service.backends()[0].name)\n"
)


def test_a_saved_account_on_this_machine_serves(platform: Platform, tmp_path: Path) -> None:
    """A saved account with a local URL connects to that platform, and to nothing of IBM's."""
    said = _with_saved(tmp_path, platform, SHOW_BACKEND, instance=platform.info.instance)
    assert said.split()[0] == platform.info.instance


def test_a_saved_account_is_all_that_it_was_saved_as(platform: Platform, tmp_path: Path) -> None:
    """Preferences and whatever else was saved count, unless the Block says otherwise."""
    program = (
        "from dataclasses import asdict\n"
        "block = IBMSessionCredentials(account_name='mine', instance='another')\n"
        "print(json.dumps(asdict(block.account()), default=str))\n"
    )
    saved = {
        "instance": "one",
        "url": "https://quantum.example.org",
        "channel": "ibm_cloud",
        "verify": False,
        "private_endpoint": True,
        "proxies": {"urls": {"https": "http://proxy.example.org:3128"}},
        "region": "eu-de",
        "plans_preference": ["premium"],
    }
    account = json.loads(_with_saved(tmp_path, platform, program, **saved))
    assert account["instance"] == "another"
    assert account["preferences"] == {"region": "eu-de", "plans_preference": ["premium"]}
    kept = ("url", "channel", "verify", "private_endpoint", "proxies")
    assert {key: account[key] for key in kept} == {key: saved[key] for key in kept}


def test_a_saved_preference_chooses_the_instance(platform: Platform, tmp_path: Path) -> None:
    """Without an instance the saved region decides which one the client takes."""
    said = _with_saved(tmp_path, platform, SHOW_BACKEND, region="eu-de", instance="auto")
    assert ":eu-de:" in said


def test_an_account_that_was_never_saved_is_a_clear_error(
    platform: Platform, tmp_path: Path
) -> None:
    """The error names the saved account that is missing."""
    program = (
        "try:\n"
        "    IBMSessionCredentials(account_name='yours').account()\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    said = _with_saved(tmp_path, platform, program)
    assert said.startswith("No account 'yours' is saved")


def test_a_damaged_file_of_accounts_is_a_clear_error(platform: Platform, tmp_path: Path) -> None:
    """A file that is no JSON is said to be unreadable, and is not shown."""
    program = (
        "import pathlib\n"
        "pathlib.Path('~/.qiskit/qiskit-ibm.json').expanduser().write_text('hunter2')\n"
        "try:\n"
        "    IBMSessionCredentials(account_name='mine').account()\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    said = _with_saved(tmp_path, platform, program)
    assert said.startswith("The accounts saved on this machine cannot be read")
    assert "hunter2" not in said
