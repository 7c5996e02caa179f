"""Submit circuits, wait, and fetch results: each job exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_block.experiments.experiment import Experiment
from session_block.references import JobRef
from session_block.tasks.handles import (
    checked,
    durable_task,
    experiment_of,
    task_of,
    twin_task,
)

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult

submit_sampler = task_of("submit-sampler", Experiment.submit_sampler)
submit_estimator = task_of("submit-estimator", Experiment.submit_estimator)
run_sampler = task_of("run-sampler", Experiment.run_sampler)
run_estimator = task_of("run-estimator", Experiment.run_estimator)


@durable_task(name="fetch-result")
def fetch_result(job: JobRef, timeout_seconds: float | None = None) -> PrimitiveResult:
    """Wait for a job and return its result; a recorded result needs no request.

    Raises the errors of :meth:`session_block.Experiment.fetch_result`.
    """
    job = checked(job, JobRef, "submit_sampler or submit_estimator")
    return experiment_of(job.session).fetch_result(job, timeout_seconds)


asubmit_sampler = twin_task(submit_sampler)
asubmit_estimator = twin_task(submit_estimator)
arun_sampler = twin_task(run_sampler)
arun_estimator = twin_task(run_estimator)
afetch_result = twin_task(fetch_result)
