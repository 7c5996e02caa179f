"""What a check of the doctor's comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a check comes to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        what: What was checked.
        verdict: What it comes to.
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
