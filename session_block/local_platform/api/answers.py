"""Answers to requests, including deliberately broken ones."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from session_block.local_platform.errors import ApiError


class Cut(Response):
    """No answer: cuts the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Cut the connection and wait until it is gone."""
        await _cut(scope, receive)


class Truncated(Response):
    """The first bytes of an answer, with the headers of the whole answer."""

    def __init__(self, whole: Response, size: int) -> None:
        super().__init__(status_code=whole.status_code)
        self.raw_headers = whole.raw_headers
        self.body = bytes(whole.body)[:size]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the first bytes and cut the connection."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await _cut(scope, receive)


def answer(content: Any) -> Response:
    """Return a handler's result as a response: JSON, 204 for None, a response unchanged."""
    if isinstance(content, Response):
        return content
    if content is None:
        return Response(status_code=204)
    # Starlette's JSON response would refuse a NaN that a client sent; this returns it.
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, media_type="application/json")


def refusal(error: ApiError) -> Response:
    """Return a refusal as an HTTP response."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # else the rest of the body might still be waited for
    return Response(
        error.body(), status_code=error.status, headers=headers, media_type=error.media_type
    )


def with_count(response: Response, add: int) -> Response:
    """Add to the ``count`` of a listing's answer; return other answers unchanged."""
    content = json.loads(bytes(response.body))
    if "count" not in content:
        return response
    return answer({**content, "count": max(0, content["count"] + add)})


async def _cut(scope: Scope, receive: Receive) -> None:
    scope["state"]["cut_connection"]()
    # If this returned before the disconnect is noticed, the server would send a 500.
    while (await receive())["type"] != "http.disconnect":
        pass
