"""What an attempt makes of its order."""

from __future__ import annotations

from typing import Any

from session_block import IBMSessionCredentials, QuantumSession

BACKEND = "ibm_manila"


def block_of(order: dict[str, Any], **more: Any) -> QuantumSession:
    """Return the Block that is ordered, with more fields."""
    return QuantumSession(
        credentials=IBMSessionCredentials(
            token=order["token"], instance=order["instance"], url=order["url"]
        ),
        backend_name=BACKEND,
        ledger_url=order["ledger_url"],
        **{**order["block"], **more},
    )
