"""Set up the two Blocks for IBM Quantum; save nothing that the platform did not confirm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import get_client
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block.account import Account
from session_block.blocks.accounts import CHANNELS
from session_block.blocks.credentials import IBMSessionCredentials
from session_block.blocks.forms import reasons
from session_block.blocks.quantum_session import QuantumSession
from session_block.client import PLAN_WITHOUT_SESSIONS, BackendChoice, Connection
from session_block.client.saved_accounts import account_file, save_account, saved_account
from session_block.client.service import connect, connecting
from session_block.errors import InvalidInputError
from session_block.ledger.urls import shown_url
from session_block.operations.copied_blocks import record_copy
from session_block.records.block_copies import find_copy

WithoutSessions = Literal["fail", "batch", "job"]


@dataclass(frozen=True)
class Offer:
    """An instance that an API key has access to."""

    crn: str
    name: str
    plan: str


@dataclass(frozen=True)
class Names:
    """The names of the two saved Blocks."""

    credentials: str
    session: str


@dataclass(frozen=True)
class CheckedSetup:
    """What the platform has confirmed.

    Attributes:
        session: The QuantumSession Block, with its credentials, unsaved.
        plan: The plan of the instance.
        warnings: Temporary obstacles to the first job.
    """

    session: QuantumSession
    plan: str
    warnings: tuple[str, ...]


def credentials_of(token: str, instance: str | None, url: str | None) -> IBMSessionCredentials:
    """Return unsaved credentials.

    Raises:
        InvalidInputError: The key or the URL is malformed.
    """
    try:
        return IBMSessionCredentials(token=SecretStr(token), instance=instance, url=url)
    except ValidationError as error:
        raise InvalidInputError(f"The credentials are not valid: {reasons(error)}") from None


def offers(credentials: IBMSessionCredentials) -> list[Offer]:
    """Return the instances that an API key has access to.

    Raises:
        ConnectionFailedError: The key is refused, or the platform cannot be reached.
    """
    with connecting("list the instances of the API key"):
        return [_offer(one) for one in connect(credentials.account()).instances()]


def check(
    credentials: IBMSessionCredentials,
    backend_name: str | None,
    max_time: str | None,
    without_sessions: WithoutSessions,
) -> CheckedSetup:
    """Ask the platform whether key, instance and backend are usable.

    Args:
        credentials: The key, the instance and the URL.
        backend_name: A backend of the instance; ``None`` for the least busy when one is needed.
        max_time: Maximum time of a session; ``None`` for the platform's default.
        without_sessions: What to do if the plan has no sessions.

    Raises:
        InvalidInputError: Something is malformed, the instance has no such backend, or its plan has
            no sessions and ``without_sessions`` is ``"fail"``.
        ConnectionFailedError: The key is refused, or the platform cannot be reached.
    """
    try:
        session = QuantumSession(
            credentials=credentials,
            backend_name=backend_name,
            max_time=max_time,
            without_sessions=without_sessions,
        )
    except ValidationError as error:
        raise InvalidInputError(f"The session's settings are not valid: {reasons(error)}") from None
    connection = Connection(credentials).open()
    plan = connection.plan()
    if plan == PLAN_WITHOUT_SESSIONS and without_sessions == "fail":
        raise InvalidInputError(
            f"The instance {connection.instance} is on the {plan} plan, which has no sessions. Use "
            "an instance of another plan, or say what to use instead: --without-sessions batch"
        )
    pinned = credentials.model_copy(update={"instance": connection.instance})
    return CheckedSetup(
        session=session.model_copy(update={"credentials": pinned}),
        plan=plan,
        warnings=tuple(_warnings(connection, backend_name)),
    )


def backends_of(credentials: IBMSessionCredentials) -> list[str]:
    """Return the names of the instance's backends.

    Raises:
        ConnectionFailedError: The platform does not answer.
    """
    return list(Connection(credentials).backends.names())


def check_free(names: Names) -> None:
    """Check that both names are free.

    Raises:
        InvalidInputError: A Block of that type and name exists.
    """
    for kind, name in ((IBMSessionCredentials, names.credentials), (QuantumSession, names.session)):
        if _exists(kind, name):
            raise InvalidInputError(
                f"Prefect already has a Block {name!r} of the type {kind.get_block_type_slug()}. "
                "Give another name, or --overwrite to replace it."
            )


def save(checked: CheckedSetup, names: Names, *, overwrite: bool) -> None:
    """Save both Blocks; the QuantumSession refers to the saved credentials."""
    checked.session.credentials.save(names.credentials, overwrite=overwrite)
    checked.session.save(names.session, overwrite=overwrite)


def check_free_here(names: Names, ledger_url: str) -> None:
    """Check that both names are free on this machine, where no Prefect server answers.

    Raises:
        InvalidInputError: An account of that name is saved, or the ledger has a copy of a Block of
            that name.
        LedgerError: The ledger cannot be read.
    """
    if _account_is_saved(names.credentials):
        raise InvalidInputError(
            f"{account_file()} already has an account {names.credentials!r}. Give another name "
            "(--credentials-name), or --overwrite to replace it."
        )
    if find_copy(ledger_url, names.session) is not None:
        raise InvalidInputError(
            f"{shown_url(ledger_url)} already has a copy of a Block {names.session!r}. Give "
            "another name (--name), or --overwrite to replace it."
        )


def save_here(checked: CheckedSetup, names: Names, ledger_url: str, *, overwrite: bool) -> Path:
    """Save the account in IBM's own file, and what else the Block says in the ledger.

    Commands then work with the Block's name, as long as no Prefect server is found. Flows load
    Blocks from Prefect alone.

    Returns:
        The file with the account.

    Raises:
        InvalidInputError: IBM's file cannot be written.
        LedgerError: The ledger cannot be written.
    """
    credentials = checked.session.credentials
    if not isinstance(credentials, IBMSessionCredentials) or credentials.token is None:
        raise InvalidInputError("Only an IBM Quantum account with an API key is saved.")
    account = Account(
        token=credentials.token.get_secret_value(),
        channel=credentials.channel or CHANNELS[0],
        url=credentials.url,
        instance=credentials.instance,
    )
    try:
        save_account(names.credentials, account, overwrite=overwrite)
    except (IBMError, OSError, ValueError) as error:
        raise InvalidInputError(
            f"The account could not be saved in {account_file()}: {error}. Nothing was saved."
        ) from error
    named = IBMSessionCredentials(
        account_name=names.credentials, instance=credentials.instance, url=credentials.url
    )
    session = checked.session.model_copy(update={"credentials": named})
    record_copy(names.session, session, ledger_url)
    return account_file()


def _account_is_saved(name: str) -> bool:
    try:
        return saved_account(name) is not None
    except (IBMError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"The accounts in {account_file()} cannot be read ({error!r}). Mend or remove the file."
        ) from error


def _exists(kind: type[Block], name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_block_document_by_name(name, kind.get_block_type_slug())
        except ObjectNotFound:
            return False
    return True


def _offer(told: dict[str, Any]) -> Offer:
    return Offer(crn=told["crn"], name=told.get("name", ""), plan=told.get("plan", "unknown"))


def _warnings(connection: Connection, backend_name: str | None) -> list[str]:
    if backend_name is None:
        return []
    why = connection.backends.why_not_up(BackendChoice(backend_name))
    return [] if why is None else [f"Backend {backend_name} runs no jobs now: {why}."]
