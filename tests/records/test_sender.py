"""Whether somebody else may still carry out an intent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

from session_block.records.keys import Sender
from session_block.records.sender import attempt, may_be_alive

_PRINT_AND_WAIT = (
    "import json, sys; from dataclasses import asdict\n"
    "from session_block.records import sender\n"
    "with attempt() as me:\n"
    "    print(json.dumps(asdict(me)), flush=True); sys.stdin.read()"
)


def test_an_attempt_is_alive_until_it_returns() -> None:
    """Within one process the attempt itself counts, not the process."""
    with attempt() as first, attempt() as second:
        assert first.token != second.token
        assert may_be_alive(first)
    assert not may_be_alive(first)


def test_another_process_is_alive_until_it_is_killed() -> None:
    """A killed owner is known to be gone at once, also while nobody has reaped it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PRINT_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    described = Sender(**json.loads(process.stdout.readline()))
    assert may_be_alive(described)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not may_be_alive(described)
    process.communicate()
    assert not may_be_alive(described)


def test_a_reused_pid_is_somebody_else() -> None:
    """A process of the same number that started at another time is not the owner."""
    with attempt() as me:
        assert not may_be_alive(replace(me, started=(me.started or 0.0) - 100))


def test_a_reboot_ends_every_owner() -> None:
    """After a reboot of the same host PIDs mean nothing."""
    with attempt() as me:
        assert not may_be_alive(replace(me, boot="another"))


def test_an_owner_on_another_machine_may_be_alive() -> None:
    """Of another machine's process nothing is known, whatever its boot; its deadline decides."""
    with attempt() as me:
        assert may_be_alive(replace(me, machine="elsewhere", boot="another"))
        assert may_be_alive(replace(me, machine="elsewhere"))
