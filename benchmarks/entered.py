"""Part (i): how many of our modules one evaluation enters, and how many of our functions it calls.

Nothing is timed: this is what somebody has to read to follow one evaluation. It counts the calls of
functions of ``session_block``, without the local platform, in any thread, from ``run`` to the
result; once for an evaluation that goes to the platform, once for one that the ledger answers.
Figures are medians, because the number of polls of a job varies.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import session_block
from benchmarks.measuring import Figure, Part, Table
from benchmarks.rig import Rig, answer
from benchmarks.work import block_at, new_work, place, received

_OWN = str(Path(session_block.__file__).parent)
_PLATFORM = str(Path(_OWN) / "local_platform")
_WARM_UP = 2


def measure(rig: Rig) -> Part:
    """Count the modules and calls of fresh and of replayed evaluations."""
    part = Part()
    work = new_work(_WARM_UP + (1 if rig.quick else 5))
    with rig.platform("entered") as platform:
        spec = {**work, **place(platform), "experiment": "entered"}
        counted = rig.child("entered", spec=spec, environment=platform.environment)
    part.data["entered"] = counted
    rows = []
    for name, evaluations in counted.items():
        found = {
            what: Figure.of(one[what] for one in evaluations[_WARM_UP:])
            for what in ("modules", "calls")
        }
        part.figures |= {f"entered/{name}/{what}": figure for what, figure in found.items()}
        rows.append([name, *(figure.text(0) for figure in found.values())])
    head = ["one evaluation", "modules of ours", "calls of ours"]
    part.tables.append(Table("(i) what one evaluation enters", head, rows))
    return part


class Entered:
    """Context manager that counts our modules entered and our functions called."""

    def __init__(self) -> None:
        self._modules: set[str] = set()
        self._calls = 0
        self._is_own: dict[CodeType, bool] = {}

    def __enter__(self) -> None:
        self._modules.clear()
        self._calls = 0
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    @property
    def found(self) -> dict[str, int]:
        """The counts since the context was last entered."""
        return {"modules": len(self._modules), "calls": self._calls}

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        own = self._is_own.get(code)
        if own is None:
            path = code.co_filename
            own = path.startswith(_OWN) and not path.startswith(_PLATFORM)
            self._is_own[code] = own
        if own:
            self._modules.add(code.co_filename)
            self._calls += 1


def main() -> None:
    """Evaluate, then again from the ledger; write the counts of each evaluation."""
    spec = json.load(sys.stdin)
    answer({name: _evaluations(spec) for name in ("fresh", "replayed")})


def _evaluations(spec: dict[str, Any]) -> list[dict[str, int]]:
    from session_block import DurableEstimator

    circuit, observable = received(spec)
    experiment = block_at(spec).experiment(spec["experiment"])
    estimator, entered = DurableEstimator(experiment), Entered()
    found = []
    for point in spec["points"]:
        with entered:
            estimator.run([(circuit, observable, point)]).result()
        found.append(entered.found)
    return found


if __name__ == "__main__":
    main()
