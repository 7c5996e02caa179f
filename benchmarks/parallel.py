"""Part (f): 1, 5 and 20 experiments at once in one process: throughput, memory, threads.

Each experiment has its own batch; several batches share a backend, so that a job is always queued
and the platform sets the pace. The experiments wait for each other after their first jobs. *QPU
share* is the share of time that the QPUs work, from then until the first experiment ends. The bare
client's loop has a thread and a service per experiment; the flow has a task per experiment.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psutil

from benchmarks.measuring import Figure, Part, Table, peak_mb
from benchmarks.rig import BenchmarkError, Rig, answer
from benchmarks.work import block_at, new_work, place, received
from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, DeviceSpec, InstanceSpec, Layout

_JOB_SECONDS = 0.2
_BACKENDS = tuple(f"bench_{number}" for number in range(5))
_LAYOUT = Layout(
    accounts=(AccountSpec(instances=(InstanceSpec(name="bench", backends=_BACKENDS),)),),
    devices=tuple(DeviceSpec(name=name, recording="manila") for name in _BACKENDS),
)
_COUNTS = (1, 5, 20)
_PAGE = 200
_SAMPLE_SECONDS = 0.1
_PATIENCE_SECONDS = 120


def measure(rig: Rig) -> Part:
    """Run each loop with each number of experiments."""
    part = Part()
    plan = {"flow": (20,)} if rig.quick else dict.fromkeys(("bare", "library", "flow"), _COUNTS)
    evaluations = 5 if rig.quick else 20
    rows = []
    with rig.platform("parallel", layout=_LAYOUT, job_seconds=_JOB_SECONDS) as platform:
        for loop, counts in plan.items():
            for count in counts:
                run = _run(rig, platform, loop, count, evaluations)
                part.data[f"{loop}/{count}"] = run
                rows.append(
                    [
                        loop,
                        f"{count}",
                        f"{run['per_second']:.1f}",
                        f"{100 * run['share']:.0f}",
                        f"{run['peak_mb']:.0f} ({run['imported_mb']:.0f})",
                        f"{run['threads']}",
                    ]
                )
    judged = part.data[f"flow/{_COUNTS[-1]}"]
    part.figures["parallel/memory"] = Figure.of([judged["peak_mb"]])
    part.figures["parallel/share"] = Figure.of([judged["share"]])
    head = ["loop", "experiments", "jobs per second", "QPU share, %"]
    head += ["memory at most, MB (with nothing but imports)", "threads at most"]
    title = f"(f) experiments at once, jobs of {_JOB_SECONDS:g} s on {len(_BACKENDS)} backends"
    part.tables.append(Table(title, head, rows))
    return part


def _run(
    rig: Rig, platform: LocalPlatform, loop: str, count: int, evaluations: int
) -> dict[str, Any]:
    spec = {
        **new_work(evaluations),
        **place(platform, f"parallel-{loop}-{count}"),
        "count": count,
        "name": f"parallel-{loop}-{count}",
    }
    environment = platform.environment if loop == "bare" else {}
    if loop == "flow":
        environment = {"PREFECT_API_URL": rig.prefect_url}
    seen = sum(1 for _ in _all_jobs(platform))
    run = rig.child("parallel", loop, spec=spec, environment=environment)
    jobs = list(_all_jobs(platform))
    new = jobs[: len(jobs) - seen]
    if len(new) != count * evaluations:
        raise BenchmarkError(f"{loop} made {len(new)} jobs of {count * evaluations} evaluations")
    return {**run, **_throughput(new, min(count, len(_BACKENDS)), run["together"])}


def _all_jobs(platform: LocalPlatform) -> Iterator[dict[str, Any]]:
    offset = 0
    while page := platform.jobs(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _throughput(jobs: Sequence[dict[str, Any]], backends: int, begin: float) -> dict[str, float]:
    """Return the jobs per second and the QPU share, while all experiments work."""
    experiments: dict[str, list[tuple[float, float]]] = {}
    for job in jobs:
        times = (_moment(job["running"]), _moment(job["finished"]))
        experiments.setdefault(job["session_id"], []).append(times)
    end = min(max(stop for _, stop in times) for times in experiments.values())
    spans = [span for times in experiments.values() for span in times]
    worked = sum(max(0.0, min(stop, end) - max(start, begin)) for start, stop in spans)
    done = sum(begin < stop <= end for _, stop in spans)
    return {"per_second": done / (end - begin), "share": worked / (end - begin) / backends}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Run the experiments at once, with the loop that the second argument names."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    spec = json.load(sys.stdin)
    {"bare": _bare, "library": _library, "flow": _flow}[sys.argv[2]](spec)


@contextmanager
def _watching() -> Iterator[dict[str, float]]:
    """Note the peak memory and the most threads of this process meanwhile."""
    process = psutil.Process()
    seen = {"imported_mb": process.memory_info().rss / 1e6, "threads": 0.0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            seen["threads"] = max(seen["threads"], process.num_threads())

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    try:
        yield seen
    finally:
        done.set()
        watching.join()
    seen["seconds"] = time.perf_counter() - began
    seen["peak_mb"] = peak_mb()


class _Work:
    """The evaluations of each experiment; all wait for each other after the first.

    Attributes:
        together: When all had finished their first evaluation, in Unix seconds.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._pub = received(spec)
        self._first, *self._others = spec["points"]
        self._all_there = threading.Barrier(spec["count"], action=self._begin)
        self.together = 0.0

    def do(self, estimator: Any) -> None:
        """Evaluate all points, one after another."""
        estimator.run([(*self._pub, self._first)]).result()
        self._all_there.wait(_PATIENCE_SECONDS)
        for point in self._others:
            estimator.run([(*self._pub, point)]).result()

    def _begin(self) -> None:
        self.together = time.time()


