"""A process that runs one VQE, with the bare client or durably, and writes down its times.

``python -m benchmarks.loops FILE bare|library|flow [profile]``, with the work on standard input.
Times are Unix seconds of this machine's clock, which the local platform uses too.
"""

from __future__ import annotations

import cProfile
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from benchmarks.phases import phases_of
from benchmarks.rig import answer
from benchmarks.work import BACKEND, block_at, received

if TYPE_CHECKING:
    from qiskit.primitives import PrimitiveResult

    from session_block import QuantumSession

Evaluate = Callable[[Any], "PrimitiveResult[Any]"]
"""Takes a point and returns the Estimator's result."""


class Diary:
    """The times of one loop.

    Args:
        profiled: Whether to run the evaluations under a profiler; their times then mean nothing.
    """

    def __init__(self, *, profiled: bool) -> None:
        self._profile = cProfile.Profile(builtins=False) if profiled else None
        self.whole: tuple[float, float] = (0.0, 0.0)
        self.evaluations: list[dict[str, Any]] = []
        self.cpu_seconds = 0.0

    @contextmanager
    def keep_whole(self) -> Iterator[None]:
        """Note the begin and end of the whole: connecting, opening, evaluating, closing."""
        began = time.time()
        yield
        self.whole = (began, time.time())

    def keep(self, points: Iterable[Any], evaluate: Evaluate) -> None:
        """Evaluate all points, and note each evaluation."""
        cpu = time.process_time()
        with self._profile or nullcontext():
            for point in points:
                began = time.time()
                value = float(evaluate(point)[0].data.evs)
                self.evaluations.append({"began": began, "ended": time.time(), "value": value})
        self.cpu_seconds = time.process_time() - cpu

    def written(self, loop: str) -> dict[str, Any]:
        """Return the notes, as JSON."""
        return {
            "loop": loop,
            "whole": self.whole,
            "evaluations": self.evaluations,
            "cpu_seconds": self.cpu_seconds,
            "phases": None if self._profile is None else phases_of(self._profile, loop),
        }


def main() -> None:
    """Run the loop, and write its times."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    spec = json.load(sys.stdin)
    loop = sys.argv[2]
    diary = Diary(profiled="profile" in sys.argv[3:])
    {"bare": _bare, "library": _library, "flow": _flow}[loop](spec, diary)
    answer(diary.written(loop))


def _bare(spec: dict[str, Any], diary: Diary) -> None:
    from qiskit_ibm_runtime import QiskitRuntimeService, Session
    from qiskit_ibm_runtime.executor_estimator import Estimator

    circuit, observable = received(spec)
    with diary.keep_whole():
        backend = QiskitRuntimeService().backend(BACKEND)
        with Session(backend) as session:
            estimator = Estimator(mode=session)
            diary.keep(
                spec["points"],
                lambda point: estimator.run([(circuit, observable, point)]).result(),
            )


def _library(spec: dict[str, Any], diary: Diary) -> None:
    block = block_at(spec)
    with diary.keep_whole():
        _durable(block, spec, diary)


def _flow(spec: dict[str, Any], diary: Diary) -> None:
    from prefect import flow

    from session_block.blocks.quantum_session import load_block

    name = f"bench-{spec['experiment']}"
    block_at(spec).save(name, overwrite=True)

    @flow(name="benchmark-vqe")
    def benchmark_vqe(block: str) -> None:
        _durable(load_block(block), spec, diary)

    with diary.keep_whole():
        benchmark_vqe(name)


def _durable(block: QuantumSession, spec: dict[str, Any], diary: Diary) -> None:
    from session_block import DurableEstimator

    circuit, observable = received(spec)
    with block.experiment(spec["experiment"]) as experiment:
        # The bare loop opens its session before its first evaluation too.
        experiment.open_session()
        estimator = DurableEstimator(experiment)
        diary.keep(
            spec["points"], lambda point: estimator.run([(circuit, observable, point)]).result()
        )


if __name__ == "__main__":
    main()
