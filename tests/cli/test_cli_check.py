"""``session-block check``, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from qiskit import QuantumCircuit, qasm3, qpy
from session_support import measured
from support import BACKEND, Platform
from typer.testing import CliRunner

from session_block import QuantumSession
from session_block.cli import app
from session_block.records.overviews import overviews

pytestmark = pytest.mark.rest


def _run(file: Path, *arguments: str, code: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["check", str(file), *arguments], env={"COLUMNS": "200"})
    assert ran.exit_code == code, ran.output
    return ran


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write circuits to a file, by its ending as OpenQASM 3 or QPY."""

    def write(name: str, *circuits: QuantumCircuit) -> Path:
        file = tmp_path / name
        if file.suffix == ".qpy":
            with file.open("wb") as stream:
                qpy.dump(list(circuits), stream)
        else:
            file.write_text(qasm3.dumps(circuits[0]))
        return file

    return write


def test_what_is_found(
    saved_block: str, block: QuantumSession, platform: Platform, written: Any
) -> None:
    """In OpenQASM 3 and QPY, for people and as JSON; nothing is submitted or recorded."""
    before = platform.stats()["requests"]
    right, wrong = measured(), QuantumCircuit(2)
    wrong.h(0)
    wrong.measure_all()
    ran = _run(written("right.qasm", right), "--block", saved_block)
    assert ran.stdout == f"Nothing found: 1 circuit for the sampler, {BACKEND}.\n"
    shown = _run(written("wrong.qasm", wrong), "--block", saved_block, code=1).stdout
    assert shown.startswith("refuse  not-isa  PUB 0: ")
    assert "code 1517" in shown
    both = written("both.qpy", right, wrong)
    told = json.loads(_run(both, "--block", saved_block, "--json", code=1).stdout)
    assert (told["backend"], told["kind"], told["circuits"]) == (BACKEND, "sampler", 2)
    assert told["refused"] is True
    assert [(one["pub"], one["rule"]) for one in told["findings"]] == [(1, "not-isa")]
    after = platform.stats()["requests"]
    for route in ("POST /jobs", "POST /sessions"):
        assert after.get(route, 0) == before.get(route, 0)
    assert not overviews(block.ledger())


def test_observables_and_options(saved_block: str, written: Any) -> None:
    """With observables it is the Estimator's; options are those of the primitive."""
    bare = QuantumCircuit(1)
    bare.sx(0)
    file = written("bare.qasm", bare)
    assert "measures nothing" in _run(file, "--block", saved_block, code=1).stdout
    _run(file, "--block", saved_block, "--observable", "Z", "--observable", "X")
    wide = _run(file, "--block", saved_block, "--observable", "ZZ", code=1).stdout
    assert "observable-width" in wide
    both = '{"resilience": {"pec_mitigation": true, "zne_mitigation": true}}'
    given = ("--block", saved_block, "--observable", "Z", "--options", both)
    assert "exclusive-options" in _run(file, *given, code=1).stdout
    many = ("--block", saved_block, "--shots", "10000001")
    assert "executions" in _run(written("m.qasm", measured()), *many, code=1).stdout


def test_wrong_usage(saved_block: str, written: Any, tmp_path: Path) -> None:
    """A file that is none, or holds something else, and options that are no JSON."""
    file = written("right.qasm", measured())
    _run(tmp_path / "none.qasm", "--block", saved_block, code=2)
    text = tmp_path / "text.qasm"
    text.write_text("something else")
    assert "neither an OpenQASM 3" in _run(text, "--block", saved_block, code=2).stderr
    text.write_bytes(b"QISKIT\x00\x01")
    assert "QPY" in _run(text, "--block", saved_block, code=2).stderr
    assert "no JSON" in _run(file, "--block", saved_block, "--options", "x", code=2).stderr
    mixed = ("--block", saved_block, "--observable", "Z", "--shots", "3")
    assert "--shots" in _run(file, *mixed, code=2).stderr
    _run(file, "--block", saved_block, "--backend", "ibm_nowhere", code=1)
