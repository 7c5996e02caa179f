"""What a platform keeps in its state directory besides its database.

``identity.json`` holds who the platform is and how it is set up, and outlives its process.
``server.json`` says which process serves it now, or served it last.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

Noise = Literal["exact", "shots"]
NOISES: tuple[Noise, ...] = ("exact", "shots")


class PlatformError(RuntimeError):
    """The local platform cannot be used, or not as asked. The message says what to do."""


@dataclass(frozen=True)
class Settings:
    """How jobs are run: kind of noise, seed, and the least seconds that each job takes."""

    noise: Noise = "exact"
    seed: int = 0
    job_seconds: float = 0.0


@dataclass(frozen=True)
class Identity:
    """Who a platform is: its ID, the API key and CRN of its account, its signing secret."""

    id: str
    token: str = field(repr=False)
    instance: str
    secret: str = field(repr=False)
    settings: Settings


@dataclass(frozen=True)
class ServerRecord:
    """The process that serves the platform. A PID alone would be reused, so its start counts."""

    pid: int
    created: float
    port: int


def load_identity(state_dir: Path) -> Identity | None:
    """Return the platform's identity, or None in a directory that never held one."""
    data = _read(state_dir / "identity.json")
    if data is None:
        return None
    try:
        settings = Settings(**data.pop("settings"))
        return Identity(**data, settings=settings)
    except (KeyError, TypeError):
        raise _damaged(state_dir / "identity.json") from None


def new_identity(settings: Settings) -> Identity:
    """Return a fresh identity with a random API key, CRN and signing secret."""
    account, instance = uuid.uuid4().hex, uuid.uuid4()
    return Identity(
        id=uuid.uuid4().hex,
        token=secrets.token_urlsafe(33),
        instance=f"crn:v1:bluemix:public:quantum-computing:us-east:a/{account}:{instance}::",
        secret=secrets.token_hex(32),
        settings=settings,
    )


def save_identity(state_dir: Path, identity: Identity) -> None:
    """Write the identity atomically, readable by its owner only."""
    _write(state_dir / "identity.json", asdict(identity))


def load_record(state_dir: Path) -> ServerRecord | None:
    """Return the record of the serving process, or None if there never was one."""
    data = _read(state_dir / "server.json")
    try:
        return None if data is None else ServerRecord(**data)
    except TypeError:
        raise _damaged(state_dir / "server.json") from None


def save_record(state_dir: Path, record: ServerRecord) -> None:
    """Write the record of the serving process atomically."""
    _write(state_dir / "server.json", asdict(record))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(data, dict):
        raise _damaged(path)
    return data


def _damaged(path: Path) -> PlatformError:
    return PlatformError(
        f"{path} is damaged, or was written by another version of the platform: restore it, or "
        "use another state directory"
    )


def _write(path: Path, data: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
