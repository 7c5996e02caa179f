"""Run in a process of its own: one VQE, by the bare client or durably, and when what happened.

``python -m benchmarks.loops FILE bare|library|flow [profile]``, with the work on standard input.
Moments are Unix seconds of this machine's clock, which is the local platform's too.
"""

from __future__ import annotations

import base64
import cProfile
import io
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from benchmarks.phases import phases_of
from benchmarks.rig import answer

Evaluate = Callable[[Any], float]
"""Takes a point, and returns the energy."""


class Diary:
    """What happened when, in one loop.

    Args:
        profiled: Whether the evaluations are run under a profiler; their times then mean nothing.
    """

    def __init__(self, *, profiled: bool) -> None:
        self._profile = cProfile.Profile(builtins=False) if profiled else None
        self.whole: tuple[float, float] = (0.0, 0.0)
        self.evaluations: list[dict[str, Any]] = []
        self.cpu_seconds = 0.0

    @contextmanager
    def keep_whole(self) -> Iterator[None]:
        """Note how long all takes: connecting, opening, evaluating, closing."""
        began = time.time()
        yield
        self.whole = (began, time.time())

    def keep(self, points: Iterable[Any], evaluate: Evaluate) -> None:
        """Evaluate all points, and note each."""
        cpu = time.process_time()
        with self._profile or nullcontext():
            for point in points:
                began = time.time()
                value = evaluate(point)
                self.evaluations.append({"began": began, "ended": time.time(), "value": value})
        self.cpu_seconds = time.process_time() - cpu

    def written(self, loop: str) -> dict[str, Any]:
        """Return what happened, as JSON."""
        return {
            "loop": loop,
            "whole": self.whole,
            "evaluations": self.evaluations,
            "cpu_seconds": self.cpu_seconds,
            "phases": None if self._profile is None else phases_of(self._profile, loop),
        }


def main() -> None:
    """Run the loop, and write what happened."""
    from qiskit import qpy
    from qiskit.quantum_info import SparsePauliOp

    warnings.filterwarnings("ignore", category=DeprecationWarning)
    spec = json.load(sys.stdin)
    loop = sys.argv[2]
    diary = Diary(profiled="profile" in sys.argv[3:])
    circuit = qpy.load(io.BytesIO(base64.b64decode(spec["circuit"])))[0]
    observable = SparsePauliOp.from_list([tuple(term) for term in spec["observable"]])
    {"bare": _bare, "library": _library, "flow": _flow}[loop](spec, circuit, observable, diary)
    answer(diary.written(loop))


def _bare(spec: dict[str, Any], circuit: Any, observable: Any, diary: Diary) -> None:
    from qiskit_ibm_runtime import EstimatorV2, QiskitRuntimeService, Session

    with diary.keep_whole():
        backend = QiskitRuntimeService().backend(spec["backend"])
        with Session(backend) as session:
            estimator = EstimatorV2(mode=session)

            def evaluate(point: Any) -> float:
                return float(estimator.run([(circuit, observable, point)]).result()[0].data.evs)

            diary.keep(spec["points"], evaluate)


def _library(spec: dict[str, Any], circuit: Any, observable: Any, diary: Diary) -> None:
    block = _block(spec)
    with diary.keep_whole():
        _durable(block, spec, circuit, observable, diary)


def _flow(spec: dict[str, Any], circuit: Any, observable: Any, diary: Diary) -> None:
    from prefect import flow

    from session_block.block import load_block

    name = f"bench-{spec['experiment']}"
    _block(spec).save(name, overwrite=True)

    @flow(name="benchmark-vqe")
    def benchmark_vqe(block: str) -> None:
        _durable(load_block(block), spec, circuit, observable, diary)

    with diary.keep_whole():
        benchmark_vqe(name)


def _block(spec: dict[str, Any]) -> Any:
    from session_block import LocalPlatformCredentials, QuantumSession

    return QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=spec["state_dir"]),
        backend_name=spec["backend"],
        ledger_url=spec["ledger_url"],
    )


def _durable(block: Any, spec: dict[str, Any], circuit: Any, observable: Any, diary: Diary) -> None:
    from session_block import DurableEstimator

    with block.experiment(spec["experiment"]) as experiment:
        # The bare loop's session is open too before its first evaluation begins.
        experiment.open_session()
        estimator = DurableEstimator(experiment)

        def evaluate(point: Any) -> float:
            return float(estimator.run([(circuit, observable, point)]).result()[0].data.evs)

        diary.keep(spec["points"], evaluate)


if __name__ == "__main__":
    main()
