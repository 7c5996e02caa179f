"""Refusals in the format of IBM's API.

The codes and messages of 1000, 1007, 1200, 1201, 1202 and 1352 come from IBM's public registry of
errors; 1208 and 1217 come from public reports. HTTP statuses are IBM's where reports or its
published interface show them (400 for 1208 and 1352, 409 for the usage limit), otherwise the usual
ones. Where a code or status is only this platform's choice, the constructor says so.
"""

from __future__ import annotations

import json
import uuid

MORE_INFO = "https://quantum.cloud.ibm.com/docs/errors"


class ApiError(Exception):
    """A refused request, with the HTTP status and IBM's error fields.

    ``retry_after`` is the value of the ``Retry-After`` header, in seconds.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        solution: str = "",
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.solution = solution
        self.retry_after = retry_after

    def body(self) -> bytes:
        """Return compact JSON, because clients search the text for ``"code":1217``."""
        error = {
            "code": self.code,
            "message": self.message,
            "solution": self.solution,
            "more_info": MORE_INFO,
        }
        content = {"errors": [error], "trace": str(uuid.uuid4())}
        return json.dumps(content, separators=(",", ":")).encode()


def bad_request(message: str) -> ApiError:
    """Return the refusal of a body or query that does not match the API."""
    return ApiError(
        400,
        1208,
        f"Request validation failed: {message}",
        "Correct the request and send it again.",
    )


def not_authorized(why: str) -> ApiError:
    """Return the refusal of a missing, unknown or expired credential."""
    return ApiError(
        401,
        1200,
        "You are not authorized to perform this action.",
        f"You may need to regenerate your token: {why}",
    )


def forbidden(why: str) -> ApiError:
    """Return the refusal of an instance that this account does not own.

    The code is IBM's for invalid credentials. Using it for this case is this platform's choice.
    """
    return ApiError(403, 1201, "Invalid credentials.", f"Check your credentials: {why}")


def too_many_requests(limit: str, seconds: int) -> ApiError:
    """Return the refusal of a request over a limit; the client may retry after ``seconds``."""
    return ApiError(
        429,
        1202,
        f"Too many requests: {limit}.",
        "Reduce your request rate and try again.",
        retry_after=seconds,
    )


def not_found(kind: str, name: str) -> ApiError:
    """Return the answer for something that does not exist, with its name.

    The code for a backend is IBM's; the codes for other kinds are this platform's own.
    """
    codes = {"Backend": 1007, "Job": 1291, "Session": 1292, "Program": 1294}
    return ApiError(
        404,
        codes.get(kind, 1290),
        f"{kind} not found: {name}",
        f"Check the name or ID of the {kind.lower()}.",
    )


def conflict(message: str) -> ApiError:
    """Return the refusal of an operation that is not allowed in the job's state.

    The code is this platform's own.
    """
    return ApiError(409, 1295, message, "Only a queued or running job can be cancelled.")


def session_closed(session_id: str) -> ApiError:
    """Return the refusal of a job for a session that accepts no more jobs.

    Third-party clients look for this code and this wording. The HTTP status is this platform's
    choice, because IBM's is not public.
    """
    return ApiError(
        400,
        1217,
        f"Session has been closed: {session_id}",
        "Open a new session and submit the job to it.",
    )


def open_plan() -> ApiError:
    """Return the refusal of a session on the open plan, in IBM's words."""
    return ApiError(
        400,
        1352,
        "You are not authorized to run a session when using the open plan.",
        "Create an instance of a different plan type or use a different execution mode.",
    )


def usage_limit_reached(instance: str) -> ApiError:
    """Return the refusal of work for an instance, given by name, that has used up its time.

    The status comes from IBM's published interface; the code is this platform's own.
    """
    return ApiError(
        409,
        1296,
        f"The usage limit of instance {instance} is reached.",
        "Raise the limit of the instance, or use another one.",
    )


def internal_error() -> ApiError:
    """Return the answer when the platform itself fails. The code is IBM's."""
    return ApiError(500, 1000, "API Internal error.", "See the log of the local platform.")
