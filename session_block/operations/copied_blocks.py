"""Blocks from their copies in a ledger, for when no Prefect server answers."""

from __future__ import annotations

from pydantic import SecretStr, ValidationError

from session_block.blocks.copies import copied_credentials, copy_of
from session_block.blocks.forms import reasons
from session_block.blocks.quantum_session import QuantumSession
from session_block.errors import LedgerVersionError
from session_block.ledger.store import open_ledger
from session_block.records.block_copies import keep_copy
from session_block.records.keys import BlockCopy


def block_of(copy: BlockCopy, ledger_url: str) -> QuantumSession:
    """Return a Block from its copy; Prefect is not asked.

    The API key is looked for on this machine when the Block connects: see
    :func:`session_block.blocks.accounts.account_for_copy`.

    Args:
        copy: The copy.
        ledger_url: Where it was found; the Block's ledger.

    Raises:
        LedgerVersionError: A newer version recorded the copy.
    """
    try:
        block = QuantumSession(
            credentials=copied_credentials(copy), ledger_url=SecretStr(ledger_url), **copy.settings
        )
    except ValidationError as error:
        raise LedgerVersionError(
            f"The ledger's copy of Block {copy.block!r} cannot be used: {reasons(error)} Was it "
            "recorded by a newer version? Upgrade prefect-quantum-sessions, or start the Prefect "
            "server that has the Block."
        ) from error
    return block.as_copy_of(copy.block)


def record_copy(name: str, block: QuantumSession, ledger_url: str) -> None:
    """Record a Block that is saved at no Prefect server, so that commands find it by this name.

    Raises:
        LedgerError: The ledger cannot be written.
    """
    keep_copy(open_ledger(ledger_url), copy_of(name, block))
