"""Retry the flow run of an experiment, so that a worker goes on with it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from session_block.errors import InvalidInputError
from session_block.identity import Identity, flow_runs_of
from session_block.ledger import Ledger


@dataclass(frozen=True)
class RetriedFlowRun:
    """A flow run that was scheduled once more.

    Attributes:
        was: The name of the state in which it was.
    """

    flow_run_id: str
    name: str
    was: str


def retry_flow_run(ledger: Ledger, identity: Identity) -> RetriedFlowRun:
    """Schedule the latest outermost flow run that opened an experiment once more.

    A worker of its deployment's work pool then goes on where it stopped, as after ``prefect
    flow-run retry``.

    Raises:
        InvalidInputError: There is none, the server does not know it, it has not ended or is
            completed, or it has no deployment, so that no worker would run it.
    """
    run_ids = flow_runs_of(ledger, identity.uid)
    if not run_ids:
        raise InvalidInputError(
            f"Experiment {identity} was opened outside of flow runs, so there is none to retry. "
            "Run its program again: it goes on where it stopped."
        )
    run_id = run_ids[-1]
    about = f"Flow run {run_id} of experiment {identity}"
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound as error:
            raise InvalidInputError(
                f"{about} is unknown to the Prefect server. Was it deleted, or is PREFECT_API_URL "
                f"another server's? A new run goes on with experiment={identity.name!r}."
            ) from error
        state = run.state
        if state is None or not state.is_final():
            raise InvalidInputError(
                f"{about} is {'not started' if state is None else state.name}: only one that has "
                "ended is retried. If its worker is gone, set it to Crashed in the Prefect UI "
                "first (Change state)."
            )
        if state.is_completed():
            raise InvalidInputError(
                f"{about} is completed, so there is nothing to retry. To run it anew, start "
                "another flow run, with fresh=True if the experiment has a name."
            )
        if run.deployment_id is None:
            raise InvalidInputError(
                f"{about} has no deployment, so no worker would run it. Retry it here: prefect "
                f"flow-run retry {run_id} --entrypoint FILE.py:FLOW"
            )
        client.set_flow_run_state(
            run.id,
            AwaitingRetry(message="Retried by session-block experiments retry."),
            force=True,
        )
    return RetriedFlowRun(run_id, run.name, str(state.name))
