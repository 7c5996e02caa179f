"""An experiment's usage so far, and what more jobs would cost, or would fail for."""

from __future__ import annotations

from session_block.experiments.experiment import Experiment
from session_block.tasks.handles import task_of, twin_task

experiment_usage = task_of("experiment-usage", Experiment.usage)
estimate_sampler = task_of("estimate-sampler", Experiment.estimate_sampler)
estimate_estimator = task_of("estimate-estimator", Experiment.estimate_estimator)
estimate_executor = task_of("estimate-executor", Experiment.estimate_executor)
check = task_of("check", Experiment.check)

aexperiment_usage = twin_task(experiment_usage)
aestimate_sampler = twin_task(estimate_sampler)
aestimate_estimator = twin_task(estimate_estimator)
aestimate_executor = twin_task(estimate_executor)
acheck = twin_task(check)
