"""Applies the fault rules that hit a call, before and after its effect."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from http.client import NO_CONTENT
from typing import TYPE_CHECKING

import psutil
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from session_block.local_platform.api.answers import Cut, Truncated, refusal, with_count
from session_block.local_platform.errors import ApiError
from session_block.local_platform.faults.rules import (
    Delay,
    Drop,
    EndJob,
    EndSession,
    ListingLag,
    RepeatCursor,
    Signal,
    Status,
    Truncate,
    WrongCount,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from session_block.local_platform.faults.rules import Rule

_SAME_START_SECONDS = 1.0


class CallFaults:
    """The fault rules that hit one call. They act in their order; a refusal ends the call."""

    def __init__(self, rules: Sequence[Rule | ApiError] = ()) -> None:
        self._rules = rules

    def ending(self) -> str | None:
        """Return the planned end of the submitted job as JSON, or None to run it."""
        return next((rule.plan() for rule in self._rules if isinstance(rule, EndJob)), None)

    def listing_lag(self) -> float:
        """Return the age in seconds at which a job appears in listings; 0 for no lag."""
        lags = [rule.seconds for rule in self._rules if isinstance(rule, ListingLag)]
        return max(lags, default=0.0)

    def repeats_cursor(self) -> bool:
        """Return whether the page names the cursor that it was asked with as that of the next."""
        return any(isinstance(rule, RepeatCursor) for rule in self._rules)

    async def before(self, end_session: Callable[[EndSession], None]) -> Response | None:
        """Apply the rules that act before the call's effect.

        Args:
            end_session: Ends the session that the call names.

        Returns:
            The answer in place of the call's effect, or None to carry out the call.
        """
        for rule in self._rules:
            match rule:
                case Delay(seconds=seconds):
                    await asyncio.sleep(seconds)
                case EndSession():
                    await run_in_threadpool(end_session, rule)
                case Signal(effect="before"):
                    _send_signal(rule)
                case Status(effect="before"):
                    return _status(rule)
                case Drop(effect="before"):
                    return Cut()
                case ApiError():
                    return refusal(rule)
        return None

    async def after(self, response: Response) -> Response:
        """Apply the rules that act after the call's effect, and return the answer to send."""
        for rule in self._rules:
            match rule:
                case WrongCount(add=add):
                    response = with_count(response, add)
                case Signal(effect="after"):
                    _send_signal(rule)
                case Status(effect="after"):
                    response = _status(rule)
                case Drop(effect="after"):
                    response = Cut()
                case Truncate(bytes=size):
                    response = Truncated(response, size)
        return response


NO_FAULTS = CallFaults()


def start_of(pid: int) -> float:
    """Return the start time of one of this user's processes, in Unix seconds.

    Raises:
        ValueError: No process has this ID, or it belongs to another user.
    """
    try:
        process = psutil.Process(pid)
        if process.uids().real != psutil.Process().uids().real:
            raise ValueError(f"process {pid} belongs to another user")
        return process.create_time()
    except psutil.Error:
        raise ValueError(f"there is no process {pid}") from None


def _send_signal(rule: Signal) -> None:
    # The process may be gone, and another one may have its ID.
    with suppress(ValueError, psutil.Error):
        started = rule.started or 0.0
        if abs(start_of(rule.pid) - started) < _SAME_START_SECONDS:
            psutil.Process(rule.pid).send_signal(signal.Signals[rule.signal])


def _status(rule: Status) -> Response:
    if rule.status == NO_CONTENT:
        return Response(status_code=rule.status)
    if rule.body is not None:
        headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
        page = rule.body.lstrip().startswith("<")
        media_type = "text/html" if page else "application/json"
        return Response(rule.body, rule.status, headers, media_type)
    return refusal(
        ApiError(
            rule.status,
            rule.code,
            rule.message,
            "Try again.",
            retry_after=rule.retry_after,
        )
    )
