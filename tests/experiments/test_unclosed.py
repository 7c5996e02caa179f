"""A process that ends normally says which sessions it leaves open, and how to close them."""

from __future__ import annotations

import logging
import re
import shlex
import signal
import subprocess
import sys
from uuid import uuid4

import pytest
from prefect_helpers import api_environment
from support import Platform, context_of
from typer.testing import CliRunner

from session_block import QuantumSession, load_block
from session_block.cli import app
from session_block.events import EventKind
from session_block.experiments.unclosed import Unclosed
from session_block.ledger.store import Ledger
from session_block.records.keys import SessionIntent, SessionOutcome
from session_block.references import SessionMode

WARNING = re.compile(r"(Session|Batch) ([\w-]+) of experiment (.+?) was left open, and (.+?)\. ")
COMMAND = re.compile(r"close it now: (.+) \(If an")

BEGINNING = """
import gc, os, subprocess, sys
from pathlib import Path
from qiskit import QuantumCircuit
from session_block import QuantumSession, load_block
from session_block.local_platform import Admin, find

circuit = QuantumCircuit(1)
circuit.sx(0)
circuit.measure_all()
block = QuantumSession.load(sys.argv[1])

def run(experiment):
    return experiment.run_sampler([circuit], shots=8)

def requests():
    return sum(Admin.of(find(Path(sys.argv[2]))).stats()["requests"].values())
"""

FORGETFUL = """
experiment = block.experiment("forgetful")
run(experiment)
print(requests())
"""

FAILING = """
with block.experiment("forgetful") as experiment:
    run(experiment)
    print(requests())
    raise ValueError("wrong")
"""

INTERRUPTED = f"""{FORGETFUL}
import signal
signal.raise_signal(signal.SIGINT)
"""

BLAMELESS = """
import atexit
from prefect import flow, task
from session_block.tasks import close_session, open_session

with block.experiment("left") as left:
    run(left)
finished = block.experiment("finished")
run(finished)
finished.finish()
closed = block.experiment("closed")
run(closed)
closed.close_session()
cancelled = block.experiment("cancelled")
run(cancelled)
cancelled.cancel_session()
again = block.experiment("twice")
run(again)
with block.experiment("twice") as twice:
    run(twice)
by_operator = block.experiment("by an operator")
run(by_operator)
close = [sys.executable, "-m", "session_block", "sessions", "close", by_operator.session_id]
subprocess.run([*close, "--block", sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
run(block.experiment("left"))  # answered from its records
block.experiment("unused")
run(block.model_copy(update={"mode": "job"}).experiment("jobs"))
closing = block.experiment("closed at the end")
run(closing)
atexit.register(closing.close_session)
close_session(open_session(sys.argv[1], "by tasks"))

in_flow, in_task = [], []

@flow
def leave_in_flow():
    experiment = block.experiment("in a flow")
    run(experiment)
    in_flow.append(experiment.session_id)
    raise ZeroDivisionError  # a failed run keeps its session

@task
def leave_in_task():
    experiment = block.experiment("in a task")
    run(experiment)
    in_task.append(experiment.session_id)

leave_in_flow(return_state=True)
leave_in_task()
assert in_flow[0] and in_task[0]
block.experiment("borrower").borrow_session(in_flow[0])
print(in_flow[0], in_task[0])
"""


