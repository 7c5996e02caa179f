"""The program under test: a small VQE whose result is the same, bit for bit, whenever it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qiskit.transpiler.preset_passmanagers  # noqa: F401 - imported once, for all forks
import qiskit_ibm_runtime.executor_estimator
import qiskit_ibm_runtime.qiskit_runtime_service  # noqa: F401 - likewise

from session_block import IBMSessionCredentials, QuantumSession, crashpoints
from session_block.errors import SessionBlockError
from session_block.vqe import run_vqe

from . import controls

EVALUATIONS = 8
BACKEND = "ibm_manila"
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
        ending = {"result": _experiment(order)}
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
    block = QuantumSession(
        credentials=IBMSessionCredentials(
            token=order["token"], instance=order["instance"], url=order["url"]
        ),
        backend_name=BACKEND,
        ledger_url=order["ledger_url"],
        **order["block"],
    )
    with block.experiment(order["name"]) as experiment:
        report = run_vqe(
            experiment, seed=5, optimizer_options={"maxiter": EVALUATIONS}, precision=0.05
        )
    return report.model_dump(mode="json", exclude={"run"})
