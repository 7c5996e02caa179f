"""Check this machine: versions, the Prefect API, the ledger and its disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from uuid import uuid4

import httpx
import prefect
import psutil
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException, PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from sqlalchemy import make_url

from session_block.doctor.check import Check, Verdict
from session_block.errors import LedgerError
from session_block.lab.prefect_server import (
    OPEN_SERVER_ADVICE,
    answers,
    find_prefect_server,
    shown,
    who_may_read,
)
from session_block.ledger.disk import (
    NETWORK,
    SHARED_WITH_HOST,
    filesystem_of,
    is_for_one_machine,
)
from session_block.ledger.sqlite import sqlite_path
from session_block.ledger.store import SCHEMA_VERSION, Ledger
from session_block.records.journal import Journal
from session_block.records.keys import Written
from session_block.records.overviews import ExperimentState, overviews

PACKAGE = "prefect-quantum-sessions"
SHOWN = ("prefect", "sqlalchemy", "qiskit", "qiskit-ibm-runtime")
"""The packages whose versions are always shown."""

_NOTEBOOK = "@doctor"
"""The pseudo-experiment that test facts are written to."""

_IMPATIENT = {PREFECT_API_REQUEST_TIMEOUT: 10.0, PREFECT_CLIENT_MAX_RETRIES: 0}
"""How the server is asked: whoever runs the doctor waits for it."""

_MEMORY = frozenset({"ramfs", "tmpfs"})


def check_versions(requirements: Iterable[str] | None = None) -> Iterator[Check]:
    """Compare the installed packages with this package's declared requirements.

    Args:
        requirements: What is needed; by default the declared requirements.
    """
    declared = requires(PACKAGE) or [] if requirements is None else requirements
    needed = [Requirement(one) for one in declared]
    always = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    fitting = []
    for requirement in always:
        installed = _installed(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            yield Check(
                "versions",
                Verdict.FAILED,
                f"{requirement.name} {installed or 'is not installed'}; {requirement} is needed.",
                f"pip install '{requirement}'",
            )
        elif requirement.name in SHOWN:
            fitting.append(f"{requirement.name} {installed}")
    yield Check("versions", Verdict.OK, f"{', '.join(fitting)}.")


def check_prefect() -> Check:
    """Check that the configured Prefect server answers, and that its version fits."""
    configured = get_current_settings().api.url
    if configured is None:
        found = find_prefect_server()
        return Check(
            "Prefect API",
            Verdict.WARNING,
            "PREFECT_API_URL is not set, so each process starts its own server.",
            f"prefect config set PREFECT_API_URL={found}"
            if found
            else "Start one: prefect server start --background, or session-block up",
        )
    where = shown(configured)
    if not answers(configured):
        return _failed(f"{where} does not answer as a Prefect server.")
    try:
        with temporary_settings(_IMPATIENT), get_client(sync_client=True) as client:
            trouble = client.api_healthcheck()
            if trouble is not None:
                return _failed(f"{where} does not answer: {trouble}")
            if client.server_type == ServerType.CLOUD:
                return Check("Prefect API", Verdict.OK, f"{where} answers.")
            server = Version(client.api_version())
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return _failed(
                f"{where} does not accept the credentials of this process.",
                "Set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY) to what opens it.",
            )
        return _failed(f"{where} failed a request with status {error.response.status_code}.")
    except (httpx.HTTPError, PrefectException, ValueError, TypeError) as error:
        return _failed(f"{where} does not answer as a Prefect server: {type(error).__name__}.")
    mine = Version(prefect.__version__)
    found = f"{where} answers, with Prefect {server}"
    if server.major != mine.major:
        return Check(
            "Prefect API",
            Verdict.FAILED,
            f"{found}; this is {mine}.",
            "Install the same major version of Prefect here and there.",
        )
    if server < mine:
        return Check(
            "Prefect API", Verdict.WARNING, f"{found}; this is {mine}.", "Upgrade the server."
        )
    return Check("Prefect API", Verdict.OK, f"{found}.")


def _failed(
    what: str,
    advice: str = "Start the server, or set PREFECT_API_URL (and PREFECT_API_KEY) to another one.",
) -> Check:
    return Check("Prefect API", Verdict.FAILED, what, advice)


def check_prefect_access() -> Iterator[Check]:
    """Check that the configured Prefect server gives its Blocks to nobody without a password."""
    configured = get_current_settings().api.url
    if configured is None or not (readers := who_may_read(configured)):
        return
    yield Check(
        "Prefect access",
        Verdict.WARNING,
        f"{shown(configured)} asks for no password: its Blocks, with their API keys, can be read "
        f"by {' and by '.join(readers)}.",
        OPEN_SERVER_ADVICE,
    )


def check_ledger(url: str) -> Iterator[Check]:
    """Check that a ledger opens, can be written, and is on a suitable disk."""
    try:
        with closing(Ledger(url)) as ledger:
            Journal(ledger, _NOTEBOOK).record(Written(token=uuid4().hex))
            held = [one for one in overviews(ledger) if one.state is ExperimentState.HELD]
    except LedgerError as error:
        yield Check(
            "ledger", Verdict.FAILED, str(error), "Nothing is submitted until this is fixed."
        )
        return
    yield Check(
        "ledger",
        Verdict.OK,
        f"{ledger} opens and can be written, schema version {SCHEMA_VERSION}.",
    )
    if not ledger.shared:
        yield check_disk(sqlite_path(make_url(url)))
    if held:
        yield Check(
            "submissions",
            Verdict.WARNING,
            f"Submissions of {', '.join(str(one.identity) for one in held)} wait for an operator.",
            "session-block submissions list --held",
        )


def check_disk(path: Path, filesystem: str | None = None) -> Check:
    """Check that an SQLite ledger is on a disk of this machine.

    Args:
        path: The ledger's file.
        filesystem: The type of the file system; by default looked up for the path.
    """
    kind = filesystem or _filesystem_of(path)
    if kind in NETWORK:
        return Check(
            "ledger's disk",
            Verdict.WARNING if is_for_one_machine() else Verdict.FAILED,
            f"{path} is on a network file system ({kind}); SQLite works there for one machine "
            "alone.",
            "Put it on a local disk, or set SESSION_BLOCK_LEDGER_URL to a PostgreSQL database.",
        )
    if kind in SHARED_WITH_HOST:
        return Check(
            "ledger's disk",
            Verdict.WARNING,
            f"{path} is in a folder that this machine shares with its host ({kind}); SQLite works "
            "there only while one of them uses it.",
            "Put it on a disk of this machine.",
        )
    if kind in _MEMORY:
        return Check(
            "ledger's disk",
            Verdict.WARNING,
            f"{path} is in memory ({kind}), so it is lost when the machine restarts.",
            "Put it on a disk.",
        )
    return Check("ledger's disk", Verdict.OK, f"{path} is on a local disk ({kind}).")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _filesystem_of(path: Path) -> str:
    """Return the type of the file system that holds a file."""
    kind = filesystem_of(path)
    if kind is not None:
        return kind
    real = path.resolve()
    mounted = [
        one for one in psutil.disk_partitions(all=True) if real.is_relative_to(one.mountpoint)
    ]
    return max(mounted, key=lambda one: len(one.mountpoint)).fstype if mounted else "unknown"
