"""Check all that an experiment needs; each check says what it found and what to do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
from prefect.settings import get_current_settings, temporary_settings

from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.doctor.check import Check, Verdict
from session_block.doctor.machine import (
    check_ledger,
    check_prefect,
    check_prefect_access,
    check_versions,
)
from session_block.errors import SessionBlockError
from session_block.lab.prefect_server import find_prefect_server, reaching
from session_block.ledger.urls import default_ledger_url, shown_url
from session_block.operations.copied_blocks import block_of
from session_block.records.block_copies import find_copy


def examine(block_name: str | None, ledger_url: str | None = None) -> Iterator[Check]:
    """Check everything in turn; skip what cannot be checked because an earlier check failed.

    Args:
        block_name: The Block to check, with its credentials, instance, backend and ledger; without
            one the platform is not asked.
        ledger_url: A ledger to check instead of the Block's or the default one.
    """
    yield from check_versions()
    prefect = check_prefect()
    yield prefect
    yield from check_prefect_access()
    block: QuantumSession | None = None
    if block_name is None:
        yield Check(
            "Block",
            Verdict.WARNING,
            "No QuantumSession Block is given, so no platform is checked.",
            "Give one: session-block doctor --block NAME",
        )
    else:
        # Prefect would start a server of its own, which needs a minute and may know other Blocks.
        api_url = get_current_settings().api.url or find_prefect_server()
        if api_url is None or prefect.verdict is Verdict.FAILED:
            check, block = check_copy(block_name, ledger_url or default_ledger_url())
        else:
            with temporary_settings(reaching(api_url)):
                check, block = check_block(block_name)
        yield check
    yield from check_ledger(_ledger_url(block, ledger_url))
    if block is not None:
        from session_block.doctor.platform import check_platform

        yield from check_platform(block)


def check_copy(name: str, ledger_url: str) -> tuple[Check, QuantumSession | None]:
    """Check that a ledger has a copy of a Block, as no Prefect server serves; return both."""
    start = "Start the Prefect server, or set PREFECT_API_URL."
    try:
        copy = find_copy(ledger_url, name)
        block = None if copy is None else block_of(copy, ledger_url)
    except SessionBlockError as error:
        return Check("Block", Verdict.FAILED, str(error), start), None
    if copy is None:
        said = (
            f"{name!r} cannot be loaded: no Prefect server serves, and {shown_url(ledger_url)} has "
            "no copy of it."
        )
        return Check("Block", Verdict.FAILED, said, start), None
    when = "" if copy.recorded_at is None else f", recorded {copy.recorded_at:%Y-%m-%d %H:%M} UTC"
    said = f"{name!r} is taken from its copy in the ledger{when}, as no Prefect server serves."
    return Check("Block", Verdict.WARNING, said, start), block


def check_block(name: str) -> tuple[Check, QuantumSession | None]:
    """Check that a Block can be loaded; return the check and the Block."""
    try:
        block = load_block(name)
    except SessionBlockError as error:
        return Check("Block", Verdict.FAILED, str(error), "See session-block setup --help"), None
    except httpx.HTTPError as error:
        said = f"{name!r} cannot be loaded: {type(error).__name__}"
        return Check("Block", Verdict.FAILED, said, "Fix the Prefect API first."), None
    where = block.backend_name or "the least busy backend"
    return Check("Block", Verdict.OK, f"{name!r}: mode {block.mode}, on {where}."), block


def _ledger_url(block: QuantumSession | None, ledger_url: str | None) -> str:
    if ledger_url is None and block is not None and block.ledger_url is not None:
        return block.ledger_url.get_secret_value()
    return ledger_url or default_ledger_url()
