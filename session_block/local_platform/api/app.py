"""The HTTP application: all operations under the paths that the client expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from session_block.local_platform.api import routes_backends, routes_local, routes_sessions
from session_block.local_platform.api.answers import refusal
from session_block.local_platform.api.bodies import Room
from session_block.local_platform.api.http import route
from session_block.local_platform.api.operations import API
from session_block.local_platform.api.virtual_hosts import virtual_hosts
from session_block.local_platform.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from session_block.local_platform.platform import Platform


def create_app(platform: Platform) -> ASGIApp:
    """Return the application for a platform."""
    room = Room()
    local = (*routes_local.LOCAL, *routes_backends.LOCAL, *routes_sessions.LOCAL)
    application = Starlette(
        routes=[
            route(platform, prefix, operation, room)
            for prefix, operations in {**API, "": local}.items()
            for operation in operations
        ],
        exception_handlers={HTTPException: _no_such_route},
    )
    return virtual_hosts(application)


async def _no_such_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"There is no {request.method} {request.url.path} here."
    return refusal(ApiError(status, 1290, message, "Check the URL and the method."))
