"""The cases as data: one request each, what is expected of its answer, and who says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Class = Literal["real", "docs", "spec", "client source", "guess"]
"""Measured on the real service by others; IBM's pages; its API description; what its client reads;
or nobody's word."""

Plan = Literal["any", "open", "paid"]
Service = Literal["runtime", "iam", "search", "catalog"]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_VALUE = re.compile(r"\$\{?(\w+)\}?")


class Strict(BaseModel):
    """A model without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FactSource(Strict):
    """Who says what a case expects.

    Attributes:
        marks: The classes of the evidence.
        about: The fact in short.
        not_seen: Why no request can show it; empty if one can.
    """

    marks: Annotated[tuple[Class, ...], Field(min_length=1)]
    about: str
    not_seen: str = ""


class RawRequest(Strict):
    """A request; ``$name`` in any of its texts is replaced by a value of the run.

    Attributes:
        send: Method and path, such as ``GET /jobs/$job``.
        service: Which of IBM's services it goes to.
        query: Query parameters; a list gives a key several times.
        headers: Headers to add or, with ``null``, to leave out.
        body: Sent as JSON.
        text: Sent as it is, in place of ``body``.
        form: Sent as a form, in place of ``body``.
    """

    send: str
    service: Service = "runtime"
    query: dict[str, str | list[str]] = {}
    headers: dict[str, str | None] = {}
    body: Any = None
    text: str | None = None
    form: dict[str, str] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> RawRequest:
        if self.method not in _METHODS or not self.path.startswith("/"):
            raise ValueError(f"{self.send!r} is no method and path")
        return self

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.send.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path under the service's address."""
        return self.send.partition(" ")[2]

    @property
    def endpoint(self) -> str:
        """Service, method and path, without the values in the path."""
        return f"{self.service} {self.method} {_VALUE.sub('{}', self.path)}"


class Condition(Strict):
    """What is expected of one value of a body.

    Attributes:
        type: Names of types, joined by ``|``.
        equals: The value; ``$name`` stands for a value of the run.
        one_of: The possible values.
        least: The smallest number.
        most: The largest number.
        count: The number of items of a list, or of characters of a text.
        at_most_items: The largest number of items.
        matches: Regular expression that the whole text matches.
        has: Values that the list contains.
        optional: Whether it may be absent, or null.
        absent: Whether it must be absent.
    """

    type: str | None = None
    equals: Any = None
    one_of: list[Any] | None = None
    least: float | None = None
    most: float | None = None
    count: int | None = None
    at_most_items: int | None = None
    matches: str | None = None
    has: list[Any] | None = None
    optional: bool = False
    absent: bool = False


def _condition(given: Any) -> Any:
    """Read a condition; a text alone is the name of a type."""
    return {"type": given} if isinstance(given, str) else given


def _some(statuses: tuple[int, ...]) -> tuple[int, ...]:
    if not statuses:
        raise ValueError("a status is needed")
    return statuses


class ExpectedReply(Strict):
    """What is expected of an answer.

    Attributes:
        status: The possible statuses; ``4xx`` and ``5xx`` stand for all of these.
        kind: ``json``: a JSON document; ``error``: IBM's form of errors; ``bare``: a text that is
            no JSON object; ``empty``: nothing.
        code: The possible codes of IBM's error.
        fields: Conditions on values of the body, by path: ``jobs[].id`` is that of each job, of
            which there must be one; ``jobs[*].id`` that of each, if there are any.
        text: Regular expression that a bare text matches as a whole.
        lacks: Texts that the body does not contain.
        headers: Regular expressions of headers, which match from the beginning.
        raises: The exception that the client raises.
    """

    status: Annotated[tuple[int, ...], AfterValidator(_some)] | None = None
    kind: Literal["json", "error", "bare", "empty"] | None = None
    code: tuple[int, ...] | None = None
    fields: dict[str, Condition] = {}
    text: str | None = None
    lacks: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    raises: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        if "status" in given:
            given["status"] = _statuses(given["status"])
        if isinstance(given.get("code"), int):
            given["code"] = (given["code"],)
        fields = given.get("fields", {})
        return {**given, "fields": {path: _condition(one) for path, one in fields.items()}}


def _statuses(given: Any) -> tuple[int, ...]:
    every = given if isinstance(given, list) else [given]
    found: list[int] = []
    for one in every:
        if one in ("4xx", "5xx"):
            first = int(one[0]) * 100
            found += range(first, first + 100)
        else:
            found.append(int(one))
    return tuple(found)


