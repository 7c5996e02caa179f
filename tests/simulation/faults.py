"""What may go wrong in a world. A plan of faults is drawn from the seed, and can be shrunk."""

from __future__ import annotations

import random
from dataclasses import dataclass

ANY = "any"
LEDGER = "ledger"
WRITE = "write"
HTTP = "http"
POST_JOB = "post job"
POST_SESSION = "post session"
READ = "read"
RESULTS = "results"
LISTING = "listing"
CLOSING = "closing"

OCCASIONS: dict[str, str] = {
    "killed before": ANY,
    "killed after": ANY,
    "paused": ANY,
    "ledger lost before": LEDGER,
    "ledger lost after": WRITE,
    "dropped before": HTTP,
    "dropped after": HTTP,
    "500 before": HTTP,
    "500 after": HTTP,
    "token ended": HTTP,
    "middlebox": HTTP,
    "too many": POST_JOB,
    "too many, with Retry-After": POST_JOB,
    "refused": POST_JOB,
    "strange answer": HTTP,
    "listing lags": POST_JOB,
    "killed unseen": POST_JOB,
    "dropped unseen": POST_JOB,
    "middlebox unseen": POST_JOB,
    "500 after, then refused": POST_JOB,
    "sender stands still": POST_JOB,
    "outage": HTTP,
    "job fails in passing": POST_JOB,
    "job fails": POST_JOB,
    "job runs out of memory": POST_JOB,
    "job cancelled by a person": POST_JOB,
    "result empty": RESULTS,
    "person closes": ANY,
    "person cancels": ANY,
    "limit reached": ANY,
    "session nearly over": ANY,
    "another worker": ANY,
    "ledger gone": ANY,
    "ledger from an older copy": ANY,
    "program changed": ANY,
    "another owner": ANY,
    "cancelled in Prefect": ANY,
}
"""Each kind of fault, and the kind of effect that it waits for."""

WEIGHTS: dict[str, float] = {
    "killed before": 6,
    "killed after": 6,
    "paused": 2,
    "500 after": 3,
    "dropped after": 3,
    "another worker": 3,
    "killed unseen": 2,
    "sender stands still": 2,
    "person closes": 0.6,
    "person cancels": 0.6,
    "limit reached": 0.4,
    "job cancelled by a person": 0.5,
    "job fails": 0.4,
    "job runs out of memory": 0.2,
    "refused": 0.4,
    "ledger gone": 0.5,
    "ledger from an older copy": 0.5,
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: A key of :data:`OCCASIONS`.
        at: From which effect of the world on it waits for its occasion.
        share: A number in [0, 1) that says how long, or which.
    """

    kind: str
    at: int
    share: float


def draw(random: random.Random, effects: int) -> list[Fault]:
    """Draw a plan of faults.

    Args:
        random: Draws it.
        effects: About how many effects the world has.
    """
    kinds = list(OCCASIONS)
    weights = [WEIGHTS.get(kind, 1.0) for kind in kinds]
    number = random.choice([0, 1, 1, 2, 2, 3, 4, 5, 6, 8])
    drawn = random.choices(kinds, weights, k=number)
    faults = [Fault(kind, random.randrange(effects), random.random()) for kind in drawn]
    return sorted(faults, key=lambda fault: fault.at)
