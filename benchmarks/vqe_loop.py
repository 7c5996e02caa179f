"""Parts (a), (b) and (c): a VQE's wall-clock time, its requests, and how busy the QPU is.

In every round each loop runs in a fresh process, one after another, against one platform. For each
run:

- *wall-clock*: from the start of the first evaluation to the last result; the session is open
  before. The *whole* includes connecting, opening and closing, and for flows Prefect's engine.
- *lateness*: from a job's end at the platform to having its result, the median over the jobs.
- *client time*: the wall-clock time per job, minus the QPU's working time, minus the least server
  time that a job needs: one POST, one look, one result, measured over a bare connection.
- *requests*: all requests at the platform, from connecting to closing, per job.
- *QPU share*: the QPU's working time for the session, as a share of the session's active time.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from benchmarks.measuring import Figure, Part, Table, ratios
from benchmarks.peers import PEERS, Peer, PeerError, made_peers
from benchmarks.probe import least_server_seconds
from benchmarks.rig import BenchmarkError, Rig
from benchmarks.work import BACKEND, new_work, place
from session_block.local_platform import LocalPlatform

Run = dict[str, Any]
_JUDGED = (0.2, 1.0)
_PEERS_AT = 0.2
_PEERS_EVALUATIONS = 20
_PAGE = 200


def measure(rig: Rig) -> Part:
    """Measure all loops at each QPU time."""
    part = Part()
    evaluations = 10 if rig.quick else 50
    peers = made_peers(part.missing)
    server = None
    by_time: dict[float, dict[str, list[Run]]] = {}
    for seconds, loops in _plan(rig.quick).items():
        with rig.platform(f"vqe-{seconds:g}", job_seconds=seconds) as platform:
            bench = _Bench(rig, platform, evaluations)
            runs = by_time[seconds] = bench.rounds(loops)
            if seconds == _PEERS_AT and peers:
                bench.add_peers(runs, peers, part.missing)
            if server is None:
                server = least_server_seconds(platform)
            if seconds == _PEERS_AT:
                part.data["phases"] = {loop: bench.phases(loop) for loop in ("bare", "flow")}
    part.data["server_seconds"] = server
    for seconds, runs in by_time.items():
        for run in (one for found in runs.values() for one in found):
            run["client"] = run["wall"] / run["jobs"] - run["qpu"] - sum((server or {}).values())
        part.data[f"{seconds:g}"] = runs
    _figures(part, by_time)
    _tables(part, by_time)
    return part


def _plan(quick: bool) -> dict[float, dict[str, int]]:
    """Return the number of rounds of each loop, at each QPU time."""
    if quick:
        return {seconds: {"bare": 1, "flow": 1} for seconds in _JUDGED}
    return {
        0.0: {"bare": 3, "flow": 3, "library": 3},
        0.2: {"bare": 4, "flow": 4, "library": 2},
        1.0: {"bare": 2, "flow": 2},
    }


class _Bench:
    """Runs loops against one platform, and asks the platform what it saw."""

    def __init__(self, rig: Rig, platform: LocalPlatform, evaluations: int) -> None:
        self._rig = rig
        self._platform = platform
        self._work = new_work(evaluations)
        self._count = 0

    def rounds(self, loops: Mapping[str, int]) -> dict[str, list[Run]]:
        """Run the given number of rounds of each loop, one after another."""
        runs: dict[str, list[Run]] = defaultdict(list)
        for number in range(max(loops.values())):
            for loop in (one for one, rounds in loops.items() if number < rounds):
                runs[loop].append(self._run(loop))
        return dict(runs)

    def add_peers(
        self, runs: dict[str, list[Run]], peers: Sequence[Peer], missing: dict[str, str]
    ) -> None:
        """Run the other packages' loops, as often as the bare one but at most twice."""
        for peer in peers:
            try:
                runs[peer.name] = [self._run(peer.name, peer) for _ in runs["bare"][:2]]
            except PeerError as error:
                missing[f"added/{peer.name}"] = str(error)

    def phases(self, loop: str) -> dict[str, float]:
        """Return the seconds of each phase of an evaluation, under a profiler."""
        answer = self._child(loop, "profile")
        evaluations = len(answer["evaluations"])
        return {name: spent / evaluations for name, spent in answer["phases"].items()}

    def _run(self, loop: str, peer: Peer | None = None) -> Run:
        before = self._requests()
        answer = self._child(loop) if peer is None else self._peers_child(peer)
        requests = self._requests()
        sent = {
            route: count - before.get(route, 0)
            for route, count in requests.items()
            if count > before.get(route, 0)
        }
        posts = sum(count for route, count in sent.items() if _is_a_submission(route))
        evaluations = len(answer["evaluations"])
        if posts != evaluations:
            raise BenchmarkError(f"{loop} made {posts} jobs of {evaluations} evaluations")
        jobs = self._platform.jobs(limit=evaluations)[::-1]
        sessions = {one["id"]: one for one in self._platform.sessions(limit=_PAGE)}
        return _measured(answer, jobs, sessions, sent)

    def _child(self, loop: str, *arguments: str) -> dict[str, Any]:
        self._count += 1
        spec = {
            **self._work,
            **place(self._platform),
            "experiment": f"vqe-{self._count}-{loop}",
        }
        environment = self._platform.environment if loop == "bare" else {}
        if loop == "flow":
            environment = {"PREFECT_API_URL": self._rig.prefect_url}
        return self._rig.child("loops", loop, *arguments, spec=spec, environment=environment)

    def _peers_child(self, peer: Peer) -> dict[str, Any]:
        info = self._platform.info
        spec = {
            **self._work,
            "points": self._work["points"][:_PEERS_EVALUATIONS],
            "backend": BACKEND,
            "token": info.token,
            "instance": info.instance,
            "origin": info.origin,
        }
        environment = {**self._platform.environment, "PREFECT_API_URL": self._rig.prefect_url}
        return peer.run(self._rig, spec, environment)

    def _requests(self) -> dict[str, int]:
        counts: dict[str, int] = self._platform.stats()["requests"]
        return {route: count for route, count in counts.items() if "/_local/" not in route}


