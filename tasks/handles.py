"""Make tasks from methods of experiments, and find the experiment of a session reference."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import update_wrapper
from inspect import Parameter, signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from prefect.cache_policies import NO_CACHE
from pydantic import ValidationError

from session_block.aio import async_twin_of_function
from session_block.blocks.quantum_session import load_block
from session_block.errors import InvalidInputError
from session_block.experiments.experiment import Experiment
from session_block.experiments.openings import OPENINGS
from session_block.prefect_context import DurableTask
from session_block.references import Reference, SessionRef

P = ParamSpec("P")
R = TypeVar("R", bound=Reference)
T = TypeVar("T")

_OTHER_NAMES = {"usage": "experiment_usage", "finish": "close_session"}
"""The tasks that are not called as their methods are."""


def durable_task(name: str) -> Callable[[Callable[P, T]], DurableTask[P, T]]:
    """Make a Prefect task whose memory is the ledger: no cache, no persisted result."""

    def decorate(function: Callable[P, T]) -> DurableTask[P, T]:
        return DurableTask(function, name=name, cache_policy=NO_CACHE, persist_result=False)

    return decorate


def twin_task(task: DurableTask[P, T]) -> DurableTask[P, Coroutine[Any, Any, T]]:
    """Make the async twin of a task: the same, but awaited."""
    return durable_task(task.name)(async_twin_of_function(task.fn))


def task_of(
    name: str, method: Callable[Concatenate[Experiment, P], T]
) -> DurableTask[Concatenate[SessionRef, P], T]:
    """Make a task from a method of ``Experiment``, with its arguments and docstring.

    Args:
        name: The task's name in Prefect.
        method: The method. The task takes a session reference in place of ``self``.
    """

    def call(session: SessionRef, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(experiment_of(session), *args, **kwargs)

    session = Parameter("session", Parameter.POSITIONAL_OR_KEYWORD, annotation=SessionRef)
    own = signature(method)
    named: Any = update_wrapper(call, method)
    named.__signature__ = own.replace(parameters=[session, *list(own.parameters.values())[1:]])
    named.__annotations__ = {**method.__annotations__, "session": SessionRef}
    named.__name__ = named.__qualname__ = name.replace("-", "_")
    named.__doc__ = _with_session(method.__doc__ or "")
    return durable_task(name)(call)


def _with_session(doc: str) -> str:
    """Return a method's docstring, with the task called in its examples."""
    doc = doc.replace("experiment.open_session()", "session.session_id")
    doc = doc.replace("experiment.fetch_result(", "fetch_result(")

    def call(found: re.Match[str]) -> str:
        return f"{_OTHER_NAMES.get(found[1], found[1])}(session{found[2] or ', '}"

    return re.sub(r"\bexperiment\.(\w+)\((\))?", call, doc)


def remember(experiment: Experiment) -> SessionRef:
    """Keep an opened experiment for the tasks of this process, and return its reference."""
    OPENINGS.keep(experiment)
    return experiment.session_ref


def checked(reference: object, kind: type[R], made_by: str) -> R:
    """Return a reference, also one that comes as a dict, such as from JSON.

    Args:
        reference: What a task was given.
        kind: The expected class.
        made_by: The tasks that return such references.

    Raises:
        InvalidInputError: It is something else.
    """
    if isinstance(reference, kind):
        return reference
    if isinstance(reference, Mapping):
        with suppress(ValidationError):
            return kind.model_validate(reference)
    raise InvalidInputError(
        f"The task needs a {kind.__name__}, as {made_by} returns it, not a "
        f"{type(reference).__name__}. Nothing was sent. Check the order of the arguments."
    )


def experiment_of(session: SessionRef) -> Experiment:
    """Return a reference's experiment; join it if another process opened it.

    Raises:
        InvalidInputError: It is not a session reference, or another process opened the experiment
            with a Block that was never saved.
    """
    session = checked(session, SessionRef, "open_session or reattach_session")
    opened = OPENINGS.find(session.opening)
    if opened is not None:
        opened.take_over()
        return opened
    if session.block is None:
        raise InvalidInputError(
            f"Experiment {session.experiment!r} was opened by a Block that was never saved, so "
            "another process cannot load it. Save the QuantumSession Block and open it by name.",
            experiment=session.uid,
        )
    return load_block(session.block).attach(session)
