"""Whether somebody else may still carry out an intent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

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


def test_an_attempt_is_alive_until_it_returns() -> None:
    """Within one process the attempt itself counts, not the process."""
    with sending(REAL) as first, sending(REAL) as second:
        assert first.token != second.token
        assert may_be_alive(first, REAL)
    assert not may_be_alive(first, REAL)


def test_another_process_is_alive_until_it_is_killed() -> None:
    """A killed sender is known to be gone at once, also while nobody has reaped it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PRINT_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    described = Sender(**json.loads(process.stdout.readline()))
    assert may_be_alive(described, REAL)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not may_be_alive(described, REAL)
    process.communicate()
    assert not may_be_alive(described, REAL)


def test_a_reused_pid_is_somebody_else() -> None:
    """A process of the same number that started at another time is not the sender."""
    with sending(REAL) as me:
        assert not may_be_alive(replace(me, started=(me.started or 0.0) - 100), REAL)


def test_a_reboot_ends_every_sender() -> None:
    """After a reboot of the same host PIDs mean nothing."""
    with sending(REAL) as me:
        assert not may_be_alive(replace(me, boot="another"), REAL)


def test_a_sender_on_another_machine_may_be_alive() -> None:
    """Of another machine's process nothing is known, whatever its boot; its deadline decides."""
    with sending(REAL) as me:
        assert may_be_alive(replace(me, machine="elsewhere", boot="another"), REAL)
        assert may_be_alive(replace(me, machine="elsewhere"), REAL)
