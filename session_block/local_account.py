"""What it takes to reach a platform of one's own on this machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from session_block.account import Account, machine_clock

LOCAL_SETTLE_SECONDS = 1.0


def on_this_machine(account: Account) -> Account:
    """Complete an account of a platform on this machine: all its services are at one origin.

    The environment's proxies are for the world outside.
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
    """Return the time of the local platform at an origin; what is none goes by the machine's."""
    from session_block.local_platform import Admin, PlatformError

    try:
        return datetime.fromtimestamp(Admin(origin).now(), UTC)
    except (PlatformError, KeyError, ValueError):
        return machine_clock()
