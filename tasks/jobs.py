"""Submit circuits, wait, and fetch results: each job exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from session_block.references import Implementation, JobRef, SessionRef
from session_block.tasks.handles import durable_task, experiment_of, twin_task

if TYPE_CHECKING:
    from qiskit.primitives.containers import PrimitiveResult


@durable_task(name="submit-sampler")
def submit_sampler(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    shots: int | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    label: str | None = None,
) -> JobRef:
    """Submit circuits to the Sampler, exactly once.

    The arguments and errors are those of
    :meth:`session_block.experiments.experiment.Experiment.run_sampler`.
    """
    return experiment_of(session).submit_sampler(
        pubs, shots=shots, options=options, implementation=implementation, label=label
    )


@durable_task(name="submit-estimator")
def submit_estimator(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    label: str | None = None,
) -> JobRef:
    """Submit circuits and observables to the Estimator, exactly once.

    The arguments and errors are those of
    :meth:`session_block.experiments.experiment.Experiment.run_estimator`.
    """
    return experiment_of(session).submit_estimator(
        pubs, precision=precision, options=options, implementation=implementation, label=label
    )


@durable_task(name="fetch-result")
def fetch_result(job: JobRef, timeout_seconds: float | None = None) -> PrimitiveResult:
    """Wait for a job and return its result; a recorded one costs no request.

    The errors are those of :meth:`session_block.experiments.experiment.Experiment.fetch_result`.
    """
    return experiment_of(job.session).fetch_result(job, timeout_seconds)


@durable_task(name="run-sampler")
def run_sampler(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    shots: int | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    label: str | None = None,
) -> PrimitiveResult:
    """Submit circuits to the Sampler, wait, and return the result.

    The arguments and errors are those of
    :meth:`session_block.experiments.experiment.Experiment.run_sampler`.
    """
    return experiment_of(session).run_sampler(
        pubs, shots=shots, options=options, implementation=implementation, label=label
    )


@durable_task(name="run-estimator")
def run_estimator(
    session: SessionRef,
    pubs: Iterable[Any],
    *,
    precision: float | None = None,
    options: Any = None,
    implementation: Implementation = "v2",
    label: str | None = None,
) -> PrimitiveResult:
    """Submit circuits and observables to the Estimator, wait, and return the result.

    The arguments and errors are those of
    :meth:`session_block.experiments.experiment.Experiment.run_estimator`.
    """
    return experiment_of(session).run_estimator(
        pubs, precision=precision, options=options, implementation=implementation, label=label
    )


asubmit_sampler = twin_task(submit_sampler)
asubmit_estimator = twin_task(submit_estimator)
afetch_result = twin_task(fetch_result)
arun_sampler = twin_task(run_sampler)
arun_estimator = twin_task(run_estimator)
