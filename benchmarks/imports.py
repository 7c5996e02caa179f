"""Part (g): import times, and the time until the first job is at the platform.

Imports are timed in fresh processes, in turn, with compiled bytecode. The time to the first job is
counted from the start of ``make demo``, with nothing running and nothing kept, and from the start
of a script with the bare client's loop, with its platform running already.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, Part, Table, ratios
from benchmarks.rig import CHECKOUT, BenchmarkError, Rig, free_port
from benchmarks.work import new_work
from session_block import local_platform
from session_block.local_platform import Admin

_BLOCK = "from session_block import QuantumSession"
_STATEMENTS = ("import prefect", "import session_block", _BLOCK, "import qiskit_ibm_runtime")
_SCRIPT = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
qiskit = [name for name in sys.modules if name.partition(".")[0].startswith("qiskit")]
print(json.dumps({{"seconds": seconds, "qiskit": len(qiskit)}}))
"""
_DEMO_SECONDS = 120
_LOOK_SECONDS = 0.02


def measure(rig: Rig) -> Part:
    """Time imports, the demo and a script with the bare client."""
    part = Part()
    rounds = 1 if rig.quick else 7
    taken: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds + 1):
        for statement in _STATEMENTS:
            taken[statement].append(_imported(rig, statement))
    seconds = {name: [one["seconds"] for one in runs[1:]] for name, runs in taken.items()}
    pairs = {name: ratios(found, seconds["import prefect"]) for name, found in seconds.items()}
    # The package imports its parts lazily: importing it alone takes no time.
    part.figures["import"] = pairs[_BLOCK]
    modules = max(one["qiskit"] for one in taken[_BLOCK])
    part.figures["import/qiskit"] = Figure.of([modules])
    rows = [
        [name, Figure.of(found).text(2), pairs[name].text(2), f"{taken[name][0]['qiskit']}"]
        for name, found in seconds.items()
    ]
    head = ["statement", "seconds", "/ import prefect", "modules of Qiskit"]
    part.tables.append(Table("(g) import time", head, rows))
    part.data["imports"] = taken
    times = 1 if rig.quick else 2
    first = {
        "make demo": Figure.of(_demo(rig, number) for number in range(times)),
        "a script with the bare client, its platform running": Figure.of(_script(rig, times)),
    }
    part.data["first_job_seconds"] = {name: one.value for name, one in first.items()}
    rows = [[name, one.text(1)] for name, one in first.items()]
    part.tables.append(Table("(g) from the start to the first job", ["", "seconds"], rows))
    return part


def _imported(rig: Rig, statement: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(statement=statement)],
        env=rig.environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _demo(rig: Rig, number: int) -> float:
    """Return the seconds from the start of ``make demo`` to its first job; then kill it."""
    home = rig.home / f"demo-{number}"
    state_dir = home / "platform"
    environment = {
        # Neither an outer make nor the user's Prefect server may affect the demo.
        **{key: value for key, value in rig.environment.items() if not key.startswith("MAKE")},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_PORT": str(free_port()),
        "SESSION_BLOCK_PLATFORM_DIR": str(state_dir),
    }
    log = rig.home / f"demo-{number}.log"
    began = time.time()
    with log.open("wb") as output:
        demo = subprocess.Popen(
            ["make", "demo"],  # noqa: S607 - the command that is to be timed
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            return _first_job(demo, state_dir, log) - began
        finally:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
            local_platform.stop(state_dir)


def _first_job(demo: subprocess.Popen[bytes], state_dir: Path, log: Path) -> float:
    deadline = time.monotonic() + _DEMO_SECONDS
    while time.monotonic() < deadline and demo.poll() is None:
        info = local_platform.find(state_dir)
        if info is not None and (jobs := Admin.of(info).jobs()):
            return datetime.fromisoformat(jobs[-1]["created"]).timestamp()
        time.sleep(_LOOK_SECONDS)
    raise BenchmarkError(f"make demo submitted nothing: {log.read_text()[-2000:]}")


def _script(rig: Rig, times: int) -> list[float]:
    with rig.platform("script") as platform:
        taken = []
        for _ in range(times):
            began = time.time()
            rig.child("loops", "bare", spec=new_work(1), environment=platform.environment)
            created = platform.jobs(limit=1)[0]["created"]
            taken.append(datetime.fromisoformat(created).timestamp() - began)
        return taken
