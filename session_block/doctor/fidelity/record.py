"""Pure: the summary of a run, and its record, which can be shared: it tells nobody whose it is.

The record holds no answer as it came. Of each it has the status, the values of the fields in
``_TELLING``, which say something of the platform and nothing of its user, and for guesses and
differences the names and types of all fields. Texts of errors are kept, but whatever names somebody
is replaced: known keys, tokens, accounts, instances, backends, jobs and sessions, and anything that
looks like one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from session_block.doctor.fidelity.reply import Reply, is_absent, values_at
from session_block.doctor.fidelity.suite import CaseOutcome, Finding

FORMAT = "session-block-fidelity"
FORMAT_VERSION = 1
_LONGEST_TEXT = 300
_DEEPEST = 4
_TELLING = frozenset(
    {
        "__type__",
        "accepting_jobs",
        "active_ttl",
        "interactive_ttl",
        "limit",
        "max_ttl",
        "mode",
        "offset",
        "private",
        "qpu_charge_time_seconds",
        "quantum_seconds",
        "elapsed_time",
        "reason",
        "reason_code",
        "reason_solution",
        "schema_version",
        "state",
        "state_reason",
        "status",
        "version",
    }
)
"""The names of fields whose values are recorded."""

_NAMING = (
    ("token", re.compile(r"\bey[\w-]+\.[\w-]+\.[\w-]*")),
    ("crn", re.compile(r"\bcrn:v1:[^\s\"',]*")),
    ("account", re.compile(r"\ba/[0-9a-f]{8,}")),
    ("user", re.compile(r"\b(?:IBMid|iam|ServiceId|Profile)-[\w@.-]+", re.IGNORECASE)),
    ("email", re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")),
    ("id", re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)),
    ("id", re.compile(r"\b[0-9a-f]{24,64}\b", re.IGNORECASE)),
    ("id", re.compile(r"\b(?=[a-v]*\d)[0-9a-v]{20}\b")),
    ("address", re.compile(r"https?://[^\s\"']+")),
)
"""What looks like something that names somebody."""


@dataclass(frozen=True)
class Tally:
    """How many cases agree and differ. A family counts as one, and guesses are counted apart."""

    agree: int
    differ: int
    guesses: int

    def __str__(self) -> str:
        cases = self.agree + self.differ
        return (
            f"{cases} cases: {self.agree} agree, {self.differ} differ, {self.guesses} are guesses"
        )


def tally(findings: Iterable[Finding]) -> Tally:
    """Count the cases that were run."""
    run = [one for one in findings if one.outcome is not CaseOutcome.NOT_RUN]
    outcomes: dict[str, bool] = {}
    for one in run:
        if not one.case.is_guess:
            name = one.case.family or one.case.id
            outcomes[name] = outcomes.get(name, True) and one.outcome is CaseOutcome.AGREES
    counted = Counter(outcomes.values())
    return Tally(counted[True], counted[False], sum(one.case.is_guess for one in run))


def record_of(
    findings: Sequence[Finding],
    *,
    secrets: Iterable[str],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the record of a run as JSON values.

    Args:
        findings: What was found.
        secrets: Texts that name somebody: keys, CRNs, IDs.
        about: What is known of the run: versions, plan, backend, bound.
    """
    hide = _Hider(secrets)
    counted = tally(findings)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made_on": f"{datetime.now(UTC):%Y-%m-%d}",
        **{name: hide(value) for name, value in about.items()},
        "summary": str(counted),
        "cases": [_entry(one, hide) for one in sorted(findings, key=lambda one: one.case.id)],
    }


def _entry(finding: Finding, hide: _Hider) -> dict[str, Any]:
    case = finding.case
    return {
        "id": case.id,
        "class": case.class_,
        "source": case.source,
        "endpoint": case.endpoint,
        "input": case.input,
        "outcome": finding.outcome.value,
        "why": hide(finding.why),
        "differs_in": [
            {"what": one.what, "wanted": hide(one.wanted)} for one in finding.differences
        ],
        "seen": None if finding.answer is None else _seen(finding, finding.answer, hide),
    }


def _seen(finding: Finding, answer: Reply, hide: _Hider) -> dict[str, Any]:
    body = answer.body
    seen: dict[str, Any] = {
        "status": answer.status,
        "content_type": answer.headers.get("content-type"),
        "kind": answer.kind,
        "values": {
            where: hide(value)
            for path in finding.case.expect.fields
            for where, value in values_at(body, path)
            if _tells(where, value)
        },
    }
    if finding.case.is_guess or finding.outcome is CaseOutcome.DIFFERS:
        seen["form"] = _form(body)
    if answer.raised:
        seen["raised"] = answer.raised[0]
    if answer.kind == "error" and isinstance(body["errors"][0], dict):
        first = body["errors"][0]
        seen["error"] = {name: hide(first.get(name)) for name in ("code", "message", "solution")}
    elif answer.kind == "bare":
        seen["text"] = hide(answer.text)
    return seen


def _tells(where: str, value: Any) -> bool:
    """Whether a value is one of the platform, not of its user."""
    if is_absent(value) or isinstance(value, dict | list):
        return False
    return where.rpartition(".")[2] in _TELLING


def _form(value: Any, depth: int = 0) -> Any:
    """Return the names and types of a body, without its values."""
    if isinstance(value, dict):
        if depth == _DEEPEST:
            return "object"
        return {str(name): _form(one, depth + 1) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [_form(value[0], depth)] if value else []
    return "null" if value is None else type(value).__name__


class _Hider:
    """Replaces what names somebody."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: a CRN contains the ID of its account.
        self._secrets = sorted({one for one in secrets if one}, key=len, reverse=True)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self(name): self(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self(one) for one in value]
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, "<hidden>")
        for word, pattern in _NAMING:
            value = pattern.sub(f"<{word}>", value)
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
