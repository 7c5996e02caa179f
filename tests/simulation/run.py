# ruff: noqa: T201 - what it prints is what it is for
"""Run many worlds, and tell what they broke: ``make simulate``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of the seed
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation.run", *sys.argv[1:]])  # noqa: S606

from .faults import Fault
from .planted import PLANTS, planted
from .scenario import SEEDS, Outcome, run_world

TOLD = 20
"""How many broken worlds are told, at most."""


@dataclass(frozen=True)
class Short:
    """What a summary needs of a world's outcome."""

    seed: int
    broken: Sequence[str]
    effects: int
    jobs: int
    over: Sequence[str]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many worlds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run one world, and tell its story")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="with --seed: undo a safeguard")
    parser.add_argument(
        "--planted", nargs="*", choices=sorted(PLANTS), help="find these planted faults, or all"
    )
    parser.add_argument("--no-shrink", action="store_true", help="tell the story as it is")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        return run_one(chosen.seed, chosen.plant, shrunk=not chosen.no_shrink)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    if chosen.planted is not None:
        return find_planted(chosen.planted or list(PLANTS), seeds, chosen.jobs)
    return run_many(seeds, chosen.jobs)


def run_one(seed: int, plant: str | None, *, shrunk: bool) -> int:
    """Run one world and tell its story; if it breaks a promise, with as few faults as do."""
    with planted(plant):
        outcome = run_world(seed)
        if outcome.broken and shrunk:
            outcome = shrink(outcome)
    for moment, who, what in outcome.story:
        print(f"{moment:10.3f}  {who:18}  {what}")
    print(f"faults: {', '.join(f'{one.kind} (from effect {one.at})' for one in outcome.faults)}")
    print(f"{outcome.effects} effects; ends: {', '.join(outcome.over)}")
    print("\n".join(outcome.broken) or "all promises held")
    return bool(outcome.broken)


def run_many(seeds: Sequence[int], jobs: int) -> int:
    """Run worlds; print those that break a promise, and how many there are."""
    began = time.monotonic()
    ends: list[Short] = []
    with ProcessPoolExecutor(jobs) as pool:
        for short in pool.map(_short, seeds, chunksize=8):
            ends.append(short)
            if short.broken and sum(bool(one.broken) for one in ends) <= TOLD:
                print(f"seed {short.seed}: {short.broken[0][:300]}", flush=True)
    seconds = time.monotonic() - began
    over = _counted(of for one in ends for of in one.over)
    print(
        f"{len(ends)} worlds in {seconds:.0f} s ({len(ends) / seconds:.1f} a second), "
        f"{median(one.effects for one in ends):.0f} effects in the median, "
        f"{sum(one.jobs for one in ends)} jobs; programs: {over}"
    )
    broken = Counter(one.partition(":")[0] for short in ends for one in short.broken[:1])
    kinds = {"double": "P1", "lost": "P2", "mismatched": "P7", "stuck": "liveness"}
    told = [f"{broken.pop(kind, 0)} {name}" for name, kind in kinds.items()]
    told += [f"{number} against {promise}" for promise, number in sorted(broken.items())]
    print(", ".join(told))
    return any(one.broken for one in ends)


def find_planted(names: Iterable[str], seeds: Sequence[int], jobs: int) -> int:
    """Look for each planted fault; print the first seed that finds it, and how many are missed."""
    missed = 0
    with ProcessPoolExecutor(jobs) as pool:
        asked = {name: pool.submit(_first_found, name, seeds) for name in names}
        for name, answer in asked.items():
            found = answer.result()
            missed += found is None
            told = f"NOT FOUND in {len(seeds)} worlds" if found is None else found
            print(f"{name}: {told}", flush=True)
    print(f"{len(asked) - missed} of {len(asked)} planted faults found")
    return missed


def shrink(outcome: Outcome) -> Outcome:
    """Return the world with as few faults as break the same promise."""
    promise = outcome.broken[0].partition(":")[0]
    smallest, faults = outcome, list(outcome.faults)
    for fault in outcome.faults:
        fewer: list[Fault] = [one for one in faults if one is not fault]
        tried = run_world(outcome.seed, fewer)
        if any(one.startswith(promise) for one in tried.broken):
            faults, smallest = fewer, tried
    return smallest


def _short(seed: int) -> Short:
    outcome = run_world(seed)
    jobs = outcome.jobs
    return Short(seed, list(outcome.broken), outcome.effects, jobs, list(outcome.over))


def _first_found(name: str, seeds: Sequence[int]) -> str | None:
    for seed in seeds:
        with planted(name):
            outcome = run_world(seed)
        if outcome.broken and not run_world(seed).broken:  # the plant broke it, nothing else
            return f"seed {seed}, {outcome.broken[0][:140]}"
    return None


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{number} {word or 'not over'}" for word, number in Counter(words).items())


if __name__ == "__main__":
    sys.exit(main())
