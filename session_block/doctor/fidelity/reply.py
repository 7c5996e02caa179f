"""Pure: compare an answer with what is expected of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from session_block.doctor.fidelity.case import Condition, ExpectedReply, as_text, filled

_MOST_SHOWN = 120
_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>\d*|\*)\]")
_ABSENT = object()


@dataclass(frozen=True)
class Reply:
    """An answer: of the platform over HTTP, or of the client.

    Attributes:
        status: The HTTP status; ``None`` for an answer of the client.
        headers: The headers, with names in lower case.
        text: The body; of the client's answers as JSON.
        raised: The name of the exception that the client raised, and of its base classes.
    """

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    raised: tuple[str, ...] = ()

    @property
    def body(self) -> Any:
        """The body as JSON values; ``None`` if it is not JSON, or ``null``."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def kind(self) -> str:
        """``error``, ``json``, ``bare`` or ``empty``; see :class:`ExpectedReply`."""
        if not self.text:
            return "empty"
        try:
            body = json.loads(self.text)
        except ValueError:
            return "bare"
        if isinstance(body, dict) and isinstance(body.get("errors"), list) and body["errors"]:
            return "error"
        # IBM may send a bare text as a JSON string.
        return "bare" if isinstance(body, str) else "json"

    @property
    def code(self) -> int | None:
        """The code of IBM's error."""
        if self.kind != "error":
            return None
        first = self.body["errors"][0]
        code = str(first.get("code", "")) if isinstance(first, dict) else ""
        return int(code) if code.isdecimal() else None


@dataclass(frozen=True)
class Difference:
    """One thing in which an answer differs from what is expected.

    Attributes:
        what: The path of a value in the body, or what else differs.
        wanted: What is expected.
        found: What is there.
    """

    what: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.what} is {self.found}, not {self.wanted}"


def differences(
    answer: Reply, expected: ExpectedReply, values: Mapping[str, Any]
) -> list[Difference]:
    """Return how an answer differs from what is expected; empty if it does not."""
    return [*_differences(answer, expected, values)]


def values_at(body: Any, path: str) -> list[tuple[str, Any]]:
    """Return the values at a path, each with its own path, such as ``jobs[3].id``.

    Where there is none, the value is missing: see :func:`is_absent`.
    """
    found = [("", body)]
    for step in _STEP.finditer(path):
        found = [pair for where, value in found for pair in _inside(where, value, step)]
    return found


def is_absent(value: Any) -> bool:
    """Whether :func:`values_at` found nothing."""
    return value is _ABSENT


def _inside(where: str, value: Any, step: re.Match[str]) -> Iterator[tuple[str, Any]]:
    if step["name"] is not None:
        inner = f"{where}.{step['name']}".removeprefix(".")
        there = isinstance(value, dict) and step["name"] in value
        yield inner, value[step["name"]] if there else _ABSENT
    elif not isinstance(value, list):
        yield f"{where}[]", _ABSENT
    elif step["index"].isdecimal():
        index = int(step["index"])
        yield f"{where}[{index}]", value[index] if index < len(value) else _ABSENT
    else:
        if not value and not step["index"]:
            yield f"{where}[]", _ABSENT
        for index, one in enumerate(value):
            yield f"{where}[{index}]", one


def _differences(
    answer: Reply, expected: ExpectedReply, values: Mapping[str, Any]
) -> Iterator[Difference]:
    if answer.raised and expected.raises is None:
        yield Difference("the client's exception", "none", answer.raised[0])
        return
    for differs, difference in _of_whole(answer, expected):
        if differs:
            yield difference
    for lacking in expected.lacks:
        if str(filled(lacking, values)) in answer.text:
            yield Difference("the body", f"without {lacking}", "with it")
    for name, pattern in expected.headers.items():
        header = answer.headers.get(name.lower(), "")
        if not re.match(pattern, header):
            yield Difference(f"the header {name}", pattern, header or "missing")
    for path, condition in expected.fields.items():
        for where, value in values_at(answer.body, path):
            yield from _against(where or "the body", value, condition, values)