def _end(script: str, block: str, platform: Platform) -> subprocess.CompletedProcess[str]:
    """Run a script that works with a saved Block, up to its end."""
    return subprocess.run(
        [sys.executable, "-c", BEGINNING + script, block, platform.info.state_dir],
        env=api_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _accepts_jobs(platform: Platform, session_id: str) -> bool:
    sessions = {one["id"]: one for one in platform.admin.sessions()}
    return bool(sessions[session_id]["accepting_jobs"])


def _only_warning(ended: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return the session that a process says it left open, and the command that closes it."""
    warnings = WARNING.findall(ended.stderr)
    assert len(warnings) == 1, ended.stderr
    return warnings[0][1], COMMAND.findall(ended.stderr)[0]


def _close(command: str, *, in_a_shell: bool) -> str:
    """Do what a warning says, in a process of its own if a shell is to be shown."""
    program, *words = shlex.split(command)
    assert program == "session-block"
    if not in_a_shell:
        return CliRunner().invoke(app, words).stdout
    return subprocess.run(
        [sys.executable, "-m", "session_block", *words],
        env=api_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.rest
@pytest.mark.parametrize(
    ("script", "code", "mode"),
    [
        pytest.param(FORGETFUL, 0, "session", id="return"),
        pytest.param(FAILING, 1, "batch", id="error"),
        pytest.param(INTERRUPTED, -signal.SIGINT, "session", id="Ctrl-C"),
    ],
)
def test_a_script_that_leaves_its_session_open_is_told_what_closes_it(
    block: QuantumSession,
    saved_block: str,
    platform: Platform,
    script: str,
    code: int,
    mode: SessionMode,
) -> None:
    """It is told once, on stderr, and the platform is asked nothing then.

    All that is said is true: the next run continues in the session, and the command closes it.
    """
    block.model_copy(update={"mode": mode}).save(saved_block, overwrite=True)
    ended = _end(script, saved_block, platform)
    assert ended.returncode == code, ended.stderr
    asked_afterwards = sum(platform.stats()["requests"].values()) - int(ended.stdout)
    assert asked_afterwards <= 1  # the script's own question about the requests
    session_id, command = _only_warning(ended)
    kind, _, experiment, billed = WARNING.findall(ended.stderr)[0]
    assert (kind.lower(), experiment) == (mode, "'forgetful'")
    assert (
        billed == {"session": "is billed until it idles out", "batch": "its jobs are billed"}[mode]
    )

    assert load_block(saved_block).experiment("forgetful").open_session() == session_id
    assert _accepts_jobs(platform, session_id)
    told = _close(command, in_a_shell=script == FORGETFUL)
    assert told == f"Closed session {session_id}.\n"
    assert not _accepts_jobs(platform, session_id)


@pytest.mark.rest
def test_whoever_closes_or_may_not_close_is_told_nothing(
    saved_block: str, platform: Platform
) -> None:
    """Nor is what a Prefect run leaves; its session may well be open."""
    ended = _end(BLAMELESS, saved_block, platform)
    assert ended.returncode == 0, ended.stderr
    assert "left open" not in ended.stderr
    assert all(_accepts_jobs(platform, session_id) for session_id in ended.stdout.split())


@pytest.mark.rest
def test_a_block_that_was_never_saved_is_closed_from_python(
    block: QuantumSession, ledger_url: str, platform: Platform
) -> None:
    """No shell can load it. The experiment is told of also if it was dropped long before."""
    make = f"""
from session_block import LocalPlatformCredentials
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir={str(platform.info.state_dir)!r}),
    backend_name={block.backend_name!r}, ledger_url={ledger_url!r},
)
"""
    unsaved = BEGINNING.replace("QuantumSession.load(sys.argv[1])", "None") + make

    script = "run(block.experiment('it\\'s dropped'))\ngc.collect()\nsys.exit(3)"
    ended = subprocess.run(
        [sys.executable, "-c", unsaved + script, "", platform.info.state_dir],
        env=api_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    session_id, command = _only_warning(ended)
    assert _accepts_jobs(platform, session_id)
    assert eval(command, {"block": block})  # noqa: S307 - it is the package's own command
    assert not _accepts_jobs(platform, session_id)


@pytest.mark.rest
def test_each_session_is_told_of_by_the_process_that_uses_it(
    saved_block: str, platform: Platform
) -> None:
    """A task outside of runs works for its caller; forks and processes that join stay silent."""
    script = """
from session_block.tasks import open_session, run_sampler

opened = open_session(sys.argv[1], "by a task")
run_sampler(opened, [circuit], shots=8)
for joins in (False, True):
    if not os.fork():
        if joins:
            block.attach(opened).run_sampler([circuit], shots=8, label="joined")
        sys.exit(0)
    assert os.wait()[1] == 0
print(opened.session_id)
"""
    ended = _end(script, saved_block, platform)
    session_id, _ = _only_warning(ended)
    assert session_id == ended.stdout.strip()


def test_a_long_process_remembers_few_sessions(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It forgets what is closed, and the first of very many that it leaves."""
    ledger, unclosed = Ledger(ledger_url), Unclosed()

    def leave(name: str) -> str:
        context = context_of(ledger, uuid4().hex[:16], name)
        unclosed.watch(context, "some-block")
        session_id = uuid4().hex
        context.journal.record(
            SessionIntent(number=1, backend="b", instance=None, url=None, max_time_seconds=None)
        )
        context.journal.record(SessionOutcome(number=1, kind="opened", session_id=session_id))
        context.publish(EventKind.SESSION_OPENED, session_id)
        if name == "closed":
            context.publish(EventKind.SESSION_CLOSED, session_id)
        return session_id

    left = [leave("left") for _ in range(50)]
    leave("closed")
    left += [leave("left") for _ in range(51)]
    with caplog.at_level(logging.WARNING):
        unclosed.tell()
    told = [WARNING.findall(record.getMessage())[0][1] for record in caplog.records]
    assert told == left[1:]
    ledger.close()
