"""Whether somebody else may still carry out an intent."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from session_block.ledger.store import REAL
from session_block.records.keys import Sender
from session_block.records.sender import may_be_alive, sending

_PRINT_AND_WAIT = (
    "import json, sys; from dataclasses import asdict\n"
    "from session_block.ledger.store import REAL\n"
    "from session_block.records.sender import sending\n"
    "with sending(REAL) as me:\n"
    "    print(json.dumps(asdict(me)), flush=True); sys.stdin.read()"
)

_ASK = (
    "import json, sys\n"
    "from session_block.ledger.store import REAL\n"
    "from session_block.records.keys import Sender\n"
    "from session_block.records.sender import may_be_alive\n"
    "print(may_be_alive(Sender(**json.loads(sys.argv[1])), REAL))"
)

needs_root = pytest.mark.skipif(
    sys.platform != "linux"
    or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode != 0,
    reason="only root may make PID namespaces here",
)


@contextmanager
def _sender(*through: str) -> Iterator[tuple[subprocess.Popen[str], Sender]]:
    """Start another process that sends, and kill it at the end.

    Args:
        through: A command that starts it.
    """
    with subprocess.Popen(
        [*through, sys.executable, "-c", _PRINT_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Sender(**json.loads(process.stdout.readline()))
        finally:
            process.kill()


def test_an_attempt_is_alive_until_it_returns() -> None:
    """Within one process the attempt itself counts, not the process."""
    with sending(REAL) as first, sending(REAL) as second:
        assert first.token != second.token
        assert may_be_alive(first, REAL)
    assert not may_be_alive(first, REAL)


def test_another_process_is_alive_until_it_is_killed() -> None:
    """A killed sender is known to be gone at once, also while nobody has reaped it."""
    with _sender() as (process, described):
        assert may_be_alive(described, REAL)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not may_be_alive(described, REAL)
        process.wait()
        assert not may_be_alive(described, REAL)


def test_a_reused_pid_is_somebody_else() -> None:
    """A process of the same number that started at another time is not the sender."""
    with sending(REAL) as me:
        reused = replace(me, token="another", started=(me.started or 0.0) - 100)
        assert not may_be_alive(reused, REAL)


def test_a_sender_of_another_boot_may_be_alive() -> None:
    """Its machine was restarted, or another one has the same name; its deadline decides."""
    with sending(REAL) as me:
        assert may_be_alive(replace(me, token="another", boot="another"), REAL)


def test_a_sender_that_an_older_version_recorded_may_be_alive() -> None:
    """It did not write the PID namespace, so that its PID may be another container's."""
    with sending(REAL) as me:
        older = replace(me, token="another", machine=me.machine.rpartition("/")[0], pid=2**22)
        assert may_be_alive(older, REAL) is (sys.platform == "linux")
        assert not may_be_alive(replace(older, machine=me.machine), REAL)


def test_a_sender_on_another_machine_may_be_alive() -> None:
    """Of another machine's process nothing is known, whatever its boot; its deadline decides."""
    with sending(REAL) as me:
        there = replace(me, token="another", machine="elsewhere")
        assert may_be_alive(replace(there, boot="another"), REAL)
        assert may_be_alive(there, REAL)


@needs_root
@pytest.mark.parametrize(
    "mount_proc",
    [
        pytest.param(("--mount-proc",), id="own-proc"),
        pytest.param((), id="outer-proc", marks=pytest.mark.rest),
    ],
)
def test_a_sender_in_another_pid_namespace_may_be_alive(mount_proc: tuple[str, ...]) -> None:
    """As in a container on the same host: neither its PID nor its end can be seen from here."""
    command = ["unshare", "--pid", "--fork", "--kill-child", *mount_proc]
    with _sender(*command) as (process, theirs):
        assert may_be_alive(theirs, REAL)
        process.kill()
        process.wait()
        assert may_be_alive(theirs, REAL)
        # Nor can it see ours.
        with sending(REAL) as me:
            asked = subprocess.run(
                [*command, sys.executable, "-c", _ASK, json.dumps(asdict(me))],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        assert asked.stdout == "True\n"


@pytest.mark.rest
@needs_root
def test_a_sender_that_the_system_hides_may_be_alive() -> None:
    """Where ``/proc`` shows a user only their own processes, as on many clusters."""
    with _sender() as (process, theirs):
        hidden = (
            "mount -t proc -o hidepid={} proc /proc && exec setpriv --reuid=65534 -- {} -c {} {}"
        )
        answers = []
        for hidepid in (1, 2):
            ask = hidden.format(
                hidepid, *map(shlex.quote, (sys.executable, _ASK, json.dumps(asdict(theirs))))
            )
            asked = subprocess.run(
                ["unshare", "--mount", "sh", "-c", ask],
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            answers.append(asked.stdout)
        assert answers == ["True\n", "True\n"]
        assert may_be_alive(theirs, REAL)
        process.kill()
        process.wait()
        assert not may_be_alive(theirs, REAL)
