"""Refusals in the form in which IBM's API writes them.

Codes 1208 and 1217 are those that public sources report. IBM's full registry of codes is not
public, so every other code here is this platform's own placeholder.
"""

from __future__ import annotations

import json
import uuid

MORE_INFO = "https://quantum.cloud.ibm.com/docs/errors"


class ApiError(Exception):
    """A request that the platform refuses, with the HTTP status and IBM's error fields."""

    def __init__(self, status: int, code: int, message: str, solution: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.solution = solution

    def body(self) -> bytes:
        """Return compact JSON: clients are known to search the text for ``"code":1217``."""
        error = {
            "code": self.code,
            "message": self.message,
            "solution": self.solution,
            "more_info": MORE_INFO,
        }
        content = {"errors": [error], "trace": str(uuid.uuid4())}
        return json.dumps(content, separators=(",", ":")).encode()


def bad_request(message: str) -> ApiError:
    """Return the refusal of a body or a query that does not fit the API."""
    return ApiError(
        400,
        1208,
        f"Request validation failed: {message}",
        "Correct the request and send it again.",
    )


def not_authorized(message: str) -> ApiError:
    """Return the refusal of a missing, unknown or expired credential."""
    return ApiError(401, 1200, message, "Log in again, or check the API key.")


def forbidden(message: str) -> ApiError:
    """Return the refusal of an instance that this account does not own."""
    return ApiError(403, 1201, message, "Use an instance (CRN) of this account.")


def not_found(kind: str, name: str) -> ApiError:
    """Return the answer for something that does not exist, naming it."""
    codes = {"Job": 1291, "Session": 1292, "Backend": 1293, "Program": 1294}
    return ApiError(
        404,
        codes.get(kind, 1290),
        f"{kind} not found: {name}",
        f"Check the name or ID of the {kind.lower()}.",
    )


def conflict(message: str) -> ApiError:
    """Return the refusal of an operation that the job's state does not allow."""
    return ApiError(409, 1295, message, "Only a queued or running job can be cancelled.")


def session_closed(session_id: str) -> ApiError:
    """Return the refusal of a job for a session that takes no more jobs.

    The code and the words are those that third-party clients look for. The HTTP status is this
    platform's choice, since IBM's is not public.
    """
    return ApiError(
        400,
        1217,
        f"Session has been closed: {session_id}",
        "Open a new session and submit the job to it.",
    )
