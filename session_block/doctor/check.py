"""The result of one of the doctor's checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The verdict of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One check and its result.

    Attributes:
        what: What was checked.
        verdict: Whether it is ok, a warning, or failed.
        found: What was found.
        advice: What to do; empty where there is nothing to do.
    """

    what: str
    verdict: Verdict
    found: str
    advice: str = ""

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)
