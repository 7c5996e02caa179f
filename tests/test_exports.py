"""What is public: the names that the package exports, those that pages show, and their types."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from snippets import ROOT

import session_block
from session_block import errors, local_platform

PACKAGE = session_block.__name__
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
ELSEWHERE = ("tasks", "flows", "errors", "local_platform", "deployments")
"""Packages whose names are public by themselves."""

INTERNAL = {"SessionRecord.intent", "SessionRecord.closings", "Ledger.__init__"}
"""What is there for this package alone, and stands on no page."""

FOREIGN = {
    "QuantumCircuit": "qiskit",
    "SparsePauliOp": "qiskit.quantum_info",
    "PrimitiveResult": "qiskit.primitives.containers",
    "QiskitRuntimeService": "qiskit_ibm_runtime",
    "pd": "pandas",
    "Flow": "prefect",
    "FlowRun": "prefect.client.schemas.objects",
    "State": "prefect.client.schemas.objects",
    "Sequence": "collections.abc",
    "Callable": "collections.abc",
}
"""Where the names come from that modules import for types alone."""


def _public() -> dict[str, Any]:
    return {name: getattr(session_block, name) for name in session_block.__all__}


def _documented() -> set[str]:
    shown = re.compile(rf"^::: {PACKAGE}\.(\w+)$", re.MULTILINE)
    return {name for page in PAGES for name in shown.findall(page.read_text())}


def test_what_is_exported_is_what_pages_document() -> None:
    """No name without a page, and no page of a name that is not there."""
    assert _documented() == set(session_block.__all__)


def test_pages_import_public_names_only() -> None:
    """What a page tells to import is there to stay."""
    imported = re.compile(rf"^\s*from ({PACKAGE}[\w.]*) import", re.MULTILINE)
    used = {module for page in PAGES for module in imported.findall(page.read_text())}
    public = (PACKAGE, *(f"{PACKAGE}.{one}" for one in ELSEWHERE))
    hook_of_the_site = "docs/hooks"
    assert hook_of_the_site not in used
    assert [one for one in used if not f"{one}.".startswith(tuple(f"{p}." for p in public))] == []


@pytest.mark.parametrize("name", sorted(session_block.__all__))
def test_types_in_public_signatures_are_public(name: str) -> None:
    """Whoever gets a value from a public name finds its type among them."""
    public = {id(one) for one in _public().values()}
    against = sorted(
        f"{where}: {found.__module__}.{found.__qualname__}"
        for where, found in _types(getattr(session_block, name))
        if id(found) not in public and not _is_public_elsewhere(found) and where not in INTERNAL
    )
    assert against == []


def _is_public_elsewhere(found: type) -> bool:
    if found.__module__.startswith(tuple(f"{PACKAGE}.{one}" for one in ELSEWHERE)):
        return found.__module__ == errors.__name__ or (
            found.__name__ in local_platform.__all__ or "local_platform" in found.__module__
        )
    return found.__name__.startswith("_")


def _types(public: Any) -> Iterator[tuple[str, type]]:
    if not inspect.isclass(public):
        yield from _in_hints(public.__qualname__, public)
        return
    for name, member in inspect.getmembers(public):
        if name.startswith("_") and name != "__init__":
            continue
        function = member.fget if isinstance(member, property) else member
        own = inspect.isfunction(function) and function.__module__.startswith(PACKAGE)
        if own and not (name == "__init__" and _is_made_by_us(public)):
            yield from _in_hints(f"{public.__qualname__}.{name}", function)
    if issubclass(public, BaseModel):
        for name, field in public.model_fields.items():
            for found in _classes(field.annotation):
                if found.__module__.startswith(PACKAGE):
                    yield f"{public.__qualname__}.{name}", found
    elif is_dataclass(public):
        yield from _in_hints(public.__qualname__, public)


def _is_made_by_us(public: type) -> bool:
    """Whether people get objects of a class from others, or make them from its fields."""
    given = {"Experiment", "ExperimentView", "DurableJob", "PinnedTranspiler"}
    return public.__name__ in given or is_dataclass(public) or issubclass(public, BaseModel)


def _in_hints(where: str, annotated: Any) -> Iterator[tuple[str, type]]:
    module = vars(sys.modules[annotated.__module__])
    names = {**_for_types_only(), **vars(typing), **_public(), **module}
    for name, hint in typing.get_type_hints(annotated, names, names).items():
        at = f"{where}.{name}" if inspect.isclass(annotated) else where
        for found in _classes(hint):
            if found.__module__.startswith(PACKAGE):
                yield at, found


def _for_types_only() -> dict[str, Any]:
    found = {}
    for name, module in FOREIGN.items():
        imported = __import__(module, fromlist=[name])
        found[name] = imported if name == "pd" else getattr(imported, name)
    layout = __import__(f"{PACKAGE}.local_platform", fromlist=["Layout"])
    return {**found, "Layout": layout.Layout}


def _classes(hint: Any) -> Iterable[type]:
    for inner in typing.get_args(hint):
        yield from _classes(inner)
    origin = typing.get_origin(hint) or hint
    if inspect.isclass(origin):
        yield origin


def test_the_package_marks_its_types() -> None:
    """Type checkers use them."""
    assert (Path(session_block.__file__).parent / "py.typed").exists()
