"""The order of the packages, which the tests hold, and the table of ``ARCHITECTURE.md``.

Run as a program it writes the table: ``python tests/architecture.py``.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "session_block"

ORDER = (
    ("flows",),
    ("tasks",),
    ("cli",),
    ("doctor",),
    ("operations", "lab"),
    ("blocks", "algorithms"),
    ("experiments",),
    ("submissions", "reporting"),
    ("sessions", "costs"),
    ("records", "prechecks"),
    ("ledger", "pubs", "client"),
    ("environment", "display"),
    (
        "account",
        "aio",
        "crashpoints",
        "errors",
        "events",
        "prefect_context",
        "references",
        "settings",
        "tags",
    ),
)
"""From the top to the bottom: packages of one row do not know each other. Last the single files."""

EXEMPT = ("", "__main__")
"""What is asked for by the package's own name may reach everything."""

ALONE = "local_platform"
REACH_THE_LOCAL_PLATFORM = {"blocks", "lab", "cli"}

_BEGIN, _END = "<!-- order: begin -->", "<!-- order: end -->"


@cache
def modules() -> Mapping[str, Path]:
    """Return the file of each module, by its name in full; linked directories included."""
    found = {}
    for directory, inner, files in os.walk(PACKAGE, followlinks=True):
        inner[:] = sorted(one for one in inner if one != "__pycache__")
        for path in (Path(directory) / name for name in sorted(files) if name.endswith(".py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str) -> Iterator[str]:
    """Give what a module imports, at its top, later, or for types: modules in full, names of them.

    ``from session_block import Experiment`` gives ``session_block.Experiment``.
    """
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                own = inner in modules() or node.module == PACKAGE.name
                yield inner if own else node.module


@cache
def arrows() -> tuple[tuple[str, str], ...]:
    """Return all pairs of a module and another one of this package that it imports."""
    return tuple(
        (module, imported)
        for module in modules()
        for imported in imports(module)
        if imported.partition(".")[0] == PACKAGE.name and imported != module
    )


def room(module: str) -> str:
    """Return the package, or the single file, that a module belongs to."""
    return module.partition(".")[2].partition(".")[0]


def table() -> str:
    """Return the order as a table, each package with the first line of its docstring."""
    lines = ["| package | what it is |", "| --- | --- |"]
    for row in ORDER:
        lines += [f"| `{name}` | {_what(name)} |" for name in row]
        lines.append("| | |")
    return "\n".join(lines[:-1])


def page() -> str:
    """Return ``ARCHITECTURE.md`` with the table in its place."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    before, _, rest = text.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{rest.partition(_END)[2]}"


def _what(name: str) -> str:
    source = modules()[f"{PACKAGE.name}.{name}"].read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / "ARCHITECTURE.md").write_text(page())