def _bare(spec: dict[str, Any]) -> None:
    from qiskit_ibm_runtime import Batch, QiskitRuntimeService
    from qiskit_ibm_runtime.executor_estimator import Estimator

    work = _Work(spec)

    def one(number: int) -> None:
        with Batch(QiskitRuntimeService().backend(_backend(number))) as batch:
            work.do(Estimator(mode=batch))

    _in_threads(spec, work, one)


def _library(spec: dict[str, Any]) -> None:
    from session_block.experiments.primitives import DurableEstimator

    work = _Work(spec)
    blocks = {name: block_at(spec, name, mode="batch") for name in _BACKENDS}

    def one(number: int) -> None:
        with blocks[_backend(number)].experiment(f"{spec['name']}-{number}") as experiment:
            work.do(DurableEstimator(experiment))

    _in_threads(spec, work, one)


def _in_threads(spec: dict[str, Any], work: _Work, one: Callable[[int], None]) -> None:
    with _watching() as seen, ThreadPoolExecutor(spec["count"]) as pool:
        list(pool.map(one, range(spec["count"])))
    answer({**seen, "together": work.together})


def _flow(spec: dict[str, Any]) -> None:
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    from session_block.blocks.quantum_session import load_block
    from session_block.experiments.primitives import DurableEstimator

    work = _Work(spec)
    for name in _BACKENDS:
        block_at(spec, name, mode="batch").save(name.replace("_", "-"), overwrite=True)

    @task
    def one(number: int) -> None:
        block = load_block(_backend(number).replace("_", "-"))
        with block.experiment(f"{spec['name']}-{number}") as experiment:
            work.do(DurableEstimator(experiment))

    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=spec["count"])

    @flow(name="benchmark-parallel", task_runner=runner)
    def benchmark_parallel() -> None:
        for running in [one.submit(number) for number in range(spec["count"])]:
            running.result()

    with _watching() as seen:
        benchmark_parallel()
    answer({**seen, "together": work.together})


def _backend(number: int) -> str:
    return _BACKENDS[number % len(_BACKENDS)]


if __name__ == "__main__":
    main()
