"""The page on a job's life names modules, classes and functions; each is where the page says."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest
from snippets import ROOT

import session_block

PAGE = (ROOT / "docs/explanation/life-of-a-job.md").read_text()
STEPS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
PACKAGE = Path(session_block.__file__).parent
ROOMS = ("pubs", "experiments", "submissions", "sessions", "records", "ledger", "costs", "client")
_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")


def _title(step: str) -> str:
    return step.partition("\n")[0]


@pytest.mark.parametrize("step", STEPS, ids=_title)
def test_each_name_is_where_the_page_says(step: str) -> None:
    """Each file exists, and each name is one of the files that its step names."""
    spans = _CODE.findall(step)
    files = [span for span in spans if span.endswith(".py")]
    names = [span for span in spans if _NAME.fullmatch(span) and span not in files]
    assert files
    assert names
    modules = []
    for file in files:
        assert (PACKAGE / file).exists(), file
        name = file.removesuffix(".py").replace("/", ".")
        modules.append(importlib.import_module(f"{session_block.__name__}.{name}"))
    for name in names:
        assert any(_has(module, name) for module in modules), name


def _has(module: object, name: str) -> bool:
    first = name.partition(".")[0]
    defined_here = getattr(getattr(module, first, None), "__module__", None)
    if defined_here is not None and defined_here != getattr(module, "__name__", None):
        return False
    try:
        reduce(getattr, name.split("."), module)
    except AttributeError:
        return False
    return True


def test_the_page_goes_through_every_room() -> None:
    """And each step says what is durable when it ends."""
    named = {span.partition("/")[0] for span in _CODE.findall(PAGE) if span.endswith(".py")}
    assert set(ROOMS) <= named
    assert all("\nDurable: " in step for step in STEPS)
