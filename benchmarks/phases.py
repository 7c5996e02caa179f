"""The phases of a profiled evaluation.

A profiler slows Python down, so these are shares to look at, and no target uses them. A phase is
the time in some functions of the product (of the client, for the bare loop) and in all that they
call. Phases do not overlap: if a function of one calls a function of another, ``without`` subtracts
it.
"""

from __future__ import annotations

import cProfile
import pstats
from dataclasses import dataclass
from pathlib import PurePath

Function = tuple[str, str]
"""The end of the file's path, and the name of the function."""


@dataclass(frozen=True)
class Phase:
    """A phase of an evaluation.

    Attributes:
        functions: The functions that spend its time.
        callers: If given, count only direct calls by these functions.
        without: Functions called below whose time belongs to other phases.
    """

    name: str
    functions: tuple[Function, ...]
    callers: tuple[str, ...] = ()
    without: tuple[Function, ...] = ()


_SEND = ("session_block/pubs/request.py", "send")
_RECORD = ("session_block/records/journal.py", "record")
_WAIT = ("session_block/submissions/watch.py", "until_over")
_VISIBLY = ("session_block/prefect_context.py", "visibly")
_WAITED = ("session_block/experiments/job.py", "wait")
_RESULT = ("qiskit_ibm_runtime/runtime_job_v2.py", "result")
_DECODE = ("qiskit_ibm_runtime/decoders/executor/decoder.py", "decode")
_STATUS = ("qiskit_ibm_runtime/runtime_job_v2.py", "wait_for_final_state")
_DURABLE = (
    Phase("fingerprint", (("session_block/pubs/request.py", "fingerprint_by"),)),
    Phase("intent", (_RECORD,), callers=("_attempt",)),
    Phase("POST", (_SEND,)),
    Phase("wait", (_WAIT,)),
    Phase(
        "fetch",
        (("session_block/submissions/results.py", "_fetch"),),
        without=(_DECODE, ("session_block/submissions/results.py", "_store")),
    ),
    Phase("decode", (_DECODE,)),
    Phase(
        "record",
        (
            ("session_block/submissions/results.py", "_store"),
            ("session_block/submissions/settle.py", "decide"),
        ),
    ),
)
PHASES = {
    "bare": (
        Phase("POST", (("qiskit_ibm_runtime/executor_estimator/estimator.py", "run"),)),
        Phase("wait", (_STATUS,)),
        Phase("fetch", (_RESULT,), without=(_STATUS, _DECODE)),
        Phase("decode", (_DECODE,)),
    ),
    "library": _DURABLE,
    "flow": (*_DURABLE, Phase("Prefect", (_VISIBLY,), without=(_WAITED,))),
}
"""The phases of each loop."""


class UnknownPhaseError(LookupError):
    """A phase's functions were never called: the product or the client has changed."""


def phases_of(profile: cProfile.Profile, loop: str) -> dict[str, float]:
    """Return the seconds of each phase and of the ``rest``."""
    times = _Times(profile)
    seconds = {phase.name: times.of(phase) for phase in PHASES[loop]}
    return {**seconds, "rest": max(0.0, times.total - sum(seconds.values()))}


class _Times:
    def __init__(self, profile: cProfile.Profile) -> None:
        stats = pstats.Stats(profile)
        self.total: float = stats.total_tt  # type: ignore[attr-defined]
        self._entries = stats.stats  # type: ignore[attr-defined]

    def of(self, phase: Phase) -> float:
        taken = sum(self._spent(one, phase.callers) for one in phase.functions)
        return max(0.0, taken - sum(self._spent(one, ()) for one in phase.without))

    def _spent(self, function: Function, callers: tuple[str, ...]) -> float:
        found = [
            entry
            for (path, _, name), entry in self._entries.items()
            if name == function[1] and PurePath(path).as_posix().endswith(function[0])
        ]
        if not found:
            raise UnknownPhaseError(
                f"{function[1]} of {function[0]} was not called. Update the phases in {__name__}."
            )
        if not callers:
            return float(sum(entry[3] for entry in found))
        return float(
            sum(
                called[3]
                for entry in found
                for (_, _, name), called in entry[4].items()
                if name in callers
            )
        )
