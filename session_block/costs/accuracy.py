"""How good the estimates are: each public record, judged by a model that does not know it.

``tests/costs/test_v2_model.py`` makes the table of ``docs/explanation/estimates.md`` with it. It
judges records of your own as well::

    from pathlib import Path
    from session_block.costs.accuracy import Judged, accuracy
    from session_block.costs.public_records import read_records
    from session_block.costs.v2_model import server_forecast

    mine = [one for one in read_records(Path("my_jobs.csv")) if one.completed]
    print(accuracy(Judged(one, server_forecast(one.work)) for one in mine))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from session_block.costs.public_records import PublicRecord
from session_block.costs.v2_model import ENOUGH_RECORDS, fit, server_forecast
from session_block.costs.work import Forecast

RIGHT_SECONDS, RIGHT_SHARE = 1.0, 0.3
"""An estimate is right if it is no further off than the larger of these."""


@dataclass(frozen=True)
class Judged:
    """A record and what a model that does not know it expects."""

    record: PublicRecord
    expected: Forecast

    @property
    def is_right(self) -> bool:
        """Whether the estimate is within a second or 30 % of the charge."""
        charged = self.record.charged_seconds
        off = abs(self.expected.seconds - charged)
        return off <= max(RIGHT_SECONDS, RIGHT_SHARE * charged)

    @property
    def is_covered(self) -> bool:
        """Whether the charge lies in the interval."""
        return self.expected.low <= self.record.charged_seconds <= self.expected.high


def leave_one_out(records: Sequence[PublicRecord]) -> list[Judged]:
    """Judge each record by the model that is fitted to all others."""
    judged = []
    for index, record in enumerate(records):
        others = [*records[:index], *records[index + 1 :]]
        judged.append(Judged(record, server_forecast(record.work, fit(others), others)))
    return judged


def accuracy(judged: Iterable[Judged]) -> str:
    """Return a table in Markdown: by program and family, how many records are met."""
    by_group: dict[tuple[str, str], list[Judged]] = {}
    for one in judged:
        by_group.setdefault((one.record.work.program, one.record.work.family), []).append(one)
    lines = [
        "| program | QPU | completed jobs | estimate right | charge in the interval |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = [*((*group, found) for group, found in sorted(by_group.items(), reverse=True))]
    everything = [one for _, _, found in rows for one in found]
    for program, family, found in [*rows, ("all", "", everything)]:
        right, covered = "no data", "no data"
        if len(found) >= ENOUGH_RECORDS:
            right = _share(sum(one.is_right for one in found), len(found))
            covered = _share(sum(one.is_covered for one in found), len(found))
        lines.append(f"| {program} | {family.capitalize()} | {len(found)} | {right} | {covered} |")
    return "\n".join(lines)


def _share(some: int, of: int) -> str:
    return f"{some} ({100 * some / of:.0f} %)"
