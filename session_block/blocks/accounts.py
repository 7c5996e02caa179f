"""Find the credentials that a Block does not hold itself, and check that they are well-formed.

Input that cannot work is refused before any network call, because the client would repeat some of
it, passwords included, in its own errors.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from prefect.blocks.fields import SecretDict
from prefect.blocks.system import Secret
from pydantic import SecretStr

from session_block import aio
from session_block.account import Account, machine_clock
from session_block.errors import CredentialsRequiredError, InvalidInputError

LOCAL_SETTLE_SECONDS = 1.0

CHANNELS = ("ibm_quantum_platform", "ibm_cloud")

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

_PREFERENCES = ("region", "plans_preference", "tags")


def on_this_machine(account: Account) -> Account:
    """Complete an account of a platform on this machine, which has all its services at one origin.

    The environment's proxies are not used: they are for hosts elsewhere.
    """
    from session_block.local_platform import service_environment

    parts = urlsplit(str(account.url))
    origin = f"{parts.scheme}://{parts.netloc}"
    return replace(
        account,
        url=f"{origin}/experimental/api/v1",
        proxies=account.proxies or {},
        environment=service_environment(origin),
        settle_seconds=LOCAL_SETTLE_SECONDS,
        now=partial(_clock_of, origin),
    )


def _clock_of(origin: str) -> datetime:
    """Return the time of the local platform at an origin, or the machine's if there is none."""
    from session_block.local_platform import Admin, PlatformError

    try:
        return datetime.fromtimestamp(Admin(origin).now(), UTC)
    except (PlatformError, KeyError, ValueError):
        return machine_clock()


def find_account(
    token: SecretStr | None, token_secret: str | None, account_name: str | None
) -> Account:
    """Return the account of an API key, a Secret block, a saved account or the environment.

    Raises:
        InvalidInputError: There is no API key in that place, or the values found with it are
            malformed.
    """
    if token is not None:
        return Account(token=token.get_secret_value())
    if token_secret is not None:
        return _secret_account(token_secret)
    if account_name is not None:
        return _saved_account(account_name)
    return _environment_account()


def checked_token(token: Any, source: str) -> str:
    """Return an API key without the white space around it.

    Raises:
        InvalidInputError: The text cannot be an API key. The message does not show it.
    """
    stripped = token.strip() if isinstance(token, str) else ""
    if not (stripped.isascii() and stripped.isprintable() and stripped.split() == [stripped]):
        raise InvalidInputError(
            f"{source} holds no API key: it is empty, or has spaces or other characters that no "
            "API key has. Create a key in IBM Cloud, and copy all of it."
        )
    return stripped


def checked_url(url: str | None, source: str) -> str | None:
    """Return a base URL, or None.

    Raises:
        InvalidInputError: It is not an http(s) URL, or holds a user name or password. The message
            does not show it.
    """
    if url is None:
        return None
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https"):
        raise InvalidInputError(f"{source} holds no http(s) URL.")
    if parts.username is not None:
        raise InvalidInputError(
            f"{source} holds a URL with a user name or a password. Leave them out: it is logged."
        )
    return url


def proxies_as_text(proxies: Any) -> Any:
    """Return proxies given as a mapping as the text that a form can hold, any other as it is."""
    given = proxies.get_secret_value() if isinstance(proxies, SecretDict) else proxies
    return json.dumps(given) if isinstance(given, Mapping) else given


def proxies_of(text: SecretStr | None) -> dict[str, dict[str, str]] | None:
    """Return the proxies of a Block's field, which is one URL for all requests, or JSON.

    Raises:
        InvalidInputError: They are malformed. The message does not show them.
    """
    if text is None:
        return None
    given = text.get_secret_value().strip()
    proxies: Any = {"urls": {"http": given, "https": given}}
    if given.startswith("{"):
        with suppress(ValueError):
            proxies = json.loads(given)
    return checked_proxies(proxies, "The Block's proxies field")


def checked_proxies(proxies: Any, source: str) -> dict[str, dict[str, str]] | None:
    """Return proxies as the client takes them, or None.

    Raises:
        InvalidInputError: They are malformed. The message does not show them.
    """
    if not proxies:
        return None
    urls = proxies.get("urls") if isinstance(proxies, Mapping) and len(proxies) == 1 else None
    if not isinstance(urls, Mapping) or not all(map(_is_proxy, urls.values())):
        raise InvalidInputError(
            f"{source} does not hold usable proxies. Write {{'urls': {{'https': "
            "'http://user:password@proxy.example.org:3128'}}, each URL with its scheme, and "
            "special characters in the password percent-encoded. The client's NTLM fields are not "
            "supported, because it fails to fetch access tokens with them."
        )
    return {"urls": dict(urls)}


def checked_ca_bundle(path: Path | None) -> Path | None:
    """Return the absolute path of a file with certificates of authorities, or None.

    Raises:
        InvalidInputError: It cannot be read, or holds no certificate.
    """
    if path is None:
        return None
    path = path.expanduser().absolute()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise InvalidInputError(
            f"The Block's ca_bundle, {path}, cannot be used ({error}). Give a file of PEM "
            "certificates on the machine that runs the flow."
        ) from error
    return path


