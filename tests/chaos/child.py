"""The programs under test, whose results are the same, bit for bit, whenever they end.

A small VQE, and the flows of :mod:`chaos.flows`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qiskit.transpiler.preset_passmanagers  # noqa: F401 - imported once, for all forks
import qiskit_ibm_runtime.executor_estimator
import qiskit_ibm_runtime.qiskit_runtime_service  # noqa: F401 - likewise

from session_block import crashpoints
from session_block.algorithms.vqe import run_vqe
from session_block.errors import SessionBlockError
from session_block.operations.flow_runs import cancel_experiment
from session_block.records.identity import known_experiments
from session_block.records.journal import Journal
from session_block.records.stops import resume

from . import controls, flows
from .attempt import block_of
from .forking import forked_meanwhile

EVALUATIONS = 8
FINISHED, WRONG, RAISED = 0, 1, 3


def run(order: dict[str, Any]) -> int:
    """Carry out one attempt at the experiment and write down how it ended."""
    os.environ.update(order["environment"])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if order["pause"]:
        # What would kill the process at its chosen passage stops it there.
        crashpoints.signal = SimpleNamespace(SIGKILL=signal.SIGSTOP)  # type: ignore[attr-defined]
    controls.apply(order["control"])
    try:
        ending: dict[str, Any] = {"result": _DEEDS[order["deed"]](order)}
        code = FINISHED
    except SessionBlockError as error:
        traceback.print_exc()
        ending = {"error": type(error).__name__, "message": str(error)}
        code = RAISED
    path = Path(order["ending"])
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(ending), encoding="utf-8")
    draft.replace(path)
    return code


def _experiment(order: dict[str, Any]) -> dict[str, Any]:
    with block_of(order).experiment(order["name"]) as experiment:
        report = run_vqe(
            experiment, seed=5, optimizer_options={"maxiter": EVALUATIONS}, precision=0.05
        )
    return report.model_dump(mode="json", exclude={"run"})


def _forked_experiment(order: dict[str, Any]) -> dict[str, Any]:
    with block_of(order).experiment(order["name"]) as experiment, forked_meanwhile(experiment):
        report = run_vqe(
            experiment, seed=5, optimizer_options={"maxiter": EVALUATIONS}, precision=0.05
        )
    return report.model_dump(mode="json", exclude={"run"})


def _cancellation(order: dict[str, Any]) -> dict[str, Any]:
    block = block_of(order)
    known = [one for one in known_experiments(block.ledger()) if one.name == order["name"]]
    cancelled = [one.uid for one in known if cancel_experiment(block, one, "a test cancelled it")]
    return {"cancelled": cancelled}


def _resumption(order: dict[str, Any]) -> dict[str, Any]:
    ledger = block_of(order).ledger()
    known = [one for one in known_experiments(ledger) if one.name == order["name"]]
    for identity in known:
        resume(Journal(ledger, identity.uid), identity, "a test")
    return {"resumed": [one.uid for one in known]}


_DEEDS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "run": _experiment,
    "fork": _forked_experiment,
    "cancel": _cancellation,
    "resume": _resumption,
    **{name: partial(flows.go_on, program) for name, program in flows.PROGRAMS.items()},
}
