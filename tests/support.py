"""What the tests share beside fixtures."""

from __future__ import annotations

import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from qiskit_ibm_runtime import Session
from typer.models import CommandInfo

from session_block import LocalPlatformCredentials, local_platform
from session_block.cli import app
from session_block.client import BackendChoice, Connection
from session_block.ledger.store import Ledger
from session_block.local_platform.config.state import load_record
from session_block.records.context import ExperimentContext
from session_block.records.identity import Identity
from session_block.records.journal import Journal

BACKEND = "ibm_manila"
CHOICE = BackendChoice(BACKEND)


def attached(connection: Connection, session_id: str) -> Session:
    """Return a session of the tests' backend, as the client's object."""
    return connection.sessions.attach(connection.sessions.look(session_id), CHOICE)


def context_of(ledger: Ledger, uid: str, name: str = "test") -> ExperimentContext:
    """Return an experiment of a ledger as its parts see it."""
    return ExperimentContext(Identity(name, 1, uid), Journal(ledger, uid))


@dataclass(frozen=True)
class Platform:
    """The local platform of the tests, and what it has counted."""

    info: local_platform.PlatformInfo

    def stats(self) -> dict[str, Any]:
        """Return what the server has seen."""
        return self.admin.stats()

    def jobs_of(self, uid: str) -> int:
        """Return how many jobs bear an experiment's tag, whatever became of them."""
        return self.stats()["jobs"]["by_tag"].get(f"qs-uid:{uid}", 0)

    def jobs_of_submission(self, uid: str, submission: str) -> int:
        """Return how many jobs one submission has had, over all its generations."""
        by_tag = self.stats()["jobs"]["by_tag"]
        return sum(n for tag, n in by_tag.items() if tag.startswith(f"qs-sub:{uid}.{submission}."))

    def jobs_named(self, experiment: str) -> int:
        """Return how many jobs an experiment has, or a flow run's experiments without names."""
        by_tag = self.stats()["jobs"]["by_tag"]
        return sum(n for tag, n in by_tag.items() if names(tag, experiment))

    def sessions(self) -> int:
        """Return how many sessions were ever opened."""
        return self.stats()["sessions"]["total"]

    @property
    def admin(self) -> local_platform.Admin:
        """What lists all that it ever saw, by the key of the server that runs now."""
        record = load_record(self.info.state_dir)  # find() would be a request, which tests count
        assert record is not None
        return local_platform.Admin(self.info.origin, record.owner_key)

    def credentials(self) -> LocalPlatformCredentials:
        """Return the Block that finds this platform."""
        return LocalPlatformCredentials(state_dir=self.info.state_dir)


def forget_names(state_dir: Path) -> None:
    """Give the jobs of a platform other names, so that no new experiment is taken for theirs.

    They keep their UIDs: what is open goes on. Straight in the platform's file, as there are many.
    """
    file = state_dir / "platform.sqlite"
    if not file.exists():
        return
    with closing(sqlite3.connect(file, timeout=30)) as db, db:
        db.execute(
            """UPDATE jobs SET tags = replace(tags, '"qs-exp:', '"was-qs-exp:')
               WHERE tags LIKE '%"qs-exp:%'"""
        )


def names(tag: str, experiment: str) -> bool:
    """Whether a tag is of an experiment, or of a flow run's experiments without names."""
    return re.fullmatch(f"qs-exp:{re.escape(experiment)}(\\.[0-9a-f]{{12}})?", tag) is not None


def tagged(job: dict[str, Any], experiment: str) -> bool:
    """Whether a job is one of an experiment, or of a flow run's experiments without names."""
    return any(names(tag, experiment) for tag in job["tags"])


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def commands() -> Iterator[tuple[str, ...]]:
    """Yield all commands that the parser knows, as the words of each."""
    for command in app.registered_commands:
        yield (_name(command),)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            yield (str(group.name), _name(command))


def _name(command: CommandInfo) -> str:
    assert command.callback is not None
    return command.name or command.callback.__name__


def wait_until(condition: Any, *, seconds: float, what: str) -> Any:
    """Return the first true value of ``condition()``; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"Waited {seconds:g} s in vain: {what}")
