"""What it takes to reach one instance of IBM Quantum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Account:
    """What it takes to reach one instance.

    Attributes:
        name: A saved account, instead of the token and all else.
        environment: Variables that the client reads while it connects, and only then.
        settle_seconds: How long the platform's listing may hide a job that it accepted.
    """

    token: str | None = field(default=None, repr=False)
    name: str | None = None
    channel: str | None = None
    url: str | None = None
    instance: str | None = None
    verify: bool = True
    proxies: Mapping[str, Any] | None = field(default=None, repr=False)
    private_endpoint: bool | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    settle_seconds: float = 30.0
