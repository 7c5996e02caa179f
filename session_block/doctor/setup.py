"""Set up the two Blocks for IBM Quantum; save nothing that the platform did not confirm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prefect import get_client
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr, ValidationError

from session_block.blocks.credentials import IBMSessionCredentials
from session_block.blocks.forms import reasons
from session_block.blocks.quantum_session import QuantumSession
from session_block.client import PLAN_WITHOUT_SESSIONS, BackendChoice, Connection
from session_block.client.service import connect, connecting
from session_block.errors import InvalidInputError

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
