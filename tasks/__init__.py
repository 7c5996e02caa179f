"""Prefect tasks: the named steps of a flow that uses IBM Quantum sessions.

Only references without secrets pass between them. They use no cache of Prefect's and persist no
results: the ledger remembers what must not be done twice.
"""

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
)

__all__ = [
    "cancel_session",
    "close_session",
    "fetch_result",
    "open_session",
    "reattach_session",
    "run_estimator",
    "run_sampler",
    "session_details",
    "submit_estimator",
    "submit_sampler",
]
