"""Refusals in the format of IBM's API.

The codes and messages of 1000, 1007, 1200, 1201, 1202 and 1352 come from IBM's public registry of
errors (docs); 1208, 1217, 1241, 1279, 1348 and 1352 were seen on the real service (real). HTTP
statuses are IBM's where records or its description of the API show them (400 for 1208 and 1352,
404 for 1279: real; 409 for the usage limit: spec), else the usual ones (guess). Where a code or a
status is only this platform's choice (guess), the constructor says so. Some of IBM's answers are
bare texts without a code (real); these are too.
"""

from __future__ import annotations

import json
import uuid

MORE_INFO = "https://quantum.cloud.ibm.com/docs/errors"


class ApiError(Exception):
    """A refused request, with the HTTP status and IBM's error fields.

    ``retry_after`` is the value of the ``Retry-After`` header, in seconds. ``bare`` is a text that
    is sent in place of the fields, where IBM sends no JSON.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        solution: str = "",
        *,
        retry_after: int | None = None,
        bare: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.solution = solution
        self.retry_after = retry_after
        self.bare = bare

    @property
    def media_type(self) -> str:
        """The type of the body: JSON, or plain text if the refusal is bare."""
        return "application/json" if self.bare is None else "text/plain"

    def body(self) -> bytes:
        """Return compact JSON, because clients search the text for ``"code":1217``; or the text."""
        if self.bare is not None:
            return self.bare.encode()
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


def instance_not_found() -> ApiError:
    """Return the refusal of an instance of another account or region (real: status and code)."""
    return ApiError(
        404,
        1279,
        "Instance not found.",
        "Check that the CRN is that of an instance of your account, and that the request goes to "
        "the region of the instance.",
    )


def not_a_crn(crn: str) -> ApiError:
    """Return the refusal of an instance whose CRN cannot be parsed.

    Both codes were seen (real). Which of them says what, and the status, are guesses.
    """
    code = 1348 if crn.startswith("crn:") else 1241
    return ApiError(
        400, code, "The CRN in the Service-CRN header is not valid.", "Copy the instance's CRN."
    )


def unknown_backend(name: str) -> ApiError:
    """Return the answer for a backend that the instance does not have: a bare text (real).

    The name is in the message for the platform's own operations; IBM's answer names nothing.
    """
    return ApiError(404, 1007, f"Backend not found: {name}", bare="Backend not found")


def unknown_mode() -> ApiError:
    """Return the answer to a session of an unknown mode: a bare server error (real)."""
    return ApiError(500, 1000, "The mode of the session is unknown.", bare="Internal server error")


def short_search() -> ApiError:
    """Return the refusal of a search for tags by too short or too long a term: bare (real)."""
    return ApiError(400, 1208, "The search term is too short or too long.", bare="Bad Request")


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

    The codes are this platform's own (guess), except for a job's, which IBM uses.
    """
    codes = {"Job": 1291, "Session": 1292, "Program": 1294}
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


def session_closed(session_id: str, status: int) -> ApiError:
    """Return the refusal of a job for a session that accepts no more jobs.

    The code and the advice are those of IBM's registry (docs), and third-party clients look for
    this wording. The HTTP status is a setting, because IBM's is not public.
    """
    return ApiError(
        status,
        1217,
        f"Session has been closed: {session_id}",
        "Open a session with a longer max_time, or submit its jobs with less time between them.",
    )


def open_plan() -> ApiError:
    """Return the refusal of a session on the open plan (real; the words: docs)."""
    return ApiError(
        400,
        1352,
        "You are not authorized to run a session when using the open plan.",
        "Create an instance of a different plan type or use a different execution mode.",
    )


def usage_limit_reached(instance: str) -> ApiError:
    """Return the refusal of work for an instance, given by name, that has used up its time.

    The status comes from IBM's description of its API (spec); the code is a guess.
    """
    return ApiError(
        409,
        1296,
        f"The usage limit of instance {instance} is reached.",
        "Raise the limit of the instance, or use another one.",
    )


def internal_error() -> ApiError:
    """Return the answer when the platform itself fails. The code is IBM's (docs)."""
    return ApiError(500, 1000, "API Internal error.", "See the log of the local platform.")
