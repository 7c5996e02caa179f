"""Reads the bodies of requests: how large one may be, how slow, and how many there are at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from session_block.local_platform.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BODY_BYTES = 128 * 1024 * 1024
MAX_BODIES_BYTES = MAX_BODY_BYTES
"""How large all bodies are together that are read or worked on; more have to wait."""
MAX_OPEN_BODY_BYTES = 16 * 1024
"""The most where no credential is asked for: a request for a token."""
MAX_READING_BODY_BYTES = 1024
"""The most of a GET or HEAD, which needs none."""
FREE_BODY_BYTES = 64 * 1024
"""A body of this size takes no room, since the server keeps as much for each connection anyway."""
STALL_SECONDS = 10.0
"""How long the next byte of a body may take."""
SLOWEST_BYTES_PER_SECOND = 1024 * 1024


class Room:
    """The memory that large bodies share."""

    def __init__(self) -> None:
        self._left = MAX_BODIES_BYTES
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def body(self, request: Request, most: int) -> AsyncIterator[bytes]:
        """Give the body of a request to an ``async with`` block, and hold its room meanwhile.

        Args:
            request: The request, whose sender was let in.
            most: How many bytes its operation takes.

        Raises:
            ApiError: 413 if the body is larger, 408 if its sender is too slow.
        """
        async with AsyncExitStack() as held:
            yield await self._read(request, most, held)

    async def _read(self, request: Request, most: int, held: AsyncExitStack) -> bytes:
        longest = _longest(request, most)
        sender, body = _Sender(request), bytearray()
        while (part := await sender.part()) is not None:
            size = len(body) + len(part)
            if size > longest:
                raise _too_large(longest)
            # Not before: whoever says much and sends nothing is to take nothing from others.
            if len(body) <= FREE_BODY_BYTES < size:
                await held.enter_async_context(self._take(longest))
            body += part
        return bytes(body)

    @asynccontextmanager
    async def _take(self, size: int) -> AsyncIterator[None]:
        async with self._freed:
            await self._freed.wait_for(lambda: size <= self._left)
            self._left -= size
        try:
            yield
        finally:
            async with self._freed:
                self._left += size
                self._freed.notify_all()


class _Sender:
    """Whoever sends a body. Only the time spent on waiting for the sender counts."""

    def __init__(self, request: Request) -> None:
        self._parts = request.stream()
        self._waited = 0.0
        self._sent = 0

    async def part(self) -> bytes | None:
        """Return the next part of the body, or None after the last one.

        Raises:
            ApiError: 408 if it takes too long, or all parts together have.
        """
        now = asyncio.get_running_loop().time
        begin = now()
        earned = self._sent / SLOWEST_BYTES_PER_SECOND - self._waited
        try:
            async with asyncio.timeout(STALL_SECONDS + min(0.0, earned)):
                part = await anext(self._parts, None)
        except TimeoutError:
            raise _too_slow() from None
        self._waited += now() - begin
        self._sent += len(part or b"")
        return part


def _longest(request: Request, most: int) -> int:
    """Return how long a body may become: as long as it says, or as any."""
    # With both headers the length does not count (RFC 9112, 6.3).
    if "transfer-encoding" in request.headers:
        return most
    said = request.headers.get("content-length", "")
    length = int(said) if said.isdecimal() else 0
    if length > most:
        raise _too_large(most)
    return length


def _too_large(most: int) -> ApiError:
    return ApiError(413, 1208, f"The body is larger than {most} bytes.")


def _too_slow() -> ApiError:
    return ApiError(
        408,
        1208,
        f"The body did not arrive in time: the next byte may take {STALL_SECONDS:g} seconds, and "
        f"all of them as long again at {SLOWEST_BYTES_PER_SECOND} bytes a second.",
        "Send the request again.",
    )
