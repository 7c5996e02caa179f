"""HTML for notebooks: inert, whatever names and messages it shows, and readable in any theme.

It has no script, no link and no style sheet, and takes its colours from the notebook. Every text
goes through :func:`escape <html.escape>` here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from session_block.display.figures import Line, data_uri, plot
from session_block.display.text import shown_value
from session_block.errors import InvalidInputError

ROWS = 10
"""So many rows of a table are shown."""

_LEFT = 'style="text-align:left;vertical-align:top"'
_NAME = 'style="text-align:left;vertical-align:top;white-space:nowrap"'


def page(title: str, *parts: str) -> str:
    """Return a whole output: a heading, and parts that the functions below have made."""
    return (
        '<div style="max-width:60em;line-height:1.4">'
        f'<div style="font-weight:bold;font-size:1.15em">{_cell(title)}</div>'
        f"{''.join(parts)}</div>"
    )


def paragraph(text: str) -> str:
    """Return a text."""
    return f'<p style="margin:0.4em 0">{_cell(text)}</p>'


def pairs(rows: Iterable[tuple[str, Any]]) -> str:
    """Return names with their values; pairs with the value ``None`` are left out."""
    cells = "".join(
        f"<tr><th {_NAME}>{_cell(name)}</th><td {_LEFT}>{_cell(value)}</td></tr>"
        for name, value in rows
        if value is not None
    )
    return f"<table><tbody>{cells}</tbody></table>" if cells else ""


def table(title: str, names: Sequence[str], rows: Sequence[Sequence[Any]], *, of: int) -> str:
    """Return a table that unfolds; nothing without rows.

    Args:
        title: What it shows.
        names: The columns' names.
        rows: The cells of the rows that are shown; ``None`` is an empty cell.
        of: How many rows there are in all.
    """
    if not rows:
        return ""
    heading = f"{title} ({of})" if of == len(rows) else f"{title} ({len(rows)} of {of})"
    head = "".join(f"<th {_LEFT}>{_cell(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td {_LEFT}>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f"<details><summary>{_cell(heading)}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def figure(
    lines: Sequence[Line], *, x_label: str, y_label: str, reference: float | None = None
) -> str:
    """Return a figure; nothing if there is nothing to draw, or no matplotlib to draw it with."""
    try:
        picture = plot(lines, x_label=x_label, y_label=y_label, reference=reference)
    except InvalidInputError:
        return ""
    alt = _cell(f"{y_label} over {x_label}")
    return (
        f'<img src="{data_uri(picture)}" alt="{alt}" '
        'style="max-width:100%;width:34em;background:transparent">'
    )


def _cell(value: Any) -> str:
    """Return a value as HTML that shows it as it is."""
    return escape(shown_value(value))
