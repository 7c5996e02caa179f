"""Two processes that open one name at once: the later one is warned, and a resume is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from session_block import QuantumSession
from session_block.ledger.store import Ledger
from session_block.records.attempts import RootAttempt, note_attempt, note_failure
from session_block.records.identity import identify
from session_block.records.journal import Journal

_OPENS = (
    "import sys\n"
    "from session_block.ledger.store import Ledger\n"
    "from session_block.records.attempts import RootAttempt, note_attempt\n"
    "from session_block.records.identity import identify\n"
    "from session_block.records.journal import Journal\n"
    "ledger = Ledger(sys.argv[1])\n"
    "identity = identify(ledger, 'h2', fresh='fresh' in sys.argv)\n"
    "within = RootAttempt(sys.argv[2], 1) if sys.argv[2] else None\n"
    "note_attempt(Journal(ledger, identity.uid), identity, 0, None, within)\n"
    "print(identity.uid, flush=True); sys.stdin.read()"
)


@contextmanager
def _another_process(
    ledger_url: str, run: str = "", *more: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Open ``h2`` in another process, which keeps it open; give the process and the UID."""
    with subprocess.Popen(
        [sys.executable, "-c", _OPENS, ledger_url, run, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def _open(ledger_url: str, within: RootAttempt | None = None, *, fresh: bool = False) -> str:
    """Open ``h2`` in this process; return the UID."""
    ledger = Ledger(ledger_url)
    identity = identify(ledger, "h2", fresh=fresh)
    note_attempt(Journal(ledger, identity.uid), identity, 0, None, within)
    return identity.uid


def test_a_name_that_another_process_has_open_is_warned_of(
    block: QuantumSession, ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With process, host, since when, and what to do; not any more once that process is dead."""
    with _another_process(ledger_url) as (process, uid):
        assert block.experiment("h2").uid == uid
        [warning] = [one.getMessage() for one in caplog.records if "is open in" in one.message]
        assert f"'h2' is open in process {process.pid} on " in warning
        assert " since 20" in warning
        assert "fresh=True" in warning
        caplog.clear()
    assert block.experiment("h2").uid == uid
    assert "is open in" not in caplog.text


def test_a_fresh_one_beside_a_running_one_is_warned_of(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Both run, but the name stands for the later one: the warning says how to find the other."""
    with _another_process(ledger_url, "", "fresh") as (process, uid):
        other = _open(ledger_url, fresh=True)
    assert other != uid
    [warning] = [one.getMessage() for one in caplog.records]
    assert f"number 1 of that name is open in process {process.pid} on " in warning
    assert f"uid={uid!r}" in warning


def test_what_is_no_second_run_is_not_warned_of(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry or a subflow of the same flow run; but another flow run is one."""
    with _another_process(ledger_url, "run-1"):
        _open(ledger_url, RootAttempt("run-1", 1))
        _open(ledger_url, RootAttempt("run-1", 2))
        assert not caplog.records
        _open(ledger_url, RootAttempt("run-2", 1))
        [warning] = caplog.records
        assert "(flow run run-1)" in warning.getMessage()


def test_an_attempt_that_has_failed_is_not_warned_of(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process may well live on, as a notebook's does."""
    with _another_process(ledger_url) as (_, uid):
        note_failure(Journal(Ledger(ledger_url), uid), 1, 0)
        _open(ledger_url)
    assert not caplog.records


def test_one_process_may_open_a_name_again(
    block: QuantumSession, caplog: pytest.LogCaptureFixture
) -> None:
    """As a cell of a notebook does that is run twice."""
    block.experiment("h2")
    block.experiment("h2")
    block.experiment("h2", fresh=True)
    assert "is open in" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_was_left_is_not_open(
    block: QuantumSession, error: type[BaseException]
) -> None:
    """Left by Ctrl-C or by an error, the attempt has ended, although its process lives."""
    experiment = block.experiment("h2")
    with pytest.raises(error), experiment:
        raise error
    ended = block.ledger().facts(experiment.uid, "left/", "failed/")
    assert [one.key for one in ended] == [
        "left/000001" if error is KeyboardInterrupt else "failed/000001"
    ]
