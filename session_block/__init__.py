"""Durable IBM Quantum sessions for Prefect 3.

A :class:`QuantumSession` Block opens experiments; an experiment submits each of its jobs exactly
once, inside one session, whatever happens to the process.

Names are imported on first use: the local platform's processes need no Prefect, and Qiskit is not
needed before the first circuit.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from session_block.environment.qiskit_library import load_qiskit_library

if TYPE_CHECKING:
    from session_block.account import Account
    from session_block.algorithms.ising import Ising, MaxCut, Terms
    from session_block.algorithms.qaoa import QAOAEvaluation, QAOAReport, run_qaoa
    from session_block.algorithms.samples import BitString
    from session_block.algorithms.sweep.plan import (
        Axis,
        ChunkLimits,
        PlannedCircuit,
        SweepGrid,
        SweepPlan,
    )
    from session_block.algorithms.sweep.report import (
        SweepChunk,
        SweepReport,
        SweepRow,
        SweepTable,
        partial_sweep,
    )
    from session_block.algorithms.sweep.run import run_sweep
    from session_block.algorithms.sweep.work import plan_sweep
    from session_block.algorithms.vqe import Evaluation, Optimum, VQEReport, run_vqe
    from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
    from session_block.blocks.quantum_session import QuantumSession, load_block
    from session_block.costs.course import CostCourse
    from session_block.costs.estimate import Estimate
    from session_block.costs.usage import ExperimentUsage, JobUsage, SessionUsage
    from session_block.errors import SessionBlockError
    from session_block.experiments.experiment import Experiment
    from session_block.experiments.job import DurableJob
    from session_block.experiments.noise_models import NoiseModel
    from session_block.experiments.parted_job import PartedJob
    from session_block.experiments.primitives import DurableEstimator, DurableSampler
    from session_block.experiments.recorded_inputs import PinnedTranspiler
    from session_block.experiments.report import RunFacts
    from session_block.ledger.store import Fact, Ledger, set_aside
    from session_block.ledger.urls import default_ledger_url
    from session_block.local_platform import LocalPlatform
    from session_block.operations.flow_runs import cancel_experiments
    from session_block.prechecks.findings import CheckFinding
    from session_block.records.identity import Identity
    from session_block.records.noise import NoiseModelOrigin
    from session_block.records.sessions import SessionRecord
    from session_block.records.states import SessionState, SubmissionState
    from session_block.records.versions import Versions
    from session_block.records.views import ExperimentView, RecordedResult, compare
    from session_block.references import JobRef, SessionDetails, SessionRef

    __version__: str

__all__ = [
    "Account",
    "Axis",
    "BitString",
    "CheckFinding",
    "ChunkLimits",
    "CostCourse",
    "DurableEstimator",
    "DurableJob",
    "DurableSampler",
    "Estimate",
    "Evaluation",
    "Experiment",
    "ExperimentUsage",
    "ExperimentView",
    "Fact",
    "IBMSessionCredentials",
    "Identity",
    "Ising",
    "JobRef",
    "JobUsage",
    "Ledger",
    "LocalPlatform",
    "LocalPlatformCredentials",
    "MaxCut",
    "NoiseModel",
    "NoiseModelOrigin",
    "Optimum",
    "PartedJob",
    "PinnedTranspiler",
    "PlannedCircuit",
    "QAOAEvaluation",
    "QAOAReport",
    "QuantumSession",
    "RecordedResult",
    "RunFacts",
    "SessionBlockError",
    "SessionDetails",
    "SessionRecord",
    "SessionRef",
    "SessionState",
    "SessionUsage",
    "SubmissionState",
    "SweepChunk",
    "SweepGrid",
    "SweepPlan",
    "SweepReport",
    "SweepRow",
    "SweepTable",
    "Terms",
    "VQEReport",
    "Versions",
    "cancel_experiments",
    "compare",
    "default_ledger_url",
    "load_block",
    "partial_sweep",
    "plan_sweep",
    "run_qaoa",
    "run_sweep",
    "run_vqe",
    "set_aside",
]

_HOMES = {
    "Account": "account",
    "Axis": "algorithms.sweep.plan",
    "BitString": "algorithms.samples",
    "CheckFinding": "prechecks.findings",
    "ChunkLimits": "algorithms.sweep.plan",
    "CostCourse": "costs.course",
    "DurableEstimator": "experiments.primitives",
    "DurableJob": "experiments.job",
    "DurableSampler": "experiments.primitives",
    "Estimate": "costs.estimate",
    "Evaluation": "algorithms.vqe",
    "Experiment": "experiments.experiment",
    "ExperimentUsage": "costs.usage",
    "ExperimentView": "records.views",
    "Fact": "ledger.store",
    "IBMSessionCredentials": "blocks.credentials",
    "Identity": "records.identity",
    "Ising": "algorithms.ising",
    "JobRef": "references",
    "JobUsage": "costs.usage",
    "Ledger": "ledger.store",
    "LocalPlatform": "local_platform",
    "LocalPlatformCredentials": "blocks.credentials",
    "MaxCut": "algorithms.ising",
    "NoiseModel": "experiments.noise_models",
    "NoiseModelOrigin": "records.noise",
    "Optimum": "algorithms.vqe",
    "PartedJob": "experiments.parted_job",
    "PinnedTranspiler": "experiments.recorded_inputs",
    "PlannedCircuit": "algorithms.sweep.plan",
    "QAOAEvaluation": "algorithms.qaoa",
    "QAOAReport": "algorithms.qaoa",
    "QuantumSession": "blocks.quantum_session",
    "RecordedResult": "records.views",
    "RunFacts": "experiments.report",
    "SessionBlockError": "errors",
    "SessionDetails": "references",
    "SessionRecord": "records.sessions",
    "SessionRef": "references",
    "SessionState": "records.states",
    "SessionUsage": "costs.usage",
    "SubmissionState": "records.states",
    "SweepChunk": "algorithms.sweep.report",
    "SweepGrid": "algorithms.sweep.plan",
    "SweepPlan": "algorithms.sweep.plan",
    "SweepReport": "algorithms.sweep.report",
    "SweepRow": "algorithms.sweep.report",
    "SweepTable": "algorithms.sweep.report",
    "Terms": "algorithms.ising",
    "VQEReport": "algorithms.vqe",
    "Versions": "records.versions",
    "cancel_experiments": "operations.flow_runs",
    "compare": "records.views",
    "default_ledger_url": "ledger.urls",
    "load_block": "blocks.quantum_session",
    "partial_sweep": "algorithms.sweep.report",
    "plan_sweep": "algorithms.sweep.work",
    "run_qaoa": "algorithms.qaoa",
    "run_sweep": "algorithms.sweep.run",
    "run_vqe": "algorithms.vqe",
    "set_aside": "ledger.store",
}


load_qiskit_library()


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
    """Make a directory of the checkout, imported by its own name, the same as the package's.

    In a checkout, ``import tasks`` then gives ``session_block.tasks``, and ``tasks.jobs`` gives
    ``session_block.tasks.jobs``: the same objects, never a second copy.
    """
    package = import_module(f"{__name__}.{directory}")
    for module in iter_modules(package.__path__):
        inner = f"{directory}.{module.name}"
        sys.modules[inner] = import_module(f"{__name__}.{inner}")
    sys.modules[directory] = package
