"""What this package needs to know of the Prefect run that it is in, if it is in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.runtime import flow_run

from session_block.occurrences import TaskAttempt

T = TypeVar("T")


def root_flow_run_id() -> str | None:
    """Return the ID of the outermost flow run, which all retries of it share."""
    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return None
    return flow_run.root_flow_run_id or None


def task_attempt() -> TaskAttempt | None:
    """Return which try of which task run this is, or ``None`` outside a task."""
    context = TaskRunContext.get()
    if context is None:
        return None
    return TaskAttempt(str(context.task_run.id), context.task_run.run_count)


def visibly(name: str, call: Callable[[], T]) -> T:
    """Call, as a task run of its own where that makes it visible: directly inside a flow."""
    if FlowRunContext.get() is None or TaskRunContext.get() is not None:
        return call()
    return _call.with_options(name=name, task_run_name=name)(call)


@task(cache_policy=NO_CACHE, persist_result=False)
def _call(call: Callable[[], T]) -> T:
    return call()
