"""How long a session is active beside its jobs: it is charged for that too [docs].

Between two jobs pass the client's work, the optimiser's, and the polling; after the last one the
session stays active until it is closed, or until its interactive time is over.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from session_block.records.journal import Journal
from session_block.records.keys import FinalJobUsage
from session_block.records.usage import jobs_of

ASSUMED_GAP_SECONDS = (0.2, 1.0, 5.0)
"""What passes between two jobs, while nothing is measured: at least, as a rule, at most [guess]."""

INTERACTIVE_SECONDS = 60
"""How long a session stays active without a job, where the plan does not say [real]."""


@dataclass(frozen=True)
class Gaps:
    """What passes between the charged time of a job and the next job, in seconds.

    Attributes:
        seconds: As a rule.
        low: At least.
        high: At most.
        measured: How many were measured; 0 if they are assumed.
    """

    seconds: float
    low: float
    high: float
    measured: int = 0


def gaps_of(journal: Journal, interactive_seconds: float) -> Gaps:
    """Return the gaps between an experiment's jobs, by the platform's clock.

    Args:
        journal: The experiment's journal, with the final usage of its jobs.
        interactive_seconds: After a longer gap a session is not active any more.
    """
    began: defaultdict[str, list[tuple[datetime, float]]] = defaultdict(list)
    usage = {one.job_id: one for one in journal.all(FinalJobUsage)}
    for job in jobs_of(journal):
        known = usage.get(job.job_id)
        if job.session_id is not None and known is not None and known.began_at is not None:
            at = datetime.fromisoformat(known.began_at)
            began[job.session_id].append((at, known.seconds))
    measured = [
        max(0.0, (after - before).total_seconds() - seconds)
        for jobs in began.values()
        for (before, seconds), (after, _) in pairwise(sorted(jobs))
    ]
    counted = [gap for gap in measured if gap <= interactive_seconds]
    if not counted:
        low, usual, high = (min(one, interactive_seconds) for one in ASSUMED_GAP_SECONDS)
        return Gaps(usual, low, high)
    return Gaps(statistics.median(counted), min(counted), max(counted), len(counted))