def _is_a_submission(route: str) -> bool:
    method, _, path = route.partition(" ")
    return method == "POST" and path.endswith("/jobs")


def _measured(
    answer: dict[str, Any],
    jobs: Sequence[Mapping[str, Any]],
    sessions: Mapping[str, Any],
    sent: Mapping[str, int],
) -> Run:
    evaluations = answer["evaluations"]
    worked = [_moment(job["finished"]) - _moment(job["running"]) for job in jobs]
    late = [
        one["ended"] - _moment(job["finished"]) for one, job in zip(evaluations, jobs, strict=True)
    ]
    active = sum(
        sessions[one]["usage_seconds"] for one in {job["session_id"] for job in jobs} if one
    )
    return {
        "jobs": len(evaluations),
        "wall": evaluations[-1]["ended"] - evaluations[0]["began"],
        "whole": answer["whole"][1] - answer["whole"][0],
        "lateness": statistics.median(late),
        "qpu": statistics.fmean(worked),
        "share": sum(worked) / active if active else None,
        "requests": sum(sent.values()) / len(evaluations),
        "cpu": answer["cpu_seconds"] / len(evaluations),
        "routes": dict(sent),
        "values": [one["value"] for one in evaluations],
    }


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _of(runs: Sequence[Run], name: str) -> list[float]:
    return [float(run[name]) for run in runs]


def _added(runs: Mapping[str, list[Run]], loop: str) -> list[float]:
    """Return the time that a loop adds per primitive, compared with the bare loop of each round."""
    return [
        one["wall"] / one["jobs"] - bare["wall"] / bare["jobs"]
        for one, bare in zip(runs[loop], runs["bare"], strict=False)
    ]


def _figures(part: Part, by_time: Mapping[float, dict[str, list[Run]]]) -> None:
    worst: dict[str, list[Figure]] = defaultdict(list)
    for seconds, runs in by_time.items():
        pair = {
            name: ratios(_of(runs["flow"], name), _of(runs["bare"], name))
            for name in ("wall", "lateness", "client", "requests", "share")
        }
        part.figures[f"wall/{seconds:g}"] = pair["wall"]
        part.figures[f"requests/{seconds:g}"] = pair["requests"]
        if seconds in _JUDGED:
            for name in ("lateness", "client", "share"):
                worst[name].append(pair[name])
    for name, found in worst.items():
        choose = min if name == "share" else max
        part.figures[name] = choose(found, key=lambda one: one.value)
    runs = by_time[_PEERS_AT]
    for name in (one for one in PEERS if one in runs):
        ours, theirs = Figure.of(_added(runs, "flow")), Figure.of(_added(runs, name))
        part.figures[f"added/{name}"] = Figure(
            ours.value / theirs.value,
            ours.low / theirs.value,
            ours.high / theirs.value,
            ours.rounds,
        )


def _tables(part: Part, by_time: Mapping[float, dict[str, list[Run]]]) -> None:
    rows = []
    for seconds, runs in by_time.items():
        for loop, found in runs.items():
            pairs = min(len(found), len(runs["bare"]))
            alike = found[0]["jobs"] == runs["bare"][0]["jobs"]
            wall = ratios(_of(found[:pairs], "wall"), _of(runs["bare"][:pairs], "wall"))
            shares = [run["share"] for run in found if run["share"] is not None]
            rows.append(
                [
                    f"{seconds:g} s",
                    loop,
                    wall.text(3) if alike else "–",
                    Figure.of(1000 * one for one in _added(runs, loop)).text(1),
                    _milliseconds(found, "lateness"),
                    _milliseconds(found, "client"),
                    _milliseconds(found, "cpu"),
                    Figure.of(_of(found, "requests")).text(1),
                    Figure.of(100 * share for share in shares).text(1) if shares else "no session",
                    Figure.of(_of(found, "whole")).text(1),
                ]
            )
    head = ["QPU time", "loop", "wall-clock / bare", "added for each job, ms", "lateness, ms"]
    head += ["client time, ms", "CPU, ms", "requests", "QPU share, %", "whole, s"]
    part.tables.append(Table("(a), (b), (c): a VQE, for each job", head, rows))
    phases: dict[str, dict[str, float]] = part.data["phases"]
    names = list(dict.fromkeys(name for spent in phases.values() for name in spent))
    part.tables.append(
        Table(
            f"(a) phases of an evaluation at {_PEERS_AT:g} s of QPU time, ms, under a profiler",
            ["loop", *names],
            [
                [loop, *(f"{1000 * spent[one]:.1f}" if one in spent else "–" for one in names)]
                for loop, spent in phases.items()
            ],
        )
    )


def _milliseconds(runs: Sequence[Run], name: str) -> str:
    return Figure.of(1000 * value for value in _of(runs, name)).text(1)
