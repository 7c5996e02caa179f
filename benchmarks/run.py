# ruff: noqa: T201 - what it prints is what it is for
"""``python -m benchmarks.run [--only PART,PART] [--quick]``: measure, judge, write, print.

Writes ``results.json``, ``table.md`` and ``figure.svg``, prints the table, and ends with the number
of targets met. The exit status is 0 if every measured target is met and no part failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    entered,
    executor,
    growth,
    imports,
    large,
    parallel,
    platform_latency,
    resume,
    vqe_loop,
)
from benchmarks.figure import draw
from benchmarks.measuring import Part
from benchmarks.report import about_the_machine, markdown
from benchmarks.rig import CHECKOUT, Rig
from benchmarks.targets import TARGETS, Target, conclusion, judge

PARTS: dict[str, Callable[[Rig], Part]] = {
    "vqe": vqe_loop.measure,
    "resume": resume.measure,
    "growth": growth.measure,
    "parallel": parallel.measure,
    "imports": imports.measure,
    "large": large.measure,
    "executor": executor.measure,
    "platform": platform_latency.measure,
    "entered": entered.measure,
}


def main(arguments: Sequence[str] | None = None, targets: Sequence[Target] = TARGETS) -> int:
    """Run the requested parts, and return the exit status."""
    asked = _parser().parse_args(arguments)
    chosen = asked.only.split(",") if asked.only else list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        print(f"There is no part {', '.join(unknown)}, only {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    machine = about_the_machine()
    parts: dict[str, Part] = {}
    failed: list[str] = []
    with Rig(asked.results, quick=asked.quick) as rig:
        for name in chosen:
            began = time.monotonic()
            print(f"{name} …", end=" ", file=sys.stderr, flush=True)
            try:
                parts[name] = PARTS[name](rig)
            except Exception:  # noqa: BLE001 - keep the results of the other parts
                failed.append(name)
                print(traceback.format_exc(), file=sys.stderr)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    figures = {key: one for part in parts.values() for key, one in part.figures.items()}
    missing = {key: why for part in parts.values() for key, why in part.missing.items()}
    verdicts = judge(figures, missing, parts, targets)
    table = markdown(parts, verdicts, machine)
    written = {
        "machine": machine,
        "quick": asked.quick,
        "figures": {key: asdict(one) for key, one in figures.items()},
        "missing": missing,
        "failed": failed,
        "met": {one.target.key: one.met for one in verdicts if one.figure is not None},
        "data": {name: part.data for name, part in parts.items()},
    }
    (asked.results / "results.json").write_text(json.dumps(written, indent=1) + "\n")
    (asked.results / "table.md").write_text(table)
    draw(parts, asked.results / "figure.svg")
    print(table)
    line, status = conclusion(verdicts)
    if failed:
        print(f"Failed, and not judged: {', '.join(failed)}.")
    print(line)
    return 1 if failed else status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", help=f"parts to run, separated by commas: {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument(
        "--results", type=Path, default=CHECKOUT / "benchmarks" / "results", help="output directory"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
