"""Submit circuits, wait, and fetch results: each job exactly once."""

from __future__ import annotations

from typing import Any

from session_block.experiments.experiment import Experiment
from session_block.references import JobRef
from session_block.tasks.handles import (
    checked,
    durable_task,
    experiment_of,
    task_of,
    twin_task,
)

submit_sampler = task_of("submit-sampler", Experiment.submit_sampler)
submit_estimator = task_of("submit-estimator", Experiment.submit_estimator)
run_sampler = task_of("run-sampler", Experiment.run_sampler)
run_estimator = task_of("run-estimator", Experiment.run_estimator)
submit_executor = task_of("submit-executor", Experiment.submit_executor)
run_executor = task_of("run-executor", Experiment.run_executor)
submit_noise_learning = task_of("submit-noise-learning", Experiment.submit_noise_learning)
learn_noise = task_of("learn-noise", Experiment.learn_noise)
noise_model = task_of("noise-model", Experiment.noise_model)
submit_program = task_of("submit-program", Experiment.submit_program)
run_program = task_of("run-program", Experiment.run_program)


@durable_task(name="fetch-result")
def fetch_result(job: JobRef, timeout_seconds: float | None = None) -> Any:
    """Wait for a job and return its result; a recorded result needs no request.

    Raises the errors of :meth:`session_block.Experiment.fetch_result`.

    Examples:
        >>> job = submit_sampler(session, [circuit], shots=1000)
        >>> result = fetch_result(job)
        >>> result[0].data.meas.num_shots
        1000
    """
    job = checked(job, JobRef, "submit_sampler, submit_estimator or submit_executor")
    return experiment_of(job.session).fetch_result(job, timeout_seconds)


asubmit_sampler = twin_task(submit_sampler)
asubmit_estimator = twin_task(submit_estimator)
arun_sampler = twin_task(run_sampler)
arun_estimator = twin_task(run_estimator)
asubmit_executor = twin_task(submit_executor)
arun_executor = twin_task(run_executor)
asubmit_noise_learning = twin_task(submit_noise_learning)
alearn_noise = twin_task(learn_noise)
anoise_model = twin_task(noise_model)
asubmit_program = twin_task(submit_program)
arun_program = twin_task(run_program)
afetch_result = twin_task(fetch_result)
