"""Fault rules as users write them: which calls are hit, and what happens to them.

Seconds are those of the platform's clock, except for ``delay``, which uses the machine's.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from session_block.local_platform.workloads.session_lifecycle import HowToEnd

Effect = Literal["before", "after"]
_DAY_SECONDS = 86_400
_MOST = 1_000_000_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Rule(_Model):
    """Which calls are hit, and what happens to them.

    Args:
        kind: What happens; see the class of each kind.
        method: HTTP method, or ``*`` for any.
        path: Path of the operation without the API's base, such as ``/jobs/{job_id}``; ``*``
            matches any text.
        contains: Text that the request's body must contain.
        nth: The number of the first matching call to hit, from 1.
        times: How many calls to hit from there on, null for all. A call that another rule has
            already ended is not hit and not counted here; the next one is. Default: 1, but all for
            ``listing_lag`` and ``rate_limit``.
    """

    # The only operation that the kind can hit, or None if it can hit any.
    operation: ClassVar[tuple[str, str] | None] = None

    kind: str
    method: Annotated[str, Field(pattern=r"^(\*|GET|POST|PUT|PATCH|DELETE)$")] = "*"
    path: Annotated[str, Field(pattern=r"^(\*|/)", max_length=200)] = "*"
    contains: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    nth: Annotated[int, Field(ge=1, le=_MOST)] = 1
    times: Annotated[int, Field(ge=1, le=_MOST)] | None = 1

    def is_for(self, method: str, path: str) -> bool:
        """Return whether the rule is for an operation."""
        if self.operation not in (None, (method, path)):
            return False
        return self.method in ("*", method) and fnmatchcase(path, self.path)

    def matches(self, method: str, path: str, body: bytes) -> bool:
        """Return whether the rule counts a call."""
        if not self.is_for(method, path):
            return False
        return self.contains is None or self.contains.encode() in body


class Status(_Rule):
    """Answer with a chosen status: 204 (the results are not there yet), or an error.

    Without ``body`` an error is worded as IBM's API words it. A body is sent as it is: a page, if
    it begins with ``<``, as a proxy or a firewall sends one, else JSON. With a body the status may
    also be a success.
    """

    kind: Literal["status"]
    status: Annotated[int, Field(ge=200, le=599)]
    code: Annotated[int, Field(ge=1000, le=9999)] = 1000
    message: Annotated[str, Field(max_length=1000)] = "A fault rule says so."
    retry_after: Annotated[int, Field(ge=0, le=_DAY_SECONDS)] | None = None
    effect: Effect = "before"
    body: Annotated[str, Field(max_length=10_000)] | None = None

    @model_validator(mode="after")
    def _is_error(self) -> Status:
        error = self.status in (204, *range(400, 600))
        if not error and (self.body is None or self.status not in (200, 201)):
            raise ValueError(
                "status must be 204 or from 400 to 599; with a body it may also be 200 or 201"
            )
        return self


class Drop(_Rule):
    """Cut the connection without an answer, before or after the call is carried out."""

    kind: Literal["drop"]
    effect: Effect = "before"


class Delay(_Rule):
    """Carry out the call after a delay, in seconds of the machine's clock."""

    kind: Literal["delay"]
    seconds: Annotated[float, Field(ge=0, le=3600)]


class Truncate(_Rule):
    """Announce the full length of the answer, send only its first bytes, and cut the connection."""

    kind: Literal["truncate"]
    bytes: Annotated[int, Field(ge=0, le=_MOST)]


class ExpireTokens(_Rule):
    """Expire every access token minted so far, including the token of this call."""

    kind: Literal["expire_tokens"]


class ListingLag(_Rule):
    """Hide jobs younger than ``seconds`` from the list of jobs."""

    operation: ClassVar[tuple[str, str] | None] = ("GET", "/jobs")
    kind: Literal["listing_lag"]
    times: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    seconds: Annotated[float, Field(gt=0, le=_DAY_SECONDS)]


class WrongCount(_Rule):
    """Add ``add`` to the total number of jobs in the answer to a listing."""

    operation: ClassVar[tuple[str, str] | None] = ("GET", "/jobs")
    kind: Literal["wrong_count"]
    add: Annotated[int, Field(ge=-_MOST, le=_MOST)]


class RepeatCursor(_Rule):
    """Name in a page of workloads, as the cursor of the next page, the one of this page again.

    The first page has none, so the rule hits the second one by default. That cursors repeat was
    seen on the real service (real).
    """

    operation: ClassVar[tuple[str, str] | None] = ("GET", "/workloads")
    kind: Literal["repeat_cursor"]
    nth: Annotated[int, Field(ge=1, le=_MOST)] = 2


class RateLimit(_Rule):
    """Refuse an account's calls above ``per_minute`` within the last minute."""

    kind: Literal["rate_limit"]
    times: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    per_minute: Annotated[int, Field(ge=1, le=_MOST)] = 5


class EndJob(_Rule):
    """Accept the submitted job, but end it in this way instead of running its circuits.

    Without ``after_seconds`` it takes as long as any other job.
    """

    operation: ClassVar[tuple[str, str] | None] = ("POST", "/jobs")
    kind: Literal["end_job"]
    state: Literal["failed", "cancelled"]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    reason_code: Annotated[int, Field(ge=1000, le=9999)] | None = None
    reason_solution: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    after_seconds: Annotated[float, Field(ge=0, le=_DAY_SECONDS)] | None = None

    def plan(self) -> str:
        """Return the ending as the JSON text that the engine reads."""
        return self.model_dump_json(
            include={"state", "reason", "reason_code", "reason_solution", "after_seconds"}
        )


class EndSession(_Rule):
    """End the session that the call names, before the call is carried out.

    ``close`` and ``cancel`` are what a person does. ``cost_limit`` lowers the limit of the
    session's instance to what it has used, which ends all its sessions.
    """

    kind: Literal["end_session"]
    by: HowToEnd


class Maintenance(_Rule):
    """Pause a backend as long as the rule exists. It hits no calls."""

    kind: Literal["maintenance"]
    backend: Annotated[str, Field(min_length=1, max_length=100)]

    def is_for(self, method: str, path: str) -> bool:  # noqa: ARG002
        """Return False: the rule hits no calls."""
        return False


class Signal(_Rule):
    """Send a signal to a process of the same user, before or after the call is carried out.

    The platform fills in ``started``, the start time of the process, so that no signal is sent to
    another process that reuses its ID.
    """

    kind: Literal["signal"]
    pid: Annotated[int, Field(gt=1, le=_MOST)]
    signal: Literal["SIGKILL", "SIGSTOP", "SIGCONT", "SIGTERM"]
    effect: Effect = "before"
    started: float | None = None


Rule = Annotated[
    Status
    | Drop
    | Delay
    | Truncate
    | ExpireTokens
    | ListingLag
    | WrongCount
    | RepeatCursor
    | RateLimit
    | EndJob
    | EndSession
    | Maintenance
    | Signal,
    Field(discriminator="kind"),
]


class _Rules(_Model):
    faults: Annotated[list[Rule], Field(min_length=1, max_length=1000)]


_RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def parse_rules(content: Any) -> list[Rule]:
    """Return the rule, or the rules under ``faults``, from parsed JSON.

    Raises:
        ValueError: The content is neither; the message says what is wrong.
    """
    try:
        if isinstance(content, dict) and "faults" in content:
            return _Rules.model_validate(content).faults
        return [_RULE.validate_python(content)]
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the rule"
        raise ValueError(f"{place}: {problem['msg']}") from None
