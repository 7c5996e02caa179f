"""Names in the report: somebody else chose them, on a shared ledger."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from session_block.reporting.prefect_report import shown_as_text

HOSTILE = ["![i](http://evil.example/a.png)", "<img src=x onerror=alert(1)>", "a | b", "&lt;b&gt;"]

PRINTABLE = st.text(min_size=1).filter(lambda text: text.isprintable() and text == text.strip())


def _read(markdown: str) -> list[Token]:
    """Return what stands inside the blocks of a page."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [inner for block in blocks for inner in block.children or []]


@given(PRINTABLE)
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[2])
@example(HOSTILE[3])
@example("**x** _y_ `z` \\")
def test_a_name_is_read_as_it_is(name: str) -> None:
    """In a heading and in a table's cell: nothing but text, and the same."""
    pages = [
        f"# Experiment {shown_as_text(name)}",
        f"| a | b |\n|---|---|\n| x{shown_as_text(name)}x | y |",
    ]
    for page, expected in zip(pages, (f"Experiment {name}", f"abx{name}xy"), strict=True):
        found = _read(page)
        assert {one.type for one in found} <= {"text", "text_special"}
        assert "".join(one.content for one in found) == expected


@pytest.mark.parametrize("name", ["http://evil.example", "www.evil.example", "me@evil.example"])
def test_no_link_is_made_of_a_name(name: str) -> None:
    """Some readers make links of bare text."""
    assert "://" not in shown_as_text(name)
    assert "www." not in shown_as_text(name)
    assert "@" not in shown_as_text(name)


def test_an_ordinary_name_stays_as_it_is() -> None:
    """The text can be read without being rendered, too."""
    assert shown_as_text("h2_vqe-night 3 (Monday)") == "h2_vqe-night 3 (Monday)"
