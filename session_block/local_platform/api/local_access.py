"""Access to the platform's own operations: only for the user who may read its state directory.

They ask for the owner's key, so other users of the machine and foreign web pages are refused. Two
more guards keep pages out: requests under a host name are refused, because a page could point that
name here (DNS rebinding), except for ``localhost``; and changes, if they come from another site.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from session_block.local_platform.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

_READING = ("GET", "HEAD")

OPEN = ("/", "/_local/health", "/_local/clock")
"""What anybody may read: the empty page, whether the platform answers, and its time."""

KEY_HEADER = "X-Owner-Key"
"""A header of our own: a page of another site would have to ask before it may send it."""


def check_local_access(request: Request, owner_key: str) -> None:
    """Refuse a request for one of the platform's own operations that is not its owner's.

    Raises:
        ApiError: 401 without the key, 403 if a foreign page may have sent it.
    """
    authority = request.headers.get("host", "")
    if not _is_address(authority):
        raise _refused(f"the host must be localhost or an IP address, not {authority!r}")
    if request.method not in _READING:
        _check_origin(request, authority)
    if not (request.method in _READING and request.scope["path"] in OPEN):
        given = request.headers.get(KEY_HEADER, "")
        if not hmac.compare_digest(given.encode(), owner_key.encode()):
            raise ApiError(
                401,
                1297,
                "Only the platform's owner may do this.",
                "In a browser open the page anew with 'session-block platform page'. In a program "
                "use session_block.local_platform.Admin.of(find()). A key ends with its server.",
            )


def _check_origin(request: Request, authority: str) -> None:
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _refused("it was sent by a page of another site")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{authority}":
        raise _refused(f"it was sent by a page of {origin}")


def is_loopback(host: str) -> bool:
    """Say whether a host is a loopback IP address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(authority: str) -> bool:
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


def _refused(why: str) -> ApiError:
    return ApiError(403, 1297, f"The platform refuses this: {why}.", "Call it from a program.")
