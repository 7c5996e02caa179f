"""The targets, and whether they are met. Figures are from one run on one machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.measuring import Figure


@dataclass(frozen=True)
class Target:
    """A limit for a figure.

    Attributes:
        key: The figure's key.
        part: The part that measures it.
        text: Its name for people.
        limit: The limit; a figure equal to it meets the target.
        side: ``at most`` or ``at least`` the limit.
    """

    key: str
    part: str
    text: str
    limit: float
    side: Literal["at most", "at least"] = "at most"

    def is_met(self, value: float) -> bool:
        """Whether a value meets the target."""
        return value <= self.limit if self.side == "at most" else value >= self.limit


TARGETS = (
    Target("wall/0.2", "vqe", "wall-clock at 0.2 s of QPU time, durable flow / bare loop", 0.95),
    Target("wall/1", "vqe", "wall-clock at 1 s of QPU time, durable flow / bare loop", 0.98),
    Target("lateness", "vqe", "job's end at the platform → result in hand, / bare", 0.4),
    Target("client", "vqe", "client time for each job, / bare", 0.6),
    Target("requests/1", "vqe", "requests for each job at 1 s of QPU time, / bare", 0.6),
    Target("share", "vqe", "QPU share of the session's active time, / bare", 1.0, "at least"),
    Target("added/prefect-qiskit", "vqe", "time added for each primitive, / prefect-qiskit's", 0.2),
    Target(
        "added/qcsc-prefect-qiskit",
        "vqe",
        "time added for each primitive, / qcsc-prefect-qiskit's",
        2 / 3,
    ),
    Target("resume/1000", "resume", "seconds to resume 1,000 evaluations", 2.0),
    Target("resume/10000", "resume", "seconds to resume 10,000 evaluations", 20.0),
    Target(
        "resume/exponent", "resume", "growth of that time from 1,000 to 10,000, as a power", 1.15
    ),
    Target("growth", "growth", "time added for the 5,000th evaluation / for the 10th", 1.2),
    Target("parallel/memory", "parallel", "MB of memory for 20 experiments in one process", 1000.0),
    Target(
        "parallel/share",
        "parallel",
        "share of the time in which the QPUs work for 20 experiments",
        0.9,
        "at least",
    ),
    Target("import", "imports", "import session_block with its Block / import prefect", 1.15),
    Target("import/qiskit", "imports", "modules of Qiskit that it imports", 0.0),
)


@dataclass(frozen=True)
class Verdict:
    """A target and its measured figure.

    Attributes:
        figure: ``None`` if it could not be measured.
        reason: Why it could not be measured.
    """

    target: Target
    figure: Figure | None
    reason: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure's median meets the target."""
        return self.figure is not None and self.target.is_met(self.figure.value)


def judge(
    figures: Mapping[str, Figure],
    missing: Mapping[str, str],
    parts: Iterable[str],
    targets: Sequence[Target],
) -> list[Verdict]:
    """Judge the targets of the parts that were run.

    Raises:
        KeyError: A part gave neither a figure nor a reason.
    """
    run = set(parts)
    verdicts = []
    for target in (one for one in targets if one.part in run):
        if target.key in figures:
            verdicts.append(Verdict(target, figures[target.key]))
        else:
            verdicts.append(Verdict(target, None, missing[target.key]))
    return verdicts


def conclusion(verdicts: Sequence[Verdict]) -> tuple[str, int]:
    """Return the last line and the exit status, which is 0 if every measured target is met."""
    measured = [one for one in verdicts if one.figure is not None]
    met = sum(one.met for one in measured)
    line = f"{met} of {len(measured)} targets met"
    if left := len(verdicts) - len(measured):
        line += f"; {left} could not be measured"
    return line, 0 if met == len(measured) else 1
