"""What a ledger keeps of a Block for when no Prefect server answers: all but its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
from session_block.blocks.fields import SessionSettings
from session_block.errors import LedgerVersionError
from session_block.records.keys import BlockCopy

_TYPES = {
    one.get_block_type_slug(): one for one in (IBMSessionCredentials, LocalPlatformCredentials)
}


def copy_of(name: str, block: SessionSettings) -> BlockCopy:
    """Return what is kept of a Block; its number is 1.

    Args:
        name: The name under which it is saved.
        block: The Block.
    """
    return BlockCopy(
        block=name,
        number=1,
        credentials_type=block.credentials.get_block_type_slug(),
        credentials=_fields(block.credentials, _names(type(block.credentials))),
        settings=_fields(block, _names(SessionSettings) - {"credentials"}),
        left_out=[*_secrets(block.credentials), *_secrets(block)],
    )


def copied_credentials(copy: BlockCopy) -> IBMSessionCredentials | LocalPlatformCredentials:
    """Return a copy's credentials, whose API key is looked for on this machine.

    Raises:
        LedgerVersionError: A newer version recorded the copy, of a type unknown to this one.
    """
    if copy.credentials_type not in _TYPES:
        raise LedgerVersionError(
            f"The ledger's copy of Block {copy.block!r} has credentials of the type "
            f"{copy.credentials_type!r}, which this version does not know. Upgrade "
            "prefect-quantum-sessions, or start the Prefect server that has the Block."
        )
    credentials = _TYPES[copy.credentials_type](**copy.credentials)
    return credentials.as_copy() if isinstance(credentials, IBMSessionCredentials) else credentials


def _names(kind: type[BaseModel]) -> set[str]:
    """Return the names of the fields that never hold a secret."""
    found = kind.model_fields.items()
    return {
        name for name, one in found if SecretStr not in (one.annotation, *get_args(one.annotation))
    }


def _secrets(block: BaseModel) -> list[str]:
    """Return the names of the fields that do hold one."""
    return [name for name, value in block if isinstance(value, SecretStr)]


def _fields(block: BaseModel, names: set[str]) -> Mapping[str, Any]:
    values: dict[str, Any] = block.model_dump(mode="json", include=names)
    return {name: values[name] for name in sorted(names)}