class Case(Strict):
    """One request and what is expected of its answer.

    Attributes:
        id: Its name.
        source: The name of a source in ``sources.yaml``.
        class_: The class of the evidence, which is one of the source's marks.
        input: The kind of input.
        set_up: What must be there before; see ``set_ups.yaml``.
        plan: On which plans it can be run.
        request: A raw HTTP request.
        call: In place of a request: a call of the unmodified client; see ``calls``.
        given: The arguments of that call.
        expect: What is expected.
        family: Cases of one family count as one.
        seconds: QPU time in seconds that the request itself may cost.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    source: str
    class_: Class = Field(alias="class")
    input: str
    set_up: str = "nothing"
    plan: Plan = "any"
    request: RawRequest | None = None
    call: str | None = None
    given: dict[str, Any] = {}
    expect: ExpectedReply
    family: str | None = None
    seconds: float = 0

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take the fields of the request, which stand beside those of the case."""
        given = dict(given)
        request = {name: given.pop(name) for name in RawRequest.model_fields if name in given}
        return {**given, "request": request} if request else given

    @model_validator(mode="after")
    def _asks_once(self) -> Case:
        if (self.request is None) == (self.call is None):
            raise ValueError(f"case {self.id} needs either a request or a call")
        return self

    @property
    def is_guess(self) -> bool:
        """Whether nobody has written it down."""
        return self.class_ == "guess"

    @property
    def endpoint(self) -> str:
        """What is asked, without the values."""
        return f"client {self.call}" if self.request is None else self.request.endpoint

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two cases share: endpoint, kind of input, and expectation."""
        return (self.endpoint, self.input, self.expect.model_dump_json(exclude_defaults=True))


class Step(Strict):
    """One request of a set-up.

    Attributes:
        request: What is sent; the answer must have a status below 300.
        keep: Values of the answer to keep, by path in the body.
        until: Ask again until the answer's values are among these, by path.
        patience: How long: ``soon`` for what should follow at once, ``job`` for a job's end.
    """

    request: RawRequest
    keep: dict[str, str] = {}
    until: dict[str, list[Any]] = {}
    patience: Literal["soon", "job"] = "soon"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = dict(given)
        request = {name: given.pop(name) for name in RawRequest.model_fields if name in given}
        return {**given, "request": request}


class SetUp(Strict):
    """How what some cases need comes about.

    Attributes:
        about: What is there afterwards.
        plan: On which plans it can be made.
        seconds: The most QPU time that it can cost, in seconds.
        queue: It costs nothing only behind at least so many jobs of others, since its own job must
            not start; behind fewer, its ``seconds`` count.
        steps: The requests, in order.
        still: Holds as long as the set-up does; asked after its cases.
    """

    about: str
    plan: Plan = "any"
    seconds: float = 0
    queue: int | None = None
    steps: tuple[Step, ...] = ()
    still: Step | None = None

    @property
    def planned_seconds(self) -> float:
        """The QPU time to plan for: none where the job waits in a queue and is cancelled there."""
        return 0.0 if self.queue is not None else self.seconds


class Book(Strict):
    """All sources, set-ups and cases."""

    sources: dict[str, FactSource]
    set_ups: dict[str, SetUp]
    cases: tuple[Case, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Book:
        for case in self.cases:
            source = self.sources.get(case.source)
            if source is None:
                raise ValueError(f"case {case.id} has an unknown source: {case.source}")
            if not case.is_guess and case.class_ not in source.marks:
                raise ValueError(f"case {case.id} is {case.class_}, but its source is not")
            if case.set_up not in self.set_ups:
                raise ValueError(f"case {case.id} has an unknown set-up: {case.set_up}")
        return self

    def seconds(self) -> float:
        """Return the QPU time, in seconds, that all cases and their set-ups are planned to cost."""
        used = {case.set_up for case in self.cases}
        return sum(self.set_ups[name].planned_seconds for name in used) + sum(
            case.seconds for case in self.cases
        )


@cache
def read_book() -> Book:
    """Read the suite's data."""
    here = files(__package__)
    pages = sorted(
        (one for one in here.joinpath("cases").iterdir() if one.name.endswith(".yaml")),
        key=lambda one: one.name,
    )
    return Book.model_validate(
        {
            "sources": yaml.safe_load(here.joinpath("sources.yaml").read_text()),
            "set_ups": yaml.safe_load(here.joinpath("set_ups.yaml").read_text()),
            "cases": [case for one in pages for case in yaml.safe_load(one.read_text())],
        }
    )


def filled(text: Any, values: Mapping[str, Any]) -> Any:
    """Replace each ``$name`` in texts, at any depth; a text that is only ``$name`` may become JSON.

    Raises:
        KeyError: There is no such value.
    """
    if isinstance(text, str):
        alone = _VALUE.fullmatch(text)
        if alone is not None:
            return values[alone[1]]
        return Template(text).substitute(values)
    if isinstance(text, Mapping):
        return {name: filled(one, values) for name, one in text.items()}
    if isinstance(text, Sequence):
        return [filled(one, values) for one in text]
    return text


def as_text(value: Any) -> str:
    """Return a value as it stands in a report."""
    return value if isinstance(value, str) else json.dumps(value)
