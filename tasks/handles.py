"""From the references that tasks pass on to the experiments behind them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect.cache_policies import NO_CACHE

from session_block.aio import async_twin_of_function
from session_block.blocks.quantum_session import load_block
from session_block.errors import InvalidInputError
from session_block.prefect_context import DurableTask
from session_block.references import SessionRef

if TYPE_CHECKING:
    from session_block.experiments.experiment import Experiment

P = ParamSpec("P")
T = TypeVar("T")
_opened: dict[str, Experiment] = {}


def durable_task(name: str) -> Callable[[Callable[P, T]], DurableTask[P, T]]:
    """Make a Prefect task whose memory is the ledger: no cache, no persisted result."""

    def decorate(function: Callable[P, T]) -> DurableTask[P, T]:
        return DurableTask(function, name=name, cache_policy=NO_CACHE, persist_result=False)

    return decorate


def twin_task(task: DurableTask[P, T]) -> DurableTask[P, Coroutine[Any, Any, T]]:
    """Make the async twin of a task: it is awaited, and all else is the same."""
    return durable_task(task.name)(async_twin_of_function(task.fn))


def remember(experiment: Experiment) -> SessionRef:
    """Keep an opened experiment for the tasks of this process, and return its reference."""
    reference = experiment.session_ref
    if reference.opening is not None:
        _opened[reference.opening] = experiment
    return reference


def experiment_of(session: SessionRef) -> Experiment:
    """Return the experiment of a reference; one of another process is joined.

    Raises:
        InvalidInputError: It was opened by a Block without a name, which no other process can load.
    """
    if session.opening in _opened:
        return _opened[str(session.opening)]
    if session.block is None:
        raise InvalidInputError(
            f"Experiment {session.experiment!r} was opened by a Block that was never saved, so "
            "another process cannot load it. Save the QuantumSession Block and open it by name."
        )
    return load_block(session.block).attach(session)
