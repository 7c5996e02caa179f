# ruff: noqa: INP001 - MkDocs loads this file by its path
"""Generates parts of the documentation from the code, so that the two cannot differ.

``<!-- generated: NAME -->`` in a page is replaced by the text of that name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from session_block import crashpoints, errors
from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
from session_block.blocks.quantum_session import SessionSettings
from session_block.cli import app
from session_block.prechecks.rules import RULES
from session_block.prechecks.spending import SPENDING_RULES
from session_block.sessions import decisions as session_decisions
from session_block.submissions import decisions

_MARK = re.compile(r"<!-- generated: ([\w-]+) -->")
_ROLE = re.compile(r":(?:class|meth|attr|func|mod|data|exc):(?=<code>)")
_COLUMNS = 88


def decision_table() -> str:
    """Return the decision table of ``decisions.py``."""
    rows = [
        (f"{situation}", f"{answer}", f"{action}")
        for (situation, answer), action in decisions.TABLE.items()
    ]
    return _table(("the ledger says", "the platform says", "what is done"), rows)


def held_back_table() -> str:
    """Return the rows that differ with ``unsettled="hold"``."""
    rows = [
        (f"{situation}", f"{answer}", f"{action}")
        for (situation, answer), usual in decisions.TABLE.items()
        if (action := decisions.decide(situation, answer, decisions.Policy.HOLD)) is not usual
    ]
    return _table(("the ledger says", "the platform says", "what is done"), rows)


def session_ends_table() -> str:
    """Return the table of who ended a session."""
    rows = [(f"{evidence}", f"{fate}") for evidence, fate in session_decisions.TABLE.items()]
    return _table(("what is known", "what it means"), rows)


def crash_point_table() -> str:
    """Return the crash points of the effects on the platform."""
    rows = [
        (f"`{effect}, before`", f"`{effect}, after`") for effect in crashpoints.PLATFORM_EFFECTS
    ]
    return _table(("before the effect", "after it"), rows)


def error_tree() -> str:
    """Return the tree of exceptions, each with its summary line."""
    return "\n".join(
        f"{'    ' * depth}- **{error.__name__}**: {_first_line(error)}"
        for depth, error in _errors(errors.SessionBlockError, 0)
    )


def wrong_input() -> str:
    """Return all messages of ``InvalidInputError``, with … for the parts that vary."""
    code = Path(errors.__file__).parent
    found = {
        message_of(node.args[0])
        for path in code.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == errors.InvalidInputError.__name__
    }
    return "\n".join(f"- `{message}`" for message in sorted(found - {"…"}))


def message_of(node: ast.expr) -> str:
    """Return a string of the code, with … for the parts that vary."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(message_of(part) for part in parts)
        case _:
            return "…"


def settings_tables() -> str:
    """Return the fields of the three Blocks, with their defaults and descriptions."""
    blocks = {
        "QuantumSession": SessionSettings,
        "IBMSessionCredentials": IBMSessionCredentials,
        "LocalPlatformCredentials": LocalPlatformCredentials,
    }
    parts = []
    for name, block in blocks.items():
        rows = [
            (f"`{key}`", "" if field.is_required() else f"`{field.default!r}`", field.description)
            for key, field in block.model_fields.items()
        ]
        table = _table(("field", "default", "what it is"), rows)
        parts.append(f"### Fields of {name}\n\n{table}")
    return "\n\n".join(parts)


def precheck_table() -> str:
    """Return the rules of the check, with severity, source, code and cure."""
    rows = [
        (
            f"`{rule.name}`",
            rule.what,
            rule.severity,
            rule.evidence,
            "" if rule.code is None else f"{rule.code}",
            rule.cure,
        )
        for rule in (*RULES, *SPENDING_RULES)
    ]
    return _table(("rule", "what it finds", "then", "source", "code", "what to do"), rows)


def commands() -> str:
    """Return the help page of every command, as in a shell."""
    runner = CliRunner()
    parts = []
    for path in _commands(typer.main.get_command(app), ()):
        shown = runner.invoke(
            app,
            [*path, "--help"],
            prog_name="session-block",
            env={"COLUMNS": f"{_COLUMNS}", "TERMINAL_WIDTH": f"{_COLUMNS}", "NO_COLOR": "1"},
            catch_exceptions=False,
        )
        help_page = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        name = " ".join(("session-block", *path))
        parts.append(f"## {name}\n\n```text\n{help_page}\n```")
    return "\n\n".join(parts)


GENERATED: dict[str, Callable[[], str]] = {
    "decisions": decision_table,
    "decisions-hold": held_back_table,
    "session-ends": session_ends_table,
    "crash-points": crash_point_table,
    "errors": error_tree,
    "wrong-input": wrong_input,
    "settings": settings_tables,
    "prechecks": precheck_table,
    "commands": commands,
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the marks by the generated texts; MkDocs calls this for each page."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Remove the roles of docstrings, which are for readers of the code."""
    return _ROLE.sub("", html)


def _errors(
    error: type[errors.SessionBlockError], depth: int
) -> Iterator[tuple[int, type[errors.SessionBlockError]]]:
    yield depth, error
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _errors(below, depth + 1)


def _first_line(error: type[Exception]) -> str:
    return (error.__doc__ or "").partition("\n")[0]


def _commands(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    if not (path and below):
        yield path
    for name, one in below.items():
        yield from _commands(one, (*path, name))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
