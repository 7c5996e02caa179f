"""What becomes of an experiment when its flow run is cancelled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from session_block.block import QuantumSession, load_block
from session_block.identity import Identity, opened_by
from session_block.session_records import CANCELLED

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

_logger = logging.getLogger(__name__)


def cancel_experiments(
    flow: Flow[..., Any],
    flow_run: FlowRun,
    state: State[Any],
) -> None:
    """Cancel the pending jobs of a cancelled flow run, and close the sessions that it opened.

    Give it to a flow as ``on_cancellation=[cancel_experiments]``. Prefect calls it in a process of
    its own, so it needs nothing but the ledger and the Block: the flow's parameter ``block`` names
    it. A crash or a worker's end is no cancellation, and closes nothing. Limit: Prefect calls such
    hooks as well as it can; a job that began to run finishes.

    Args:
        flow: The flow, which Prefect gives to its hooks.
        flow_run: The run that was cancelled.
        state: Its state.
    """
    _logger.info("Flow run %s of %s is %s.", flow_run.name, flow.name, state.name)
    block = load_block(str(flow_run.parameters["block"]))
    for identity in opened_by(block.ledger(), str(flow_run.id)):
        cancel_experiment(block, identity)


def cancel_experiment(block: QuantumSession, identity: Identity) -> bool:
    """Cancel an experiment's pending jobs from beside, and close the session that it opened.

    Returns:
        Whether it was not finished yet; of a finished one only the session is closed.

    Raises:
        SessionError: The platform did not close the session; it may go on billing.
        ConnectionFailedError: The platform could not be reached.
    """
    experiment = block.open(identity)
    if experiment.sealed:
        experiment.close_session()
        return False
    experiment.cancel_session()
    _logger.info("Experiment %s is %s.", identity, CANCELLED)
    return True
