# ruff: noqa: T201 - what it prints is what it is for
"""``python -m tests.chaos.run``: all scenarios, a table, and one last line that says it all."""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

from postgres import Postgres
from prefect_server import running_prefect_server

from . import namespaces, scenarios, workers
from .cancellation import cancellations
from .controls import CONTROLS
from .faults import faults
from .flow_runs import flow_runs
from .flows import PROGRAMS
from .harness import Rig
from .judging import Reference, Verdict
from .recovery import recoveries
from .reference import take_reference
from .scenarios import Scenario
from .stops import stops

PAIRS = 80
ROUNDS = 20
_TAIL = 25
_UNREACHED_SHARE = 0.05
"""Of the runs that were to be killed, so many may end before: polls are not counted alike."""


@contextmanager
def started(count: int, *, ledger_url: str | None, control: str | None) -> Iterator[list[Rig]]:
    """Start rigs, all at the same time, and one Prefect server for the flows of all of them."""
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-prefect-")))
        url = stack.enter_context(running_prefect_server(home))
        rigs = [Rig(ledger_url=ledger_url, control=control, prefect_url=url) for _ in range(count)]
        yield list(pool.map(stack.enter_context, rigs))


@contextmanager
def shared_ledger(*, wanted: bool) -> Iterator[str | None]:
    """Start a PostgreSQL server, if one is wanted, and give the URL of a ledger in it."""
    if not wanted:
        yield None
        return
    server = Postgres()
    try:
        yield server.new_store()
    finally:
        server.remove()


def carry_out(rig: Rig, scenario: Scenario, reference: Reference) -> Verdict:
    """Play a scenario and judge it."""
    began = time.monotonic()
    run = rig.begin("chaos", scenario.deed)
    try:
        endings = scenario.play(run)
        verdict = scenario.judge(run, scenario.allowed, endings, reference)
    except Exception:  # noqa: BLE001 - one broken run must not end all others
        verdict = Verdict()
        verdict.mismatch(f"the run broke off: {traceback.format_exc()}")
        run.abandon()
    else:
        kills = sum(ending.killed for ending in endings)
        verdict.unreached = kills < scenario.kills or (scenario.strict and run.unused)
    verdict.seconds = time.monotonic() - began
    if not verdict.good:
        verdict.problems += [child.tail(_TAIL) for child in run.children]
    return verdict


def carry_out_all(
    rigs: Sequence[Rig],
    chosen: Sequence[Scenario],
    references: Mapping[str, Reference],
    tell: Callable[[Scenario, Verdict], None],
) -> dict[str, Verdict]:
    """Carry scenarios out, as many at once as there are rigs.

    Args:
        rigs: Where.
        chosen: The scenarios.
        references: The uninterrupted run of each deed.
        tell: Is told of each verdict.
    """
    free: queue.SimpleQueue[Rig] = queue.SimpleQueue()
    for rig in rigs:
        free.put(rig)
    telling = threading.Lock()

    def one(scenario: Scenario) -> tuple[str, Verdict]:
        rig = free.get()
        try:
            verdict = carry_out(rig, scenario, references[scenario.deed])
        finally:
            free.put(rig)
        with telling:
            tell(scenario, verdict)
        return scenario.title, verdict

    with ThreadPoolExecutor(len(rigs)) as pool:
        try:
            return dict(pool.map(one, chosen))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def everything(
    rig: Rig, references: Mapping[str, Reference], *, seed: int, rounds: int, wipe: bool
) -> list[Scenario]:
    """Return the scenarios of the full run; the rig finds out what an attempt passes."""
    reference = references["run"]
    return [
        *scenarios.crash_points(reference),
        *recoveries(rig, reference, wipe=wipe),
        *scenarios.requests(reference),
        *scenarios.pairs(reference, PAIRS, seed),
        *scenarios.lags(),
        *scenarios.forks(),
        *faults(),
        *workers.paused(),
        *workers.paused_openings(),
        *workers.rounds(rounds, seed),
        *_namespaces(),
        *cancellations(rig, reference),
        *stops(),
        *(scenarios.wiped(scenarios.WIPES) if wipe else ()),
        *(scenarios.older_copies() if wipe else ()),
        *chain.from_iterable(flow_runs(deed, references[deed]) for deed in PROGRAMS),
    ]


def _namespaces() -> list[Scenario]:
    why_not = namespaces.why_not()
    if why_not is not None:
        print(f"{'left out':10}namespaces: {why_not}", flush=True)
        return []
    return list(namespaces.apart())


