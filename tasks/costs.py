"""What an experiment has used, and what more of it would cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from session_block.costs.estimate import Estimate
from session_block.costs.usage import ExperimentUsage
from session_block.references import Implementation, SessionRef
from session_block.tasks.handles import durable_task, experiment_of, twin_task


@durable_task(name="experiment-usage")
def experiment_usage(session: SessionRef) -> ExperimentUsage:
    """Return what the experiment, its sessions and its jobs have used, as the platform says."""
    return experiment_of(session).usage()


@durable_task(name="estimate-sampler")
def estimate_sampler(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    shots: int | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    jobs: int = 1,
) -> Estimate:
    """Say what Sampler jobs like this one would cost, and what there is to spend; submits nothing.

    See ``submit_sampler`` for the request; ``jobs`` is how many there will be.
    """
    return experiment_of(session).estimate_sampler(
        pubs, shots=shots, options=options, implementation=implementation, jobs=jobs
    )


@durable_task(name="estimate-estimator")
def estimate_estimator(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    jobs: int = 1,
) -> Estimate:
    """Say what Estimator jobs like this one would cost, and what there is to spend.

    Submits nothing. See ``submit_estimator`` for the request; ``jobs`` is how many there will be.
    """
    return experiment_of(session).estimate_estimator(
        pubs, precision=precision, options=options, implementation=implementation, jobs=jobs
    )


aexperiment_usage = twin_task(experiment_usage)
aestimate_sampler = twin_task(estimate_sampler)
aestimate_estimator = twin_task(estimate_estimator)
