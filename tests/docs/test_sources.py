"""Each paragraph that says what IBM does names the class of its source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CLASSES = re.compile(r"\([^()]*\b(?:real|docs|spec|client source|guess)\b[^()]*\)")

# What IBM does, as against what this package does there.
CLAIM = re.compile(
    r"\bIBM (?:itself )?(?:allows|bills|cancels|charges|closes|counts|ends|has removed|keeps|limits"
    r"|lists|makes|offers|publishes|refuses|removes)\b|\bIBM's (?:edge|interface)\b"
    r"|\bs at IBM\b|\bis billed\b"
)

PAGES = sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if page.parent.name not in {"contributing", "reference"}
)


def _unsourced(text: str) -> list[str]:
    paragraphs = re.split(r"\n\s*\n|\n(?=- )", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    claims = [" ".join(one.split()) for one in paragraphs]
    return [one for one in claims if CLAIM.search(one) and not CLASSES.search(one)]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_what_is_said_of_ibm_names_its_source(page: Path) -> None:
    """A reader sees how sure each statement about IBM is."""
    assert _unsourced(page.read_text()) == []


def test_a_statement_without_a_source_is_noticed() -> None:
    """In a paragraph and in a list."""
    text = "A.\n\nIBM closes\nit in the end.\n\nIBM closes it (docs).\n\n- IBM bills it.\n- Else."
    assert _unsourced(text) == ["IBM closes it in the end.", "- IBM bills it."]
