"""The demo: a VQE of H2 on the local platform that survives being killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from prefect import flow
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings
from pydantic import BaseModel, ConfigDict
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.hamiltonians import (
    H2_NUCLEAR_REPULSION,
    H2_PAULIS,
    exact_ground_energy,
)
from session_block.algorithms.vqe import Evaluation, VQEReport, run_vqe
from session_block.blocks.credentials import LocalPlatformCredentials
from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.experiments.experiment import Experiment
from session_block.lab.prefect_server import find_prefect_server, reaching

BLOCK_NAME = "local-demo"
EXPERIMENT_NAME = "h2-demo"
BACKEND_NAME = "ibm_manila"
_SEED = 3
"""From its point COBYLA gets within a millihartree; from some others it stops at the steps of size
1/shots that estimates have without shot noise."""


@dataclass(frozen=True)
class DemoProgress:
    """One evaluation of the demo. Energies are in hartree.

    Attributes:
        number: Which one, counted from 1.
        energy: The molecule's energy: the electronic one with the nuclear repulsion.
        electronic: What the Hamiltonian's expectation value is.
        exact: The molecule's exact energy.
        replayed: Whether it was answered from the ledger.
        session_id: The session of its job.
        seconds_left: How long the session may go on; ``None`` where that is not known.

    Examples:
        >>> lines = []
        >>> outcome = run_demo(fresh=False, on_evaluation=lines.append)
        >>> lines[0].number, lines[0].energy > lines[0].exact
        (1, True)
    """

    number: int
    energy: float
    electronic: float
    exact: float
    replayed: bool
    session_id: str | None
    seconds_left: float | None


ProgressListener = Callable[[DemoProgress], None]


class DemoOutcome(BaseModel):
    """What the demo shows at its end.

    Attributes:
        energy: The molecule's energy in hartree, with the nuclear repulsion.
        exact_energy: What it is exactly.
        replayed: Number of evaluations answered from the ledger.
        jobs: Number of jobs that the experiment has had at the platform.
        already_finished: Whether the experiment was finished before, so nothing was submitted.

    Examples:
        >>> outcome = run_demo(fresh=False, on_evaluation=lambda progress: None)
        >>> outcome.experiment, outcome.energy - outcome.exact_energy < 0.1  # hartree
        ("'h2-demo'", True)
    """

    model_config = ConfigDict(frozen=True)

    report: VQEReport
    energy: float
    exact_energy: float
    replayed: int
    jobs: int
    already_finished: bool
    experiment: str
    server_url: str | None


def run_demo(*, fresh: bool, on_evaluation: ProgressListener) -> DemoOutcome:
    """Run the demo, or continue the one that was interrupted.

    If a Prefect server answers, it runs as a flow in which each job is a task run; otherwise it
    runs without Prefect's engine.

    Args:
        fresh: Start over instead of continuing.
        on_evaluation: Called after each evaluation.

    Examples:
        >>> outcome = run_demo(fresh=False, on_evaluation=lambda progress: None)
        >>> print(f"{outcome.exact_energy:.3f} hartree is exact")
        -1.137 hartree is exact
    """
    credentials = LocalPlatformCredentials()
    block = QuantumSession(credentials=credentials, backend_name=BACKEND_NAME, max_time="1h")
    server_url = find_prefect_server()
    if server_url is None:
        return _run(block, fresh, on_evaluation, server_url=None)

    @flow(name="h2-vqe-demo")
    def h2_vqe_demo(block: str, fresh: bool) -> DemoOutcome:
        return _run(load_block(block), fresh, on_evaluation, server_url=server_url)

    with temporary_settings({**reaching(server_url), PREFECT_LOGGING_LEVEL: "WARNING"}):
        credentials.save(BLOCK_NAME, overwrite=True)
        block.save(BLOCK_NAME, overwrite=True)
        return h2_vqe_demo(BLOCK_NAME, fresh)


def _run(
    block: QuantumSession,
    fresh: bool,
    on_evaluation: ProgressListener,
    *,
    server_url: str | None,
) -> DemoOutcome:
    experiment = block.experiment(EXPERIMENT_NAME, fresh=fresh)
    already_finished = experiment.sealed
    replayed = experiment.recorded_results
    electronic = exact_ground_energy(SparsePauliOp.from_list(list(H2_PAULIS)))
    exact = electronic + H2_NUCLEAR_REPULSION
    ends: dict[str | None, float | None] = {None: None}

    def told(number: int, evaluation: Evaluation) -> None:
        is_new = number > replayed
        session_id = experiment.session_id
        if is_new and session_id not in ends:  # asked once for each session
            ends[session_id] = _end(experiment)
        end = ends.get(session_id)
        on_evaluation(
            DemoProgress(
                number=number,
                energy=evaluation.energy + H2_NUCLEAR_REPULSION,
                electronic=evaluation.energy,
                exact=exact,
                replayed=not is_new,
                session_id=session_id,
                seconds_left=None if end is None else max(end - time.time(), 0),
            )
        )

    with experiment:
        report = run_vqe(experiment, seed=_SEED, on_evaluation=told)
    return DemoOutcome(
        report=report,
        energy=report.energy + H2_NUCLEAR_REPULSION,
        exact_energy=exact,
        replayed=replayed,
        jobs=experiment.recorded_results,
        already_finished=already_finished,
        experiment=str(experiment.identity),
        server_url=server_url,
    )


def _end(experiment: Experiment) -> float | None:
    """Return when the session's maximum time is over, in Unix seconds."""
    details = experiment.session_details()
    if details.max_time is None or details.started_at is None:
        return None
    return details.started_at.timestamp() + details.max_time
