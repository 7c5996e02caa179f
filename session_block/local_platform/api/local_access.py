"""Access to the platform's own operations: only for programs, and pages served by the platform.

These operations need no credential, so foreign web pages must not reach them. Requests under a
host name are refused, because a page could point that name here (DNS rebinding), except for
``localhost``. Changes are refused if they come from a page of another site.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from session_block.local_platform.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

_READING = ("GET", "HEAD")


def check_local_access(request: Request) -> None:
    """Refuse a request for one of the platform's own operations if a foreign page may have sent it.

    Raises:
        ApiError: 403, with the reason.
    """
    authority = request.headers.get("host", "")
    if not _is_address(authority):
        raise _refused(f"the host must be localhost or an IP address, not {authority!r}")
    if request.method in _READING:
        return
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
