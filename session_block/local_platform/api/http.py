"""Turns HTTP requests into plain calls and back: bodies, queries, credentials and faults."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from session_block.local_platform.api.answers import answer, refusal
from session_block.local_platform.api.bodies import (
    MAX_BODY_BYTES,
    MAX_OPEN_BODY_BYTES,
    MAX_READING_BODY_BYTES,
)
from session_block.local_platform.api.call_faults import NO_FAULTS, CallFaults
from session_block.local_platform.api.local_access import check_local_access
from session_block.local_platform.api.virtual_hosts import region_of
from session_block.local_platform.errors import ApiError, bad_request, internal_error
from session_block.local_platform.faults.rules import EndSession

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from session_block.local_platform.api.bodies import Room
    from session_block.local_platform.config.tenancy import Account, Instance
    from session_block.local_platform.platform import Platform

# Far below the depth at which the JSON encoder fails.
MAX_DEPTH = 200
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One request as its handler sees it.

    ``sender`` is the account and ``target`` the instance, if the operation needs them. ``peer`` is
    the IP address of the caller, and ``client`` the name that the calling software gives itself.
    """

    platform: Platform
    path: Mapping[str, str]
    query: QueryParams
    body: bytes
    sender: Account | None = None
    target: Instance | None = None
    peer: str = ""
    client: str | None = None
    faults: CallFaults = NO_FAULTS

    @property
    def account(self) -> Account:
        """The account that sent the request. Raises TypeError if the operation needs no token."""
        if self.sender is None:
            raise TypeError("an open operation has no account")
        return self.sender

    @property
    def instance(self) -> Instance:
        """The instance of the request. Raises TypeError if the operation needs none."""
        if self.target is None:
            raise TypeError("this operation has no instance")
        return self.target

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            ApiError: 400 if it is anything else, or nested too deeply.
        """
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            raise bad_request("the body is not JSON") from None
        if not isinstance(content, dict):
            raise bad_request("the body is not a JSON object")
        if not _is_shallow(content):
            raise bad_request(f"the body is nested more than {MAX_DEPTH} levels deep")
        return content

    def text_query(self, name: str) -> str | None:
        """Return a query parameter, or None if it is absent or empty."""
        return self.query.get(name) or None

    def flag_query(self, name: str) -> bool | None:
        """Return a true/false query parameter. Raises ApiError 400 for other values."""
        value = self.text_query(name)
        if value is None:
            return None
        if value.lower() not in ("true", "false"):
            raise bad_request(f"{name} must be true or false")
        return value.lower() == "true"

    def number_query(self, name: str, low: int, high: int, default: int) -> int:
        """Return a whole number, or the default if it is invalid or out of range (IBM's docs)."""
        value = self.text_query(name)
        digits = 10
        if value is None or not value.isdecimal() or len(value) > digits:
            return default
        number = int(value)
        return number if low <= number <= high else default

    def time_query(self, name: str) -> float | None:
        """Return an ISO date and time as Unix seconds. Raises ApiError 400 for other text."""
        value = self.text_query(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise bad_request(f"{name} must be an ISO date and time") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()


Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path. IAM and the local operations are open: they need no credential."""

    method: str
    path: str
    handler: Handler
    needs_token: bool = True
    needs_instance: bool = True

    @property
    def is_local(self) -> bool:
        """Whether this is an operation of the local platform, which IBM does not have."""
        return self.path == "/" or self.path.startswith("/_local")

    @property
    def max_body_bytes(self) -> int:
        """How large its body may be: only what asks for a credential takes large ones."""
        if self.method == "GET":
            return MAX_READING_BODY_BYTES
        # Of the local operations that change something none is open.
        return MAX_BODY_BYTES if self.needs_token or self.is_local else MAX_OPEN_BODY_BYTES


def route(platform: Platform, prefix: str, operation: Operation, room: Room) -> Route:
    """Return the operation as a Starlette route under a prefix; all share the room for bodies."""
    name = f"{operation.method} {operation.path}"

    async def answered(request: Request) -> Response:
        _check_sender(platform, operation, request)
        async with room.body(request, operation.max_body_bytes) as body:
            return await carried_out(request, body)

    async def carried_out(request: Request, body: bytes) -> Response:
        call = await _call(platform, operation, request, body)
        response = await call.faults.before(partial(_end_session, call))
        if response is not None:
            return response
        try:
            response = answer(await run_in_threadpool(operation.handler, call))
        except ApiError as error:
            response = refusal(error)
            # The thread may keep the error until its next call, and its frames the whole body.
            error.__traceback__ = None
        return await call.faults.after(response)

    async def endpoint(request: Request) -> Response:
        platform.stats.count(name)
        try:
            return await answered(request)
        except ApiError as error:
            return refusal(error)
        except ClientDisconnect:
            # The client is gone; this answer reaches nobody.
            return Response(status_code=400)
        except Exception:
            _LOGGER.exception("%s failed", name)
            return refusal(internal_error())

    return Route(prefix + operation.path, endpoint, methods=[operation.method])


def text_field(value: Any, name: str, limit: int = 1000) -> str:
    """Return a non-empty text field of a body. Raises ApiError 400 for anything else."""
    if not isinstance(value, str) or not value or len(value) > limit:
        raise bad_request(f"{name} must be a text of 1 to {limit} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad_request(f"{name} is not valid Unicode") from None
    return value


def optional_text(content: Mapping[str, Any], name: str) -> str | None:
    """Return an optional text field of a body. Raises ApiError 400 for anything else."""
    value = content.get(name)
    return None if value is None else text_field(value, name)


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """Return a whole number in a range. Raises ApiError 400 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_request(f"{name} must be a whole number from {low} to {high}")
    return value


def _end_session(call: Call, rule: EndSession) -> None:
    session_id = call.path.get("session_id")
    if session_id is None:
        try:
            session_id = json.loads(call.body).get("session_id")
        except (ValueError, AttributeError, RecursionError):
            return
    if not isinstance(session_id, str):
        return
    # If it is unknown or belongs to another instance, the call's own handler reports that.
    with suppress(ApiError):
        call.platform.sessions.get(session_id, call.instance.crn)
        call.platform.end_session(session_id, rule.by)


async def _call(platform: Platform, operation: Operation, request: Request, body: bytes) -> Call:
    """Return a request as a call, with its faults, and its account and instance if needed.

    Raises:
        ApiError: 401 if a credential is missing or wrong, 400 or 404 if the instance is.
    """
    faults = platform.faults
    method, path = operation.method, operation.path
    concerned = not operation.is_local and faults.concern(method, path)
    if concerned and await run_in_threadpool(faults.expire_tokens, method, path, body):
        platform.accounts.expire_tokens()
    sender = target = None
    if operation.needs_token:
        sender = platform.accounts.authorized(request.headers.get("authorization"))
        if operation.needs_instance:
            region = region_of(request.headers.get("host", ""))
            crn = request.headers.get("service-crn")
            target = platform.accounts.instance_of(sender, crn, region)
    hits = NO_FAULTS
    if concerned:
        caller = "" if sender is None else sender.id
        hits = CallFaults(await run_in_threadpool(faults.hit, method, path, body, caller))
    peer = "" if request.client is None else request.client.host
    client = request.headers.get("x-qx-client-application")
    query = request.query_params
    return Call(platform, request.path_params, query, body, sender, target, peer, client, hits)


def _is_shallow(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return True
    return False


def _check_sender(platform: Platform, operation: Operation, request: Request) -> None:
    """Refuse whoever may not ask, before a body is read: strangers are not to fill the memory."""
    if operation.is_local:
        check_local_access(request, platform.owner_key)
    if operation.needs_token:
        platform.accounts.authorized(request.headers.get("authorization"))
