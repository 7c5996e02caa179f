"""The files in a platform's state directory besides its database.

``identity.json`` holds the platform's identity and settings, and outlives its process.
``server.json`` names the process that serves it now, or that served it last. ``owner-key.json``
holds that process's key: earlier versions read ``server.json``, and know no other field in it.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from session_block.errors import PlatformError
from session_block.local_platform.config.tenancy import PLANS, Account, Instance

if TYPE_CHECKING:
    from pathlib import Path

    from session_block.local_platform.config.layout import Layout

Noise = Literal["exact", "shots", "device"]
NOISES: tuple[Noise, ...] = ("exact", "shots", "device")
OpenPlanSessions = Literal["refuse", "ignore"]
OPEN_PLAN_SESSIONS: tuple[OpenPlanSessions, ...] = ("refuse", "ignore")
CancelledSessionJobs = Literal["cancelled", "failed"]
CANCELLED_SESSION_JOBS: tuple[CancelledSessionJobs, ...] = ("cancelled", "failed")
Charges = Literal["ibm", "simulated"]
CHARGES: tuple[Charges, ...] = ("ibm", "simulated")
ExecutorFailures = Literal["as_v2", "none"]
EXECUTOR_FAILURES: tuple[ExecutorFailures, ...] = ("as_v2", "none")
MAX_SCALE = 1e6
MAX_PORT = 65535
REFUSALS = range(400, 500)
LATER_SETTINGS = (
    "cancelled_session_jobs",
    "max_time_jobs",
    "cost_limit_jobs",
    "session_closed_status",
    "executor_failures",
    "charges",
)
"""Settings that earlier versions do not know, and so cannot read: written only where given."""
_IDENTITY, _RECORD, _KEY = "identity.json", "server.json", "owner-key.json"
_ADVICE = {
    _IDENTITY: "restore it, or use another state directory",
    _RECORD: "end the server of this state directory, if one runs, and delete the file",
    _KEY: "end the server of this state directory, if one runs, and delete the file",
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "noise": NOISES,
    "open_plan_sessions": OPEN_PLAN_SESSIONS,
    "cancelled_session_jobs": CANCELLED_SESSION_JOBS,
    "max_time_jobs": CANCELLED_SESSION_JOBS,
    "cost_limit_jobs": CANCELLED_SESSION_JOBS,
    "executor_failures": EXECUTOR_FAILURES,
    "charges": CHARGES,
}


class SettingsGiven(TypedDict, total=False):
    """The settings that a caller gives; None means not given. See :class:`Settings`.

    Examples:
        >>> from session_block.local_platform import LocalPlatform, SettingsGiven
        >>> like_hardware: SettingsGiven = {"noise": "device", "job_seconds": 2.0}
        >>> LocalPlatform(**like_hardware)
        <session_block.local_platform.process.embedded.LocalPlatform object at ...>
    """

    noise: Noise | None
    seed: int | None
    job_seconds: float | None
    circuit_time: bool | None
    other_jobs: int | None
    other_job_seconds: float | None
    interactive_seconds: int | None
    pending_seconds: float | None
    token_seconds: int | None
    time_scale: float | None
    open_plan_sessions: OpenPlanSessions | None
    cancelled_session_jobs: CancelledSessionJobs | None
    max_time_jobs: CancelledSessionJobs | None
    cost_limit_jobs: CancelledSessionJobs | None
    session_closed_status: int | None
    executor_failures: ExecutorFailures | None
    charges: Charges | None


@dataclass(frozen=True)
class Settings:
    """How a platform behaves. Times are seconds of the platform's clock.

    Args:
        noise: ``exact`` for expectation values without noise, ``shots`` for shot noise only,
            ``device`` for the noise of the recorded device.
        seed: A job's random numbers derive from this seed and the job's content.
        job_seconds: QPU time of each job; with ``circuit_time``, the overhead of each job. While
            the clock runs at its natural speed, a job takes at least as long as its simulation.
        circuit_time: Whether to add shots times circuit duration to ``job_seconds``.
        other_jobs: How many jobs of other users are always ahead in every queue.
        other_job_seconds: How long each of the other users' jobs takes.
        interactive_seconds: How long an active session may be idle before it becomes inactive.
        pending_seconds: How long a session is ``pending_inactive`` before it is inactive, or
            ``pending_closed`` before it is closed. IBM's own time is not known; with 0 these
            states are skipped.
        token_seconds: Lifetime of an access token, in seconds of the machine's clock.
        time_scale: Speed of the platform's clock; with 0 it moves only when it is advanced.
        open_plan_sessions: ``refuse`` refuses sessions on the open plan (real). ``ignore`` opens
            them, but runs their jobs outside of them, as IBM's earlier API did (real).
        cancelled_session_jobs: What becomes of the queued jobs of a dedicated session that is
            cancelled: ``cancelled`` without a reason, or ``failed`` with code 1217, as those of a
            batch always do (real). IBM's pages say both (docs).
        max_time_jobs: The same at a session's or batch's maximum time; a guess.
        cost_limit_jobs: The same at the cost limit of the instance. IBM's documentation says
            that they are cancelled (docs); that their state says so is a guess.
        session_closed_status: HTTP status of the refusal of a job by a closed session; a guess.
        executor_failures: ``as_v2`` lets an executor job fail after queueing as IBM's sampler
            does, for circuits that are not ISA and for too many executions; ``none`` runs it. Both
            are guesses: nothing public tells how such a job fails.
        charges: ``ibm`` charges jobs as published charges say (real), however long they occupy the
            QPU here; ``simulated`` charges the time that they occupy it.

    Examples:
        >>> from session_block.local_platform import Settings
        >>> Settings(noise="shots", job_seconds=2.0, other_jobs=3).interactive_seconds
        60
    """

    noise: Noise = "exact"
    seed: int = 0
    job_seconds: float = 0.0
    circuit_time: bool = False
    other_jobs: int = 0
    other_job_seconds: float = 0.0
    interactive_seconds: int = 60
    pending_seconds: float = 0.0
    token_seconds: int = 3600
    time_scale: float = 1.0
    open_plan_sessions: OpenPlanSessions = "refuse"
    cancelled_session_jobs: CancelledSessionJobs = "cancelled"
    max_time_jobs: CancelledSessionJobs = "failed"
    cost_limit_jobs: CancelledSessionJobs = "cancelled"
    session_closed_status: int = 400
    executor_failures: ExecutorFailures = "as_v2"
    charges: Charges = "ibm"

    def with_given(self, given: SettingsGiven) -> Settings:
        """Return these settings, changed by the given ones.

        Raises:
            ValueError: A setting is invalid.

        Examples:
            >>> from session_block.local_platform import Settings
            >>> Settings().with_given({"noise": "device"}).noise
            'device'
            >>> Settings().with_given({"noise": "loud"})
            Traceback (most recent call last):
            ...
            ValueError: noise must be one of exact, shots, device, not 'loud'
        """
        changed = replace(self, **without_none(given))
        for name, choices in _CHOICES.items():
            if getattr(changed, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(changed, name)!r}"
                )
        for name in ("job_seconds", "other_jobs", "other_job_seconds", "pending_seconds"):
            if not 0 <= getattr(changed, name) < float("inf"):
                raise ValueError(f"{name} must be zero or more, not {getattr(changed, name)}")
        for name in ("interactive_seconds", "token_seconds"):
            if getattr(changed, name) < 1:
                raise ValueError(f"{name} must be one or more, not {getattr(changed, name)}")
        if changed.session_closed_status not in REFUSALS:
            raise ValueError(
                "session_closed_status must be from 400 to 499, "
                f"not {changed.session_closed_status}"
            )
        if not 0 <= changed.time_scale <= MAX_SCALE:
            raise ValueError(f"time_scale must be from 0 to {MAX_SCALE:g}")
        return changed


def without_none(given: SettingsGiven) -> dict[str, Any]:
    """Return the given settings without those that are None."""
    return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Identity:
    """A platform's ID, signing secret, settings, accounts and additional devices."""

    id: str
    secret: str = field(repr=False)
    settings: Settings
    accounts: tuple[Account, ...]
    devices: tuple[tuple[str, str], ...] = ()
    layout: str | None = None

    @property
    def token(self) -> str:
        """The API key of the first account."""
        return self.accounts[0].token

    @property
    def instance(self) -> str:
        """The CRN of the first account's first instance."""
        return self.accounts[0].instances[0].crn