def summary(verdicts: Iterable[Verdict]) -> tuple[str, bool]:
    """Return the last line, and whether all is well."""
    all_of_them = list(verdicts)
    double, lost, mismatched, twins = (
        sum(getattr(verdict, what) for verdict in all_of_them)
        for what in ("double", "lost", "mismatched", "twins")
    )
    unreached = sum(verdict.unreached for verdict in all_of_them)
    enough = bool(all_of_them) and unreached <= max(2, _UNREACHED_SHARE * len(all_of_them))
    line = (
        f"{len(all_of_them)} runs: {double} double, {lost} lost, {mismatched} mismatched, "
        f"{twins} twins"
    )
    return line, enough and not (double or lost or mismatched)


def _table(verdicts: dict[str, Verdict]) -> str:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for title, verdict in verdicts.items():
        groups[title.partition(": ")[0]].append(verdict)
    columns = ("runs", "attempts", "D", "L", "M", "T", "orphans", "unreached", "seconds")
    lines = [f"{'':16}" + "".join(f"{column:>10}" for column in columns)]
    for group, those in groups.items():
        numbers = [
            len(those),
            *(
                sum(getattr(verdict, name) for verdict in those)
                for name in ("attempts", "double", "lost", "mismatched", "twins")
            ),
            sum(verdict.orphans for verdict in those),
            sum(verdict.unreached for verdict in those),
            round(sum(verdict.seconds for verdict in those)),
        ]
        lines.append(f"{group:16}" + "".join(f"{number:>10}" for number in numbers))
    return "\n".join(lines)


def _matrix(verdicts: dict[str, Verdict]) -> str:
    """Return a table of the faults: one row each, and a column for each phase."""
    marks: dict[str, dict[str, str]] = defaultdict(dict)
    for title, verdict in verdicts.items():
        name, cross, phase = title.removeprefix("faults: ").partition(" × ")
        if cross:
            mark = "ok" if verdict.good else "WRONG"
            marks[name][phase] = f"{mark}, T {verdict.twins}" if verdict.twins else mark
    phases = list(dict.fromkeys(phase for row in marks.values() for phase in row))
    rows = {"": {phase: phase for phase in phases}, **marks}
    return "\n".join(
        f"{name:38}" + "".join(f"{row.get(phase, '-'):<11}" for phase in phases).rstrip()
        for name, row in rows.items()
        if phases
    )


def _tell(scenario: Scenario, verdict: Verdict) -> None:
    if verdict.good:
        mark = "unreached" if verdict.unreached else "ok"
        twins = f", {verdict.twins} twins" if verdict.twins else ""
        print(f"{mark:10}{scenario.title} ({verdict.seconds:.1f} s{twins})", flush=True)
        return
    print(f"{'WRONG':10}{scenario.title}", flush=True)
    for problem in verdict.problems:
        print("    " + problem.replace("\n", "\n    "), flush=True)
    print(f"    again: make chaos ARGS=\"--only '{scenario.title}'\"", flush=True)


def _chosen(all_of_them: list[Scenario], only: list[str], every: int) -> list[Scenario]:
    if only:
        all_of_them = [one for one in all_of_them if any(text in one.title for text in only)]
    return all_of_them[::every]


def main() -> int:
    """Run what the command line asks for; 0 if nothing is double, lost or mismatched."""
    parser = argparse.ArgumentParser(prog="tests.chaos.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="titles with this text in them")
    parser.add_argument("--quick", action="store_true", help="every tenth scenario")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of two workers at once")
    parser.add_argument("--seed", type=int, default=1, help="of what is random")
    parser.add_argument(
        "--postgresql", action="store_true", help="one PostgreSQL instead of an SQLite file each"
    )
    parser.add_argument("--negative-control", choices=sorted(CONTROLS), help="must fail")
    asked = parser.parse_args()
    # So that platforms and processes are ended as well when the run is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    with (
        shared_ledger(wanted=asked.postgresql) as ledger_url,
        started(asked.jobs, ledger_url=ledger_url, control=asked.negative_control) as rigs,
    ):
        references = {deed: take_reference(rigs[0], deed) for deed in ("run", *PROGRAMS)}
        wipe = ledger_url is None
        available = everything(rigs[0], references, seed=asked.seed, rounds=asked.rounds, wipe=wipe)
        chosen = _chosen(available, asked.only, 10 if asked.quick else 1)
        verdicts = carry_out_all(rigs, chosen, references, _tell)
    line, good = summary(verdicts.values())
    print(f"\n{_matrix(verdicts)}\n\n{_table(verdicts)}")
    print(f"\n{time.monotonic() - began:.0f} s\n{line}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
