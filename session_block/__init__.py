"""Durable IBM Quantum sessions for Prefect 3.

A :class:`QuantumSession` Block opens experiments; an experiment submits each of its jobs exactly
once, inside one session, whatever happens to the process.

Names are imported when they are first used: the local platform's processes need no Prefect, and
nobody needs Qiskit before the first circuit.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.costs.estimate import Estimate
    from session_block.costs.usage import ExperimentUsage
    from session_block.errors import SessionBlockError
    from session_block.experiments.experiment import Experiment
    from session_block.experiments.primitives import DurableEstimator, DurableSampler
    from session_block.records.views import ExperimentView, compare
    from session_block.references import JobRef, SessionDetails, SessionRef

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
    "DurableEstimator": "experiments.primitives",
    "DurableSampler": "experiments.primitives",
    "Estimate": "costs.estimate",
    "Experiment": "experiments.experiment",
    "ExperimentUsage": "costs.usage",
    "ExperimentView": "records.views",
    "IBMSessionCredentials": "blocks.credentials",
    "JobRef": "references",
    "LocalPlatformCredentials": "blocks.credentials",
    "QuantumSession": "blocks.quantum_session",
    "SessionBlockError": "errors",
    "SessionDetails": "references",
    "SessionRef": "references",
    "compare": "records.views",
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


def _same_modules(directory: str) -> None:
    """Let a directory of the checkout, imported by its own name, be the installed package.

    ``import tasks`` in a checkout then gives ``session_block.tasks``, and ``tasks.jobs`` gives
    ``session_block.tasks.jobs``: the same objects, never a second copy.
    """
    package = import_module(f"{__name__}.{directory}")
    for module in iter_modules(package.__path__):
        inner = f"{directory}.{module.name}"
        sys.modules[inner] = import_module(f"{__name__}.{inner}")
    sys.modules[directory] = package
