"""Every command that the parser knows, really run where no Prefect server is: what it costs, says.

A new command has to be put into ``RUNS``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from qiskit import QuantumCircuit
from support import commands, free_port

from session_block import (
    LocalPlatformCredentials,
    QuantumSession,
    local_platform,
)
from session_block.cli.common import ExitCode
from session_block.ledger.store import Ledger
from session_block.operations.copied_blocks import record_copy
from session_block.records.journal import Journal
from session_block.records.keys import Intent
from session_block.records.stops import stop_for_good

pytestmark = pytest.mark.rest

NOISE = ("Loading account with the given token", "Failed to send telemetry")
"""What the client and Prefect used to say on stderr, to nobody's use."""

HEAVY = {"prefect", "qiskit", "qiskit_ibm_runtime"}
LEDGER_SECONDS = 1.0
FIRST_LINE_SECONDS = 1.0
NOWHERE_SECONDS = 1.5
"""Seconds of CPU time, which other processes on the machine hardly change."""

PROBE = """
import atexit, json, os, sys, time

seen = {}

def note(at):
    heavy = {name.partition(".")[0] for name in sys.modules}
    seen[at] = {"seconds": time.process_time(), "modules": sorted(heavy)}

def watch(stream):
    write = stream.write
    def first(text):
        if text.strip() and "first" not in seen:
            note("first")
        return write(text)
    stream.write = first

def end():
    note("end")
    with open(os.environ["PROBE_FILE"], "w") as file:
        json.dump(seen, file)

atexit.register(end)
watch(sys.stdout)
watch(sys.stderr)
from session_block.cli import main
main()
"""


@dataclass(frozen=True)
class Run:
    """How a command is run.

    Attributes:
        arguments: What follows its name.
        code: Its exit code.
        reads_ledger_alone: Whether it needs nothing else, nor the values of results.
        interrupted: Whether it goes on for long: it gets Ctrl-C after its first line.
        stdin: What is typed.
    """

    arguments: tuple[str, ...] = ()
    code: int = ExitCode.DONE
    reads_ledger_alone: bool = False
    interrupted: bool = False
    stdin: str = ""


BLOCK = ("--block", "copied")
RUNS: dict[str, Run] = {
    "check": Run(("{qasm}", *BLOCK)),
    "demo": Run(),
    "deploy": Run(code=ExitCode.REFUSED),
    "deployment run": Run(("vqe/h2-nightly",), code=ExitCode.REFUSED),
    "deployment watch": Run(("{submission}",), code=ExitCode.REFUSED),
    "doctor": Run(BLOCK),
    "experiments cancel": Run(("to-cancel", "--yes", *BLOCK)),
    "experiments compare": Run(("one", "two")),
    "experiments export": Run(("one",)),
    "experiments list": Run(reads_ledger_alone=True),
    "experiments resume": Run(("stopped",), reads_ledger_alone=True),
    "experiments retry": Run(("one",), code=ExitCode.REFUSED),
    "experiments show": Run(("one",), reads_ledger_alone=True),
    "ledger copy": Run(("--from", "{other}"), reads_ledger_alone=True),
    "platform advance": Run(("1", "--json")),
    "platform env": Run(),
    "platform fidelity": Run(interrupted=True, code=ExitCode.INTERRUPTED),
    "platform page": Run(("--print",)),
    "platform start": Run(),
    "platform status": Run(),
    "platform stop": Run(("--state-dir", "{elsewhere}")),
    "sessions close": Run(("{session}", *BLOCK)),
    "sessions list": Run(reads_ledger_alone=True),
    "sessions orphans": Run(BLOCK),
    "sessions show": Run(("{session}",), reads_ledger_alone=True),
    "setup ibm": Run(
        (
            *("--token-stdin", "--url", "{url}", "--instance", "{instance}"),
            *("--backend", "ibm_manila", "--max-time", "30m"),
        ),
        stdin="{token}\n",
    ),
    "submissions adopt": Run(
        ("to-cancel", "{submission}", "j"), code=ExitCode.REFUSED, reads_ledger_alone=True
    ),
    "submissions list": Run(reads_ledger_alone=True),
    "submissions release": Run(
        ("to-cancel", "{submission}"), code=ExitCode.REFUSED, reads_ledger_alone=True
    ),
    "submissions retry": Run(
        ("to-cancel", "{submission}"), code=ExitCode.REFUSED, reads_ledger_alone=True
    ),
    "submissions show": Run(("to-cancel", "{submission}"), reads_ledger_alone=True),
    "up": Run(("--server-port", "{port}"), interrupted=True),
    "usage": Run(reads_ledger_alone=True),
}