def _of_whole(answer: Reply, expected: ExpectedReply) -> Iterator[tuple[bool, Difference]]:
    """Give what is expected of the answer as a whole: whether it differs, and how."""
    if expected.raises is not None:
        raised = answer.raised or ("none",)
        difference = Difference("the client's exception", expected.raises, raised[0])
        yield expected.raises not in raised, difference
    if expected.status is not None:
        difference = Difference("the status", _listed(expected.status), str(answer.status))
        yield answer.status not in expected.status, difference
    if expected.kind is not None:
        difference = Difference("the kind of body", expected.kind, answer.kind)
        yield not _is_kind(answer.kind, expected.kind), difference
    if expected.code is not None:
        difference = Difference("the code", _listed(expected.code), str(answer.code))
        yield answer.code not in expected.code, difference
    if expected.text is not None:
        matches = re.fullmatch(expected.text, _bare(answer), re.DOTALL)
        yield not matches, Difference("the text", expected.text, _shown(answer.text))


def _bare(answer: Reply) -> str:
    """Return a bare text, which may be sent as a JSON string."""
    body = answer.body
    return body if isinstance(body, str) else answer.text


def _is_kind(kind: str, wanted: str) -> bool:
    return kind == wanted or (wanted == "json" and kind == "error")


def _against(
    where: str, value: Any, condition: Condition, values: Mapping[str, Any]
) -> Iterator[Difference]:
    if condition.absent:
        if value is not _ABSENT and value is not None:
            yield Difference(where, "absent", _shown(value))
        return
    if value is _ABSENT or (value is None and condition.optional):
        if not condition.optional:
            yield Difference(where, "there", "missing")
        return
    for fails, wanted in _checks(value, condition, values):
        if fails:
            yield Difference(where, wanted, _shown(value))


def _checks(
    value: Any, condition: Condition, values: Mapping[str, Any]
) -> Iterator[tuple[bool, str]]:
    number = value if _is_number(value) else None
    size = len(value) if isinstance(value, list | str | dict) else None
    if condition.type is not None:
        names = condition.type.split("|")
        yield not any(TYPES[name](value) for name in names), condition.type
    if condition.equals is not None:
        wanted = filled(condition.equals, values)
        yield not _same(value, wanted), _shown(wanted)
    if condition.one_of is not None:
        yield not any(_same(value, one) for one in condition.one_of), f"in {condition.one_of}"
    if condition.least is not None:
        yield number is None or number < condition.least, f"at least {condition.least}"
    if condition.most is not None:
        yield number is None or number > condition.most, f"at most {condition.most}"
    if condition.count is not None:
        yield size != condition.count, f"of {condition.count}"
    if condition.at_most_items is not None:
        yield (
            size is None or size > condition.at_most_items,
            f"of {condition.at_most_items} or less",
        )
    if condition.matches is not None:
        matches = isinstance(value, str) and re.fullmatch(condition.matches, value, re.DOTALL)
        yield not matches, f"like {condition.matches}"
    if condition.has is not None:
        wanted = filled(condition.has, values)
        holds = isinstance(value, list) and all(one in value for one in wanted)
        yield not holds, f"with {_shown(wanted)}"


def _same(value: Any, wanted: Any) -> bool:
    """Compare as JSON does: ``true`` is not 1."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or "T" not in value:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _like(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str) and bool(value),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
    "time": _is_time,
    "date": _like(r"\d{4}-\d\d-\d\d"),
    "uuid": _like(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "xid": _like(r"[0-9a-v]{20}"),
    "base64": _like(r"[A-Za-z0-9+/_-]+=*"),
}
"""The types that a condition may name."""


def _listed(numbers: tuple[int, ...]) -> str:
    few = 3
    return " or ".join(map(str, numbers)) if len(numbers) <= few else f"{numbers[0] // 100}xx"


def _shown(value: Any) -> str:
    text = as_text(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