def account_for_copy(account_name: str | None, channel: str | None, url: str | None) -> Account:
    """Return the account with which the copy of a Block connects, which holds no API key.

    It is the saved account that the Block names, else that of the environment, else the one that
    the client has saved as its default. A key goes only to the platform that it came with: whoever
    writes to a shared ledger could name another one.

    Args:
        account_name: The saved account that the Block names.
        channel: The Block's channel.
        url: The Block's base URL; ``None`` for IBM Quantum.

    Raises:
        CredentialsRequiredError: There is no API key in any of these places.
        InvalidInputError: What is found is malformed, or for another platform.
    """
    if account_name is not None:
        source, found = f"The saved account {account_name!r}", _saved_account(account_name)
    elif os.environ.get("QISKIT_IBM_TOKEN"):
        source, found = "The environment's QISKIT_IBM_TOKEN", _environment_account()
    else:
        source, found = "The saved default account", _default_account(channel)
    if _platform_of(found.url) != _platform_of(url):
        raise InvalidInputError(
            f"{source} is for {_platform_of(found.url)}, and the Block for {_platform_of(url)}. "
            f"If the key is for that platform: export QISKIT_IBM_TOKEN=… QISKIT_IBM_URL="
            f"{_platform_of(url)}"
        )
    return found


def _platform_of(url: str | None) -> str:
    from session_block.client.addresses import IBM_URL

    return (url or IBM_URL).rstrip("/")


def _environment_account() -> Account:
    """Return the account that the variables ``QISKIT_IBM_*`` of this process describe."""
    token, url, channel, instance = (
        os.environ.get(f"QISKIT_IBM_{name}") or None
        for name in ("TOKEN", "URL", "CHANNEL", "INSTANCE")
    )
    if token is None:
        raise CredentialsRequiredError(
            "The credentials name no API key, and this process has no environment variable "
            "QISKIT_IBM_TOKEN. Set it where the flow runs, or fill in the Block's token, "
            "token_secret or account_name."
        )
    return Account(
        token=checked_token(token, "The environment variable QISKIT_IBM_TOKEN"),
        url=checked_url(url, "The environment variable QISKIT_IBM_URL"),
        channel=_checked_channel(channel, "The environment variable QISKIT_IBM_CHANNEL"),
        instance=instance,
    )


def _saved_account(name: str) -> Account:
    """Return an account that the client has saved on this machine."""
    from session_block.client.saved_accounts import saved_account

    with _readable_accounts():
        saved = saved_account(name)
    if saved is None:
        raise CredentialsRequiredError(
            f"No account {name!r} is saved for the user who runs this process. Save it with "
            "QiskitRuntimeService.save_account, or fill in the Block's token or token_secret."
        )
    return replace(_as_saved(saved, f"The saved account {name!r}"), name=name)


def _default_account(channel: str | None) -> Account:
    """Return the account that the client would take if it was given nothing."""
    from session_block.client.saved_accounts import default_account

    with _readable_accounts():
        saved = default_account(channel)
    if saved is None:
        raise CredentialsRequiredError(
            "The Block's copy has no API key, this process has no environment variable "
            "QISKIT_IBM_TOKEN, and no account is saved for its user. Set the variable, save an "
            "account with QiskitRuntimeService.save_account, or start the Prefect server that has "
            "the Block, or point to it: export PREFECT_API_URL=…"
        )
    return _as_saved(saved, "The saved default account")


@contextmanager
def _readable_accounts() -> Iterator[None]:
    from qiskit_ibm_runtime.exceptions import IBMError

    try:
        yield
    except (IBMError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The accounts saved on this machine cannot be read ({error!r}). Save them anew "
            "with QiskitRuntimeService.save_account, or fill in the Block's token or token_secret."
        ) from error


def _as_saved(saved: Mapping[str, Any], source: str) -> Account:
    return Account(
        token=checked_token(saved["token"], source),
        url=checked_url(saved["url"], source),
        channel=saved["channel"],
        instance=saved.get("instance"),
        verify=saved["verify"],
        proxies=checked_proxies(saved.get("proxies"), source),
        private_endpoint=saved["private_endpoint"],
        preferences={key: saved[key] for key in _PREFERENCES if key in saved},
    )


def _secret_account(name: str) -> Account:
    """Return an account with the API key of one of Prefect's Secret blocks."""
    try:
        loaded = aio.answered(Secret.load(name))
    except ValueError as error:
        raise InvalidInputError(
            f"Prefect knows no Secret block {name!r}: {error}. Save one of that name, or check "
            "which Prefect server (PREFECT_API_URL) this process uses."
        ) from error
    return Account(token=checked_token(loaded.value.get_secret_value(), f"Secret block {name!r}"))


def _checked_channel(channel: str | None, source: str) -> str | None:
    if channel is not None and channel not in CHANNELS:
        raise InvalidInputError(f"{source} is {channel!r}, but must be {' or '.join(CHANNELS)}.")
    return channel


def _is_proxy(url: Any) -> bool:
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme in _PROXY_SCHEMES
        and not (parts.path.strip("/") or parts.query or parts.fragment)
    )


def _split(url: Any) -> SplitResult | None:
    """Return the parts of a URL, or None if it has no host or an impossible port."""
    if not isinstance(url, str):
        return None
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    return None