@dataclass(frozen=True)
class ServerRecord:
    """The process that serves the platform, with its start time because PIDs are reused.

    Raises:
        ValueError: No process can have written it.
    """

    pid: int
    created: float
    port: int
    host: str = "127.0.0.1"
    owner_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Look at what a file says before anybody relies on it."""
        numbers = type(self.pid) is int and type(self.port) is int and self.pid > 0
        if not numbers or not isinstance(self.created, int | float):
            raise ValueError("it names no process")
        if not 1 <= self.port <= MAX_PORT or not isinstance(self.owner_key, str):
            raise ValueError("it names no port")
        if listening_address(_text(self.host)) != self.host:
            raise ValueError("it names no address")


_PROCESS = ("pid", "created", "port", "host")
"""What ``server.json`` holds, ever."""


def listening_address(host: str) -> str:
    """Return the IPv4 address to listen on that a host means; ``localhost`` means loopback.

    Raises:
        ValueError: It is a name, or an IPv6 address.
    """
    try:
        return str(IPv4Address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        raise ValueError(f"host must be an IPv4 address or localhost, not {host!r}") from None


def load_identity(state_dir: Path) -> Identity | None:
    """Return the platform's identity, or None if the directory never held a platform.

    Raises:
        PlatformError: Its file cannot be read, or is damaged.
    """
    path = state_dir / _IDENTITY
    data = _read(path)
    if data is None:
        return None
    try:
        data["settings"] = Settings(**data["settings"]).with_given({})
        data["accounts"] = tuple(_account(account) for account in data["accounts"])
        data["devices"] = tuple((_text(name), _text(device)) for name, device in data["devices"])
        identity = Identity(**data)
        for needed in (identity.id, identity.secret, identity.instance):
            _text(needed)
    except (LookupError, TypeError, ValueError):
        raise _damaged(path) from None
    return identity


def new_identity(settings: Settings, layout: Layout | None) -> Identity:
    """Return a fresh identity with random API keys, CRNs and signing secret."""
    from session_block.local_platform.config.layout import DEFAULT_LAYOUT, new_accounts

    chosen = layout or DEFAULT_LAYOUT
    return Identity(
        id=uuid.uuid4().hex,
        secret=secrets.token_hex(32),
        settings=settings,
        accounts=new_accounts(chosen),
        devices=tuple((device.name, device.recording) for device in chosen.devices),
        layout=None if layout is None else layout.model_dump_json(),
    )


def save_identity(state_dir: Path, identity: Identity) -> None:
    """Write the identity atomically, readable only by the file's owner.

    Earlier versions read it too, during a rolling upgrade.
    """
    data = asdict(identity)
    standard = asdict(Settings())
    data["settings"] = {
        name: value
        for name, value in data["settings"].items()
        if name not in LATER_SETTINGS or value != standard[name]
    }
    _write(state_dir / _IDENTITY, data)


def load_record(state_dir: Path) -> ServerRecord | None:
    """Return the record of the serving process, or None if no process ever served.

    It has no key if an earlier version serves. What a later version adds is not read.

    Raises:
        PlatformError: One of its files cannot be read, or is damaged.
    """
    path = state_dir / _RECORD
    data = _read(path)
    if data is None:
        return None
    try:
        record = ServerRecord(**{name: data[name] for name in _PROCESS if name in data})
        path = state_dir / _KEY
        data = _read(path)
        if data is None or (data["pid"], data["created"]) != (record.pid, record.created):
            return record
        return replace(record, owner_key=data["owner_key"])
    except (KeyError, TypeError, ValueError):
        raise _damaged(path) from None


def save_record(state_dir: Path, record: ServerRecord) -> None:
    """Write the record of the serving process atomically, its key first."""
    key = {"pid": record.pid, "created": record.created, "owner_key": record.owner_key}
    _write(state_dir / _KEY, key)
    _write(state_dir / _RECORD, {name: getattr(record, name) for name in _PROCESS})


def _account(data: dict[str, Any]) -> Account:
    instances = (
        Instance(**{**instance, "backends": tuple(instance["backends"])})
        for instance in data["instances"]
    )
    account = Account(_text(data["id"]), _text(data["token"]), tuple(instances))
    for instance in account.instances:
        _text(instance.crn)
        if instance.plan not in PLANS:
            raise ValueError("there is no such plan")
    return account


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be a text")
    return value


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PlatformError(
            f"{path} cannot be read ({error.strerror}): give this user access to it, or use "
            "another state directory"
        ) from None
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(data, dict):
        raise _damaged(path)
    return data


def _damaged(path: Path) -> PlatformError:
    return PlatformError(
        f"{path} is damaged, or was written by another version of the platform: "
        f"{_ADVICE[path.name]}"
    )


def _write(path: Path, data: dict[str, Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