WITH_BLOCK = ("experiments list", "sessions list", "usage")
"""Commands that need no Block, and take one."""


@dataclass(frozen=True)
class Lab:
    """A user's home with a ledger and a platform, and what is in them."""

    home: Path
    environment: dict[str, str]
    known: dict[str, str]

    def run(self, command: str, run: Run, *more: str) -> tuple[dict[str, Any], str]:
        """Run a command; return what the probe saw, and all that it said."""
        probe = self.home / "probe.json"
        arguments = [one.format(**self.known) for one in (*run.arguments, *more)]
        started = subprocess.Popen(
            [sys.executable, "-c", PROBE, *command.split(), *arguments],
            cwd=self.home,
            env={**self.environment, "PROBE_FILE": str(probe)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = ""
        if run.interrupted:
            assert started.stdout is not None
            said = started.stdout.readline()
            started.send_signal(signal.SIGINT)
        rest, _ = started.communicate(run.stdin.format(**self.known), timeout=240)
        said += rest
        assert started.returncode == run.code, said
        return json.loads(probe.read_text()), said


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One experiment with a job, its like, one to cancel, one that was stopped; a Block's copy."""
    home = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home}/prefect/session-block/ledger.db"
    state_dir = home / "prefect" / "session-block" / "platform"
    info = local_platform.start(state_dir)
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=state_dir),
        backend_name="ibm_manila",
        ledger_url=SecretStr(url),
    )
    ledger = Ledger(url)
    for name in ("one", "two", "to-cancel"):
        with block.experiment(name) as experiment:
            bell = QuantumCircuit(1)
            bell.h(0)
            bell.measure_all()
            experiment.run_sampler([experiment.transpile(bell)], shots=8)
            session = str(experiment.session_id)
    [intent] = Journal(ledger, experiment.uid).all(Intent)
    stopped = block.experiment("stopped")
    stop_for_good(Journal(ledger, stopped.uid), "somebody cancelled it", anew=True)
    record_copy("copied", block, url)
    other = Ledger(f"sqlite:///{home}/other.db")
    other.create("u", "written/t", {})
    qasm = home / "measured.qasm"
    qasm.write_text('OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; sx q; c = measure q;')
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "QISKIT_IBM", "DO_NOT_TRACK"))
    }
    yield Lab(
        home,
        {
            **kept,
            "HOME": str(home),
            "PREFECT_HOME": str(home / "prefect"),
            "SESSION_BLOCK_LEDGER_URL": url,
            "COLUMNS": "200",
        },
        {
            "session": session,
            "qasm": str(qasm),
            "submission": intent.submission,
            "other": f"sqlite:///{home}/other.db",
            "elsewhere": str(home / "elsewhere"),
            "url": info.origin,
            "instance": info.instance,
            "token": info.token,
            "port": str(free_port()),
        },
    )
    local_platform.stop(state_dir)


@pytest.mark.parametrize("command", [" ".join(one) for one in commands()])
def test_a_command_is_quick_and_says_only_its_own(lab: Lab, command: str) -> None:
    """What reads the ledger alone takes a second; all else says something within one.

    The first line comes before Prefect or Qiskit are imported. No command starts a Prefect server,
    but ``up``. None repeats what the client or Prefect say to nobody's use.
    """
    run = RUNS[command]
    seen, said = lab.run(command, run)
    assert not [one for one in NOISE if one in said], said
    if command != "up":
        assert not (lab.home / "prefect" / "prefect.db").exists()
    assert not HEAVY & set(seen["first"]["modules"])
    if run.reads_ledger_alone:
        assert not HEAVY & set(seen["end"]["modules"])
        assert seen["end"]["seconds"] <= LEDGER_SECONDS
    else:
        assert seen["first"]["seconds"] <= FIRST_LINE_SECONDS


@pytest.mark.parametrize("command", WITH_BLOCK)
def test_a_block_is_asked_for_with_a_line(lab: Lab, command: str) -> None:
    """Before Prefect's import, which its fields need."""
    seen, said = lab.run(command, Run(BLOCK))
    assert said.startswith("Loading Block 'copied' …\n")
    assert "copy in the ledger" in said
    assert not HEAVY & set(seen["first"]["modules"])


def test_where_nothing_is_it_is_told_before_prefect_is_imported(lab: Lab) -> None:
    """Exit code 2 within 1.5 s of CPU time; that Prefect's import alone takes."""
    run = Run(("--block", "unknown"), code=ExitCode.WRONG_USAGE)
    seen, said = lab.run("usage", run)
    assert "none is configured or runs here" in said
    assert not HEAVY & set(seen["end"]["modules"])
    assert seen["end"]["seconds"] <= NOWHERE_SECONDS
