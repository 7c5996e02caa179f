"""Prefect tasks: the named steps of a flow that uses IBM Quantum sessions.

Only references without secrets pass between them. They use no cache of Prefect's and persist no
results: the ledger remembers what must not be done twice.
"""

from tasks.costs import estimate_estimator, estimate_sampler, experiment_usage
from tasks.jobs import (
    fetch_result,
    run_estimator,
    run_sampler,
    submit_estimator,
    submit_sampler,
)
from tasks.sessions import (
    cancel_session,
    close_session,
    open_session,
    reattach_session,
    session_details,
    session_status,
    session_usage,
)

__all__ = [
    "cancel_session",
    "close_session",
    "estimate_estimator",
    "estimate_sampler",
    "experiment_usage",
    "fetch_result",
    "open_session",
    "reattach_session",
    "run_estimator",
    "run_sampler",
    "session_details",
    "session_status",
    "session_usage",
    "submit_estimator",
    "submit_sampler",
]
