"""ARCHITECTURE.md says which way the arrows run, and the imports agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("session_block", "tasks", "flows")
REACH_THE_LOCAL_PLATFORM = {"cli", "credentials", "local_account", "up"}
FOREIGN_TO_PURE = {"prefect", "qiskit_ibm_runtime"}


@cache
def _files() -> dict[Path, str]:
    """Return each file with its module's name in full."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[path] = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return found


def _place(module: str) -> str:
    """Return what stands for a module on the page: a name within session_block, or a package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "session_block" else package


def _rows() -> list[list[str]]:
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    return [re.findall(r"`(\w+)`", line.split("|")[2]) for line in lines if line.startswith("| **")]


def _imports(path: Path) -> Iterator[str]:
    """Give the modules that a file imports when it runs, at its top or later, in full."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in (one for one in ast.walk(tree) if id(one) not in for_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in _files().values() else node.module


def _arrows() -> Iterator[tuple[str, str]]:
    for path, module in _files().items():
        for imported in _imports(path):
            if imported.partition(".")[0] in PACKAGES:
                yield module, imported


def test_each_module_stands_in_one_row() -> None:
    """A new module has to be put somewhere, and one that is gone disappears from the page."""
    named = [module for row in _rows() for module in row]
    there = {_place(module) for module in _files().values()} - {"", "local_platform"}
    assert sorted(named) == sorted(there)


@pytest.mark.parametrize("below", range(1, 17))
def test_no_arrow_runs_up(below: int) -> None:
    """No module imports one of a higher row, not even late."""
    rows = _rows()
    assert len(rows) == 17
    higher = {module for row in rows[:below] for module in row}
    up = [
        f"{module} imports {imported}"
        for module, imported in _arrows()
        if _place(module) in rows[below] and _place(imported) in higher
    ]
    assert not up


def test_the_local_platform_stands_alone() -> None:
    """It imports nothing of the rest, and few may reach it."""
    inside = "session_block.local_platform"
    out = [
        f"{module} imports {imported}"
        for module, imported in _arrows()
        if module.startswith(inside) and not imported.startswith(inside)
    ]
    assert out == []
    reach = {
        _place(module)
        for module, imported in _arrows()
        if imported.startswith(inside) and not module.startswith(inside)
    }
    assert reach == REACH_THE_LOCAL_PLATFORM


def test_pure_modules_know_neither_prefect_nor_the_client() -> None:
    """What is in the row of pure modules can be tested, and read, by itself."""
    pure = set(_rows()[-2])
    assert {"decisions", "fingerprint"} <= pure
    foreign = [
        f"{module} imports {imported}"
        for path, module in _files().items()
        if module.startswith("session_block.") and _place(module) in pure
        for imported in _imports(path)
        if imported.partition(".")[0] in FOREIGN_TO_PURE
    ]
    assert foreign == []
