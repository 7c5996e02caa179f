"""The demonstration: a VQE of H2 on the local platform that survives being killed."""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow
from prefect.settings import get_current_settings
from pydantic import BaseModel, ConfigDict
from qiskit.quantum_info import SparsePauliOp

from session_block.block import QuantumSession
from session_block.credentials import LocalPlatformCredentials
from session_block.vqe import H2_PAULIS, Evaluation, VQEReport, exact_ground_energy, run_vqe

BLOCK_NAME = "local-demo"
EXPERIMENT_NAME = "h2-demo"
BACKEND_NAME = "ibm_manila"
_SEED = 7


class DemoOutcome(BaseModel):
    """What the demonstration shows at its end.

    Attributes:
        replayed: How many evaluations were answered from the ledger.
        jobs: How many jobs the experiment has had at the platform.
        already_finished: The experiment was finished before, and nothing was submitted.
    """

    model_config = ConfigDict(frozen=True)

    report: VQEReport
    exact_energy: float
    replayed: int
    jobs: int
    already_finished: bool
    experiment: str
    server_url: str | None


def save_demo_blocks() -> None:
    """Save the Blocks of the demonstration, so that flows can load them by name."""
    credentials = LocalPlatformCredentials()
    credentials.save(BLOCK_NAME, overwrite=True)
    QuantumSession(credentials=credentials, backend_name=BACKEND_NAME, max_time="1h").save(
        BLOCK_NAME, overwrite=True
    )


def run_demo(
    *, fresh: bool, on_evaluation: Callable[[int, Evaluation, bool], None]
) -> DemoOutcome:
    """Run the demonstration as a flow, or go on with the one that was interrupted.

    Args:
        fresh: Start anew instead.
        on_evaluation: Called after each evaluation with its number, its value, and whether it was
            replayed from the ledger.
    """
    save_demo_blocks()

    @flow(name="h2-vqe-demo")
    def h2_vqe_demo(block: str, experiment: str, fresh: bool) -> DemoOutcome:  # noqa: FBT001
        opened = QuantumSession.load(block).experiment(experiment, fresh=fresh)
        already_finished = opened.sealed
        replayed = opened.recorded_results
        with opened as running:
            report = run_vqe(
                running,
                seed=_SEED,
                on_evaluation=lambda number, evaluation: on_evaluation(
                    number, evaluation, number <= replayed
                ),
            )
        return DemoOutcome(
            report=report,
            exact_energy=exact_ground_energy(SparsePauliOp.from_list(list(H2_PAULIS))),
            replayed=replayed,
            jobs=opened.recorded_results,
            already_finished=already_finished,
            experiment=str(opened.identity),
            server_url=get_current_settings().api.url,
        )

    return h2_vqe_demo(BLOCK_NAME, EXPERIMENT_NAME, fresh)
