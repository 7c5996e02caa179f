"""A flow that closes the sessions which runs have left open."""

from __future__ import annotations

from prefect import flow, get_run_logger

from session_block.blocks.quantum_session import load_block
from session_block.client import Connection
from session_block.operations.sessions import close_left_open, left_open


@flow(name="tidy")
def tidy(block: str) -> list[str]:
    """Close the sessions that runs have left open and nobody has gone on with.

    A run that failed keeps its session for as long as its Block says (``keep_failed``), so that a
    retry goes on in it. Schedule this flow to close it afterwards. Runs that crashed before their
    end, and what other people have opened, are left alone.

    Args:
        block: Name of the QuantumSession Block whose ledger and credentials are used.

    Returns:
        The IDs of the sessions that were closed.
    """
    loaded = load_block(block)
    ledger = loaded.ledger()
    if not left_open(ledger):
        return []
    closed = close_left_open(ledger, Connection(loaded.credentials))
    for session in closed:
        get_run_logger().info(
            "Session %s of experiment %s is closed: nobody went on with it.",
            session.record.session_id,
            session.experiment,
        )
    return [str(session.record.session_id) for session in closed]
