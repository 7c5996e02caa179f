"""A flow that closes the sessions left open by failed runs."""

from prefect import flow, get_run_logger

from session_block.blocks.quantum_session import load_block
from session_block.client import Connection
from session_block.flows.blocks import takes_block
from session_block.flows.parameters import BlockName
from session_block.operations.flow_runs import end_with_their_runs
from session_block.operations.sessions import close_left_open, left_open


@takes_block
@flow(name="tidy")
def tidy(block: BlockName) -> list[str]:
    """Close the sessions of failed runs that nobody has resumed, and of runs killed at their end.

    A failed run keeps its session for the Block's ``keep_failed``, so that a retry can continue in
    it. Schedule this flow to close it afterwards. It also closes the sessions of completed and
    cancelled runs whose process was killed before it could. It leaves alone the sessions of runs
    that crashed before their end, and sessions that other people opened.

    Args:
        block: Name of the QuantumSession Block to take the ledger and credentials from.

    Returns:
        The IDs of the closed sessions.

    Examples:
        >>> session_ids = tidy("my-session")  # of what failed, and of nobody else
        >>> experiment.session_id in session_ids
        False
    """
    loaded = load_block(block)
    ledger = loaded.ledger()
    ended = end_with_their_runs(loaded)
    for session_id in ended:
        get_run_logger().info("Session %s was closed: its flow run has ended.", session_id)
    if not left_open(ledger):
        return ended
    closed = close_left_open(ledger, Connection(loaded.credentials))
    for session in closed:
        get_run_logger().info(
            "Session %s of experiment %s was closed: nobody resumed the experiment in time.",
            session.record.session_id,
            session.experiment,
        )
    return ended + [str(session.record.session_id) for session in closed]
