"""Lets a flow take a saved Block in place of its name, and stores the name with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.blocks.core import Block

from session_block.blocks.quantum_session import block_name

P = ParamSpec("P")
R = TypeVar("R")

_PARAMETER = "block"


class _BlockFlow(Flow[P, R]):
    """A flow with a parameter ``block`` that is stored as a name."""

    if not TYPE_CHECKING:  # type checkers see the signatures of Prefect's own

        def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
            """Return what is stored with the run: a Block with its secrets masked is no use."""
            given = parameters.get(_PARAMETER)
            if isinstance(given, Block | str):
                parameters = {**parameters, _PARAMETER: block_name(given)}
            return super().serialize_parameters(parameters)

        def with_options(self, *args: Any, **options: Any) -> Any:
            """Return the flow with other options; see :meth:`prefect.Flow.with_options`."""
            changed = super().with_options(*args, **options)
            changed.__class__ = type(self)
            return changed


def takes_block(flow: Flow[P, R]) -> Flow[P, R]:
    """Let a flow take a saved QuantumSession Block as its parameter ``block``, which is a name.

    Prefect stores the parameters of a run and masks the secrets of a Block in them, so a retry in
    another process could not use it. So its name is stored. A Block that was never saved, or was
    changed afterwards, is refused before there is a run.
    """
    flow.__class__ = _BlockFlow
    return flow
