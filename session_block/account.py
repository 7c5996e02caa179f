"""The account: all that is needed to reach one instance of IBM Quantum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit


def machine_clock() -> datetime:
    """Return this machine's time in UTC; IBM's platform is assumed to have the same.

    Examples:
        >>> account = block.credentials.account()
        >>> account.now().tzname()  # by the platform's clock, which for IBM's is this machine's
        'UTC'
    """
    return datetime.now(UTC)


def is_loopback(url: str) -> bool:
    """Whether a URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Account:
    """All that is needed to reach one instance.

    Attributes:
        name: The name of the saved account, for messages.
        proxies: In the client's format; empty for no proxies, ``None`` for the environment's.
        ca_bundle: File with the certificate authorities to trust instead of the usual ones.
        preferences: The client's criteria for choosing an instance if none is given.
        environment: Environment variables that are set only while the client connects.
        settle_seconds: How long the platform's listing may hide a job that it accepted, if that
            is known; ``None`` for :data:`session_block.submissions.settle.SETTLE_SECONDS`.
        now: The platform's clock, in UTC.

    Examples:
        >>> account = block.credentials.account()
        >>> account.url, account.instance
        ('http://127.0.0.1:...', 'crn:v1:bluemix:public:quantum-computing:...')
        >>> "token" in repr(account)  # neither the API key nor the proxies
        False
    """

    token: str | None = field(default=None, repr=False)
    name: str | None = None
    channel: str | None = None
    url: str | None = None
    instance: str | None = None
    verify: bool = True
    ca_bundle: Path | None = None
    proxies: Mapping[str, Any] | None = field(default=None, repr=False)
    private_endpoint: bool | None = None
    preferences: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    settle_seconds: float | None = None
    now: Callable[[], datetime] = field(default=machine_clock, compare=False, repr=False)


class AccountSource(Protocol):
    """The source of an account that is loaded when first needed, such as a credentials Block."""

    def account(self) -> Account:
        """Return the account; may start a local platform, or read a file."""
