"""Part (e): the cost of an evaluation after many recorded ones, and the cost of its facts.

An experiment makes thousands of real evaluations on the platform. A flow then resumes and continues
it, alternating with a new experiment on an equal backend. *Time added* is an evaluation's
wall-clock time, minus the time from its job's creation to its end at the platform. The costs of the
ledger's store come from :mod:`benchmarks.ledger`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from datetime import datetime
from typing import Any

from benchmarks.ledger import measured
from benchmarks.measuring import Figure, Part, Table
from benchmarks.resume import replay
from benchmarks.rig import Rig, answer
from benchmarks.work import BACKEND, block_at, new_work, place, received
from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, DeviceSpec, InstanceSpec, Layout

_OTHER = "bench_manila"
_LAYOUT = Layout(
    accounts=(AccountSpec(instances=(InstanceSpec(name="bench"),)),),
    devices=(DeviceSpec(name=_OTHER, recording="manila"),),
)
_WINDOW = 50
_BEFORE_10TH = 5
"""The window around the 10th evaluation begins here; the evaluations before it are a warm-up."""


def measure(rig: Rig) -> Part:
    """Compare the evaluations around the 5,000th with those around the 10th."""
    last = 200 if rig.quick else 5_000
    before = last - _WINDOW // 2
    with rig.platform("growth", layout=_LAYOUT) as platform:
        spec = {**new_work(before + _WINDOW), **place(platform), "before": before}
        filled = rig.child("growth", "fill", spec=spec)
        environment = {"PREFECT_API_URL": rig.prefect_url}
        windows = rig.child("growth", "go-on", spec=spec, environment=environment)
        added = {name: _added(platform, windows[name], name) for name in windows}
    long, short = (Figure.of(added[name]) for name in ("long", "short"))
    part = Part()
    ratio = long.value / short.value
    part.figures["growth"] = Figure.of([ratio])
    store = measured(f"sqlite:///{rig.home / 'growth.db'}", 1_000 if rig.quick else 10_000)
    part.data = {"fill_seconds": filled["seconds"], "added_seconds": added, "store_ms": store}
    part.tables.append(
        Table(
            f"(e) time added for an evaluation, ms: median of {_WINDOW}, and quartiles",
            ["evaluation", "time added", "ratio"],
            [
                ["10th", _quartiles(added["short"]), "1.00"],
                [f"{last:,}th", _quartiles(added["long"]), f"{ratio:.2f}"],
            ],
        )
    )
    part.tables.append(
        Table(
            f"(e) the ledger's store with {store['submissions']:,} submissions",
            ["", "ms, but for the ratio"],
            [[name.replace("_", " "), f"{value:,}"] for name, value in store.items()],
        )
    )
    return part


def _quartiles(seconds: list[float]) -> str:
    low, middle, high = (1000 * one for one in statistics.quantiles(seconds, n=4))
    return f"{middle:.1f} ({low:.1f} … {high:.1f})"


def _added(platform: LocalPlatform, window: list[dict[str, float]], name: str) -> list[float]:
    backend = BACKEND if name == "long" else _OTHER
    listed = platform.jobs(limit=200)
    jobs = [job for job in listed if job["backend"] == backend][: len(window)][::-1]
    return [
        one["ended"] - one["began"] - (_moment(job["finished"]) - _moment(job["created"]))
        for one, job in zip(window, jobs, strict=True)
    ]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Fill an experiment or continue it, as the second argument says."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    {"fill": _fill, "go-on": _go_on}[sys.argv[2]](json.load(sys.stdin))


def _pubs(spec: dict[str, Any]) -> list[Any]:
    circuit, observable = received(spec)
    return [(circuit, observable, point) for point in spec["points"]]


def _fill(spec: dict[str, Any]) -> None:
    began = time.perf_counter()
    replay(block_at(spec).experiment("long"), _pubs(spec), spec["before"])
    answer({"seconds": time.perf_counter() - began})


def _go_on(spec: dict[str, Any]) -> None:
    from prefect import flow

    from session_block import DurableEstimator
    from session_block.blocks.quantum_session import load_block

    pubs = _pubs(spec)
    for name, backend in (("long", BACKEND), ("short", _OTHER)):
        block_at(spec, backend).save(f"bench-{name}", overwrite=True)

    @flow(name="benchmark-growth")
    def benchmark_growth() -> dict[str, list[dict[str, float]]]:
        long, short = (load_block(f"bench-{name}").experiment(name) for name in ("long", "short"))
        replay(long, pubs, spec["before"])
        replay(short, pubs, _BEFORE_10TH)
        ahead = {"long": pubs[spec["before"] :], "short": pubs[_BEFORE_10TH:]}
        estimators = {"long": DurableEstimator(long), "short": DurableEstimator(short)}
        windows: dict[str, list[dict[str, float]]] = {"long": [], "short": []}
        for number in range(_WINDOW):
            for name, estimator in estimators.items():
                began = time.time()
                estimator.run([ahead[name][number]]).result()
                windows[name].append({"began": began, "ended": time.time()})
        return windows

    answer(benchmark_growth())


if __name__ == "__main__":
    main()
