"""Prefect tasks: the named steps of a flow that uses IBM Quantum sessions.

Only references without secrets pass between them. They use no Prefect cache and persist no results:
the ledger records what must not be done twice. Each task has an async twin; its name begins with
``a``.
"""

from session_block.tasks.costs import (
    aestimate_estimator,
    aestimate_sampler,
    aexperiment_usage,
    estimate_estimator,
    estimate_sampler,
    experiment_usage,
)
from session_block.tasks.jobs import (
    afetch_result,
    alearn_noise,
    anoise_model,
    arun_estimator,
    arun_executor,
    arun_program,
    arun_sampler,
    asubmit_estimator,
    asubmit_executor,
    asubmit_noise_learning,
    asubmit_program,
    asubmit_sampler,
    fetch_result,
    learn_noise,
    noise_model,
    run_estimator,
    run_executor,
    run_program,
    run_sampler,
    submit_estimator,
    submit_executor,
    submit_noise_learning,
    submit_program,
    submit_sampler,
)
from session_block.tasks.sessions import (
    acancel_session,
    aclose_session,
    aopen_session,
    areattach_session,
    asession_details,
    asession_status,
    asession_usage,
    cancel_session,
    close_session,
    open_session,
    reattach_session,
    session_details,
    session_status,
    session_usage,
)

__all__ = [
    "acancel_session",
    "aclose_session",
    "aestimate_estimator",
    "aestimate_sampler",
    "aexperiment_usage",
    "afetch_result",
    "alearn_noise",
    "anoise_model",
    "aopen_session",
    "areattach_session",
    "arun_estimator",
    "arun_executor",
    "arun_program",
    "arun_sampler",
    "asession_details",
    "asession_status",
    "asession_usage",
    "asubmit_estimator",
    "asubmit_executor",
    "asubmit_noise_learning",
    "asubmit_program",
    "asubmit_sampler",
    "cancel_session",
    "close_session",
    "estimate_estimator",
    "estimate_sampler",
    "experiment_usage",
    "fetch_result",
    "learn_noise",
    "noise_model",
    "open_session",
    "reattach_session",
    "run_estimator",
    "run_executor",
    "run_program",
    "run_sampler",
    "session_details",
    "session_status",
    "session_usage",
    "submit_estimator",
    "submit_executor",
    "submit_noise_learning",
    "submit_program",
    "submit_sampler",
]

if __name__ == "tasks":  # in a checkout, by the directory's own name
    from session_block import _same_modules

    _same_modules(__name__)
