"""Who may use the platform's own operations: programs, and pages that the platform itself served.

These operations ask for no credential. So that no web page that a browser shows can use them,
they are refused under any host name that such a page could have made to lead here (DNS rebinding),
and changes are refused to pages from elsewhere.
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
    """Make sure that a request for one of the platform's own operations comes from no web page.

    Raises:
        ApiError: 403 if it might.
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
    """Say whether an IP address is one of this machine's loopback."""
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
