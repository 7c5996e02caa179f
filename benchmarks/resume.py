"""Part (d): how long an experiment takes to resume.

The time runs from opening the experiment to having the last recorded value, in a flow of a fresh
process that has imported everything. Only a few recorded evaluations were made on the platform; for
all other points, copies of their facts are written through the ledger.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Sequence
from itertools import islice
from typing import Any

from benchmarks.measuring import Figure, Part, Table
from benchmarks.rig import Rig, answer
from benchmarks.work import block_at, new_work, place, received

_EXPERIMENT = "resume"
_REAL = 3
_MANY, _MOST = 1_000, 10_000
_ROUNDS = {10: 3, 100: 3, _MANY: 3, _MOST: 2}
_QUICK_ROUNDS = {10: 1, _MANY: 1}
_NOT_QUICK = "not measured by --quick"


def measure(rig: Rig) -> Part:
    """Record an experiment of each size, and resume it."""
    part = Part()
    taken: dict[int, Figure] = {}
    with rig.platform("resume") as platform:
        for size, rounds in (_QUICK_ROUNDS if rig.quick else _ROUNDS).items():
            spec = {**new_work(size), **place(platform, f"resume-{size}")}
            rig.child("resume", "record", spec=spec)
            environment = {"PREFECT_API_URL": rig.prefect_url}
            runs = [
                rig.child("resume", "resume", spec=spec, environment=environment)
                for _ in range(rounds)
            ]
            taken[size] = Figure.of(run["seconds"] for run in runs)
            part.data[f"{size}"] = runs
    if _MOST in taken:
        part.figures["resume/10000"] = taken[_MOST]
        power = math.log10(taken[_MOST].value / taken[_MANY].value)
        part.figures["resume/exponent"] = Figure.of([power])
    else:
        part.missing |= {"resume/10000": _NOT_QUICK, "resume/exponent": _NOT_QUICK}
    part.figures["resume/1000"] = taken[_MANY]
    rows = [
        [f"{size:,}", one.text(3), f"{1000 * one.value / size:.2f}"] for size, one in taken.items()
    ]
    head = ["recorded evaluations", "seconds to the last value", "ms for each"]
    part.tables.append(Table("(d) resume; the bare client's loop begins anew", head, rows))
    return part


def main() -> None:
    """Record or resume, as the second argument says."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    {"record": _record, "resume": _resume}[sys.argv[2]](json.load(sys.stdin))


def _record(spec: dict[str, Any]) -> None:
    from session_block import DurableEstimator
    from session_block.pubs.fingerprint import submission_id
    from session_block.pubs.request import estimator_request

    block = block_at(spec)
    circuit, observable = received(spec)
    pubs = [(circuit, observable, point) for point in spec["points"]]
    experiment = block.experiment(_EXPERIMENT)
    estimator = DurableEstimator(experiment)
    for pub in pubs[:_REAL]:
        estimator.run([pub]).result()
    identities = [estimator_request([pub]).fingerprint for pub in pubs]
    submissions = [submission_id(fingerprint, 1) for fingerprint in identities]
    ledger = block.ledger()
    pattern = [
        (fact.key, json.dumps(fact.body), ledger.get(experiment.uid, fact.key))
        for fact in ledger.facts(experiment.uid)
        if submissions[0] in fact.key
    ]
    job_id = experiment.job_ids[0]
    for number in range(_REAL, len(pubs)):
        changes = {
            submissions[0]: submissions[number],
            identities[0]: identities[number],
            job_id: f"{number:020}",
        }
        for key, body, whole in pattern:
            payload = None if whole is None else whole.payload
            ledger.create(
                experiment.uid,
                _changed(key, changes),
                json.loads(_changed(body, changes)),
                payload,
            )
    answer({"recorded": experiment.recorded_results})


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def _resume(spec: dict[str, Any]) -> None:
    from prefect import flow

    from session_block.blocks.quantum_session import load_block

    circuit, observable = received(spec)
    name = f"bench-resume-{len(spec['points'])}"
    block_at(spec).save(name, overwrite=True)

    @flow(name="benchmark-resume")
    def benchmark_resume(block: str) -> dict[str, float]:
        loaded = load_block(block)
        began = time.perf_counter()
        experiment = loaded.experiment(_EXPERIMENT)
        values = replay(experiment, [(circuit, observable, point) for point in spec["points"]])
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "values": len(values), "last": values[-1]}

    answer(benchmark_resume(name))


def replay(experiment: Any, pubs: Sequence[Any], most: int | None = None) -> list[float]:
    """Request all results, or the first ``most``, as the loop that recorded them did."""
    from session_block import DurableEstimator

    estimator = DurableEstimator(experiment)
    return [float(estimator.run([pub]).result()[0].data.evs) for pub in islice(pubs, most)]


if __name__ == "__main__":
    main()
