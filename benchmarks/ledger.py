"""The cost of recording a submission as the ledger grows, and of reading it back.

    python -m benchmarks.ledger [SUBMISSIONS] [POSTGRESQL_URL]

Prints JSON, in milliseconds. For each store: the median time to record an intent and an outcome
(two durable creates), for the 51st to 150th submission and for the last 100, and their ratio; the
time to read the facts of one submission, all intents, and all facts; the time to open the store.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from session_block.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

SUBMISSIONS = 10_000
EARLY, LATE = slice(50, 150), slice(-100, None)
READS = 200
UID = "0123456789abcdef"
INTENT = {
    "fingerprint": "f" * 64,
    "label": None,
    "occurrence": 1,
    "kind": "estimator",
    "implementation": "executor",
    "backend": "ibm_manila",
    "instance": "crn:v1:bluemix:public:quantum-computing:us-east:a/" + 60 * "0",
    "url": "https://quantum.cloud.ibm.com/api/v1",
    "session_id": "d0000000000000000000",
    "tag": "qs-sub:" + 45 * "0",
    "owner": {"token": 32 * "0", "machine": 64 * "0", "boot": 36 * "0", "pid": 1, "started": 2.0},
}
RESULT = bytes(range(256)) * 4


def main() -> int:
    """Measure and print the costs; the exit status is always 0."""
    submissions = int(sys.argv[1]) if len(sys.argv) > 1 else SUBMISSIONS
    with tempfile.TemporaryDirectory() as home:
        urls = {"sqlite": f"sqlite:///{Path(home) / 'ledger.db'}"}
        if len(sys.argv) > 2:  # noqa: PLR2004
            urls["postgresql"] = sys.argv[2]
        report = {store: measured(url, submissions) for store, url in urls.items()}
        report["sqlite"]["file_mb"] = round((Path(home) / "ledger.db").stat().st_size / 1e6, 1)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0


def measured(url: str, submissions: int) -> dict[str, Any]:
    """Return the costs of the store at a URL."""
    with closing(Ledger(url)) as ledger:
        recorded, results = [], []
        for number in range(submissions):
            recorded.append(_taken(lambda number=number: _record(ledger, number)))
            results.append(
                _taken(lambda number=number: ledger.create(UID, _key("result", number), {}, RESULT))
            )
        early, late = _median(recorded[EARLY]), _median(recorded[LATE])
        some = range(0, submissions, max(1, submissions // READS))
        return {
            "submissions": submissions,
            "record_around_100th": early,
            "record_last_100": late,
            "record_ratio": round(late / early, 2),
            "record_p95": round(statistics.quantiles(recorded, n=20)[-1], 3),
            "result": _median(results),
            "read_one_submission": _median([_taken(lambda n=n: _read(ledger, n)) for n in some]),
            "read_result": _median(
                [_taken(lambda n=n: ledger.get(UID, _key("result", n))) for n in some]
            ),
            "read_all_intents": round(_taken(lambda: ledger.facts(UID, "intent/")), 1),
            "read_all_facts": round(_taken(lambda: ledger.facts(UID)), 1),
            "open": round(_taken(lambda: Ledger(url).close()), 1),
        }


def _record(ledger: Ledger, number: int) -> None:
    ledger.create(UID, _key("intent", number) + "/1", INTENT)
    ledger.create(UID, _key("outcome", number) + "/1", {"kind": "job", "job_id": f"{number:020}"})


def _read(ledger: Ledger, number: int) -> None:
    kinds = ("intent", "outcome", "ended", "hold")
    ledger.facts(UID, *(_key(kind, number) + "/" for kind in kinds), _key("result", number))


def _key(kind: str, number: int) -> str:
    """Return a key; the keys come in no order, like real ones."""
    return f"{kind}/{number * 2654435761 % 2**32:08x}{number:016x}"


def _median(taken: list[float]) -> float:
    return round(statistics.median(taken), 3)


def _taken(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
