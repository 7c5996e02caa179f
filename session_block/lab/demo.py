"""The demo: a VQE of H2 on the local platform that survives being killed."""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings
from pydantic import BaseModel, ConfigDict
from qiskit.quantum_info import SparsePauliOp

from session_block.algorithms.hamiltonians import H2_PAULIS, exact_ground_energy
from session_block.algorithms.vqe import Evaluation, VQEReport, run_vqe
from session_block.blocks.credentials import LocalPlatformCredentials
from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.lab.prefect_server import find_prefect_server, reaching

BLOCK_NAME = "local-demo"
EXPERIMENT_NAME = "h2-demo"
BACKEND_NAME = "ibm_manila"
_SEED = 3
"""From its point COBYLA gets within a millihartree; from some others it stops at the steps of size
1/shots that estimates have without shot noise."""

ProgressListener = Callable[[int, Evaluation, bool], None]


class DemoOutcome(BaseModel):
    """What the demo shows at its end.

    Attributes:
        replayed: Number of evaluations answered from the ledger.
        jobs: Number of jobs that the experiment has had at the platform.
        already_finished: Whether the experiment was finished before, so nothing was submitted.
    """

    model_config = ConfigDict(frozen=True)

    report: VQEReport
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
        on_evaluation: Called after each evaluation with its number, its value, and whether it was
            replayed from the ledger.
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
    with experiment:
        report = run_vqe(
            experiment,
            seed=_SEED,
            on_evaluation=lambda number, evaluation: on_evaluation(
                number, evaluation, number <= replayed
            ),
        )
    return DemoOutcome(
        report=report,
        exact_energy=exact_ground_energy(SparsePauliOp.from_list(list(H2_PAULIS))),
        replayed=replayed,
        jobs=experiment.recorded_results,
        already_finished=already_finished,
        experiment=str(experiment.identity),
        server_url=server_url,
    )
