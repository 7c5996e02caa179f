"""The uninterrupted runs, with which all others are compared."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from session_block.crashpoints import CRASH_LOG

from .child import EVALUATIONS
from .flows import PROGRAMS
from .harness import Rig
from .judging import Allowed, Reference, by_submission, jobs_of, judge


def take_reference(rig: Rig, deed: str = "run") -> Reference:
    """Run the experiment, or a flow, without any disturbance.

    Raises:
        RuntimeError: Even so it does not end right.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "passages"
        before = rig.requests()
        run = rig.begin("reference", deed)
        ending = run.start(environment={CRASH_LOG: str(log)}).end()
        if ending.result is None:
            raise RuntimeError(f"the uninterrupted run failed: {run.children[0].tail(50)}")
        after = rig.requests()
        reference = Reference(
            result=ending.result,
            submissions=frozenset(by_submission(jobs_of(run))),
            passages=numbered(log.read_text("utf-8").splitlines()),
            requests={
                route: count - before.get(route, 0)
                for route, count in after.items()
                if count > before.get(route, 0)
            },
        )
        program = PROGRAMS.get(deed)
        experiments, jobs = (program.experiments, program.jobs) if program else (1, EVALUATIONS)
        verdict = judge(run, Allowed(sessions=experiments), [ending], reference)
        opened = len({one.partition(".")[0] for one in reference.submissions})
        made = len(reference.submissions)
        if not verdict.good or opened != experiments or made < jobs:
            raise RuntimeError(
                f"the uninterrupted run is not right: {made} submissions for {jobs} in {opened} "
                f"experiments for {experiments}, {verdict}"
            )
        return reference


def numbered(points: list[str]) -> tuple[str, ...]:
    """Return each passage as ``point:n``, in order."""
    seen: Counter[str] = Counter()
    passages = []
    for point in points:
        seen[point] += 1
        passages.append(f"{point}:{seen[point]}")
    return tuple(passages)
