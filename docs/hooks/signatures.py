# ruff: noqa: INP001 - MkDocs loads this file by its path
"""Show methods and tasks whose arguments are written elsewhere as they are at run time.

The pages are made by reading the code. What ``asks`` and ``task_of`` make of a function is known
only when it runs, so its signature and docstring are taken from there.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe

PACKAGE = "session_block"
MADE_HERE = (f"{PACKAGE}.experiments.experiment", f"{PACKAGE}.tasks.")


class Signatures(griffe.Extension):
    """Put functions as they are at run time in the place of those that were read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through the modules in which functions are made."""
        if pkg.name == PACKAGE:
            for module in _modules(pkg):
                if module.path.startswith(MADE_HERE):
                    _replace(module, importlib.import_module(module.path))


def _modules(module: griffe.Module) -> list[griffe.Module]:
    inner = [one for one in module.modules.values() if isinstance(one, griffe.Module)]
    return [module, *(found for one in inner for found in _modules(one))]


def _replace(place: griffe.Module | griffe.Class, at_run_time: Any) -> None:
    for name, member in list(place.members.items()):
        if name.startswith(("_", "a")) or member.is_alias:
            continue
        found = getattr(at_run_time, name, None)
        if isinstance(member, griffe.Class):
            _replace(member, found)
        function = getattr(found, "fn", found)
        if hasattr(function, "__signature__"):
            place.set_member(name, _function(name, function, place))


def _function(name: str, function: Any, place: griffe.Module | griffe.Class) -> griffe.Function:
    signature = inspect.signature(function)
    parameters = griffe.Parameters(
        *(
            griffe.Parameter(
                one.name,
                kind=griffe.ParameterKind(one.kind.description),
                annotation=_shown(one.annotation),
                default=None if one.default is one.empty else repr(one.default),
            )
            for one in signature.parameters.values()
        )
    )
    made = griffe.Function(
        name,
        parameters=parameters,
        returns=_shown(signature.return_annotation),
        parent=place,
    )
    made.docstring = griffe.Docstring(
        inspect.getdoc(function) or "",
        parent=made,
        parser=griffe.Parser.google,
        parser_options={"returns_multiple_items": False, "returns_named_value": False},
    )
    return made


def _shown(annotation: Any) -> str | None:
    if annotation is inspect.Parameter.empty:
        return None
    if isinstance(annotation, str):
        return annotation
    if inspect.isclass(annotation):
        return annotation.__name__
    return str(annotation).replace("collections.abc.", "").replace("typing.", "")
