"""What a check finds: plain values, which tasks can return and commands print as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["refuse", "warn"]
"""``refuse``: it fails, so nothing is submitted. ``warn``: it may fail, or cost too much."""

Evidence = Literal["real", "docs", "spec", "client source", "guess"]
"""How a rule is known: seen on IBM's service, from its pages, its API, its client, or not at all.

What is only guessed never refuses.
"""


class CheckFinding(BaseModel):
    """One thing that a check has found wrong with a request.

    Attributes:
        rule: The rule's name, such as ``fractional-gates``.
        severity: ``refuse`` if nothing is submitted, or ``warn``.
        pub: The number of the PUB, or of a program's item, from 0; ``None`` for the whole request.
        code: The code that IBM gives to such a job; ``None`` if it is not known.
        code_is_guess: Whether that code was never seen on a job of this kind.
        evidence: How the rule is known: ``real``, ``docs``, ``spec``, ``client source``, ``guess``.
        message: What is wrong.
        cure: What to do about it.

    Examples:
        >>> for finding in experiment.check([circuit], shots=20_000_000):
        ...     print(finding.message)
        The job takes 20,000,000 executions, and 10,000,000 are allowed.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity
    pub: int | None
    code: int | None
    code_is_guess: bool
    evidence: Evidence
    message: str
    cure: str

    def __str__(self) -> str:
        where = "" if self.pub is None else f"PUB {self.pub}: "
        code = ""
        if self.code is not None:
            guess = ", a guess" if self.code_is_guess else ""
            code = f" (code {self.code}{guess})"
        return f"{where}{self.message}{code} {self.cure}"
