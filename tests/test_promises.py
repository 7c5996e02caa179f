"""The first tier proves every promise: ``make test`` alone tells whether one is broken."""

from __future__ import annotations

import ast
import pickle
import re
from collections import defaultdict
from pathlib import Path

import pytest

import session_block
from session_block.errors import LedgerError
from session_block.pubs.encoding import decode_circuit, decode_result

TESTS = Path(__file__).parent
PROMISES = {f"P{number}" for number in range(1, 13)}
LATER_TIERS = ("mark.rest", "mark.nightly")
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def _is_later(marks: list[ast.expr]) -> bool:
    return any(tier in ast.unparse(mark) for mark in marks for tier in LATER_TIERS)


def _proofs() -> dict[str, list[str]]:
    """Return the tests of the first tier that begin with the promise that they prove."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        marks = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        if _is_later(marks):
            continue
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or _is_later(node.decorator_list):
                continue
            named = re.match(r"((?:P\d+, )*P\d+):", ast.get_docstring(node) or "")
            for promise in named[1].split(", ") if named else ():
                found[promise].append(f"{path.name}::{node.name}")
    return found


def test_every_promise_has_a_proof_in_the_first_tier() -> None:
    """A test whose docstring begins with the promise, and which fails when that is broken."""
    assert set(_proofs()) == PROMISES


def test_nothing_durable_is_unpickled() -> None:
    """P10: no module of the package knows how to, so that who writes a store runs no code here."""
    package = Path(session_block.__file__).parent
    against = [
        f"{path.relative_to(package)} imports {name}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
        + [alias.name for alias in node.names]
        if name is not None and name.partition(".")[0] in UNPICKLERS
    ]
    assert against == []


class _Trap:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_the_ledger_is_damage(tmp_path: Path) -> None:
    """P10: it is refused, and nothing that it would do is done."""
    trap = tmp_path / "sprung"
    payload = pickle.dumps(_Trap(trap))
    for decode in (decode_result, decode_circuit):
        with pytest.raises(LedgerError, match="damaged"):
            decode(payload)
    assert not trap.exists()
