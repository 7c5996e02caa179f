"""Durable IBM Quantum sessions for Prefect 3.

A :class:`QuantumSession` Block opens experiments; an experiment submits each of its jobs exactly
once, inside one session, whatever happens to the process.

Names are imported when they are first used: the local platform's processes need no Prefect, and
nobody needs Qiskit before the first circuit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_block.block import QuantumSession
    from session_block.credentials import IBMSessionCredentials, LocalPlatformCredentials
    from session_block.errors import SessionBlockError
    from session_block.estimate import Estimate
    from session_block.experiment import Experiment
    from session_block.primitives import DurableEstimator, DurableSampler
    from session_block.references import JobRef, SessionDetails, SessionRef
    from session_block.usage import ExperimentUsage
    from session_block.views import ExperimentView, compare

    __version__: str

__all__ = [
    "DurableEstimator",
    "DurableSampler",
    "Estimate",
    "Experiment",
    "ExperimentUsage",
    "ExperimentView",
    "IBMSessionCredentials",
    "JobRef",
    "LocalPlatformCredentials",
    "QuantumSession",
    "SessionBlockError",
    "SessionDetails",
    "SessionRef",
    "compare",
]

_HOMES = {
    "DurableEstimator": "primitives",
    "DurableSampler": "primitives",
    "Estimate": "estimate",
    "Experiment": "experiment",
    "ExperimentUsage": "usage",
    "ExperimentView": "views",
    "IBMSessionCredentials": "credentials",
    "JobRef": "references",
    "LocalPlatformCredentials": "credentials",
    "QuantumSession": "block",
    "SessionBlockError": "errors",
    "SessionDetails": "references",
    "SessionRef": "references",
    "compare": "views",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("prefect-quantum-sessions")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
