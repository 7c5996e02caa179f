"""The accounts that the client has saved on this machine, in IBM's own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import AccountManager, AccountNotFoundError, management

from session_block.account import Account
from session_block.environment.private_files import replace_file


def account_file() -> Path:
    """Return the file of the saved accounts."""
    return Path(management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE)  # noqa: SLF001 - no public name


def saved_account(name: str) -> Mapping[str, Any] | None:
    """Return the account that was saved under a name, as it was; ``None`` if there is none."""
    found: Mapping[str, Any] | None = QiskitRuntimeService.saved_accounts(name=name).get(name)
    return found


def default_account(channel: str | None) -> Mapping[str, Any] | None:
    """Return the account that the client takes if no name is given; ``None`` if none is saved.

    The environment has none: the client would prefer it.

    Args:
        channel: The channel that it has to be of; ``None`` for the client's preference.
    """
    try:
        found: Mapping[str, Any] = AccountManager.get(channel=channel).to_saved_format()
    except AccountNotFoundError:
        return None
    return found


def save_account(name: str, account: Account, *, overwrite: bool) -> None:
    """Save an account; its file then is readable by its user alone.

    Raises:
        OSError: The file cannot be written.
        AccountAlreadyExistsError: There is one of that name, and ``overwrite`` is not set.
    """
    file = account_file()
    if file.exists():
        file.chmod(0o600)
    else:
        replace_file(file, "{}")  # the client would make one that everybody can read
    QiskitRuntimeService.save_account(
        name=name,
        token=account.token,
        url=account.url,
        instance=account.instance,
        channel=account.channel,
        verify=account.verify,
        overwrite=overwrite,
    )
