"""A platform of one's own, and real processes that run the experiment against it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psutil
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient

from session_block.crashpoints import CRASH_AT
from session_block.ledger.store import Ledger
from session_block.local_platform import LocalPlatform
from session_block.records.identity import identify

from .flows import PROGRAMS
from .zygote import STOPPED

ATTEMPT_SECONDS = 240.0
"""An attempt that takes longer hangs. It is killed, and its run has failed."""

ZYGOTES = 2
APART = ("unshare", "--pid", "--fork", "--mount-proc")
"""Runs a command in a PID namespace of its own, with a ``/proc`` to match, as a container does."""

_ROUTES_OF_OTHERS = "/_local/"


@dataclass(frozen=True)
class Ending:
    """How one attempt ended."""

    code: int
    error: str | None = None
    message: str = ""
    result: dict[str, Any] | None = field(default=None, repr=False)
    hung: bool = False

    @property
    def killed(self) -> bool:
        """Whether it was killed, as a scenario wanted it."""
        return self.code == -signal.SIGKILL and not self.hung


class Zygote:
    """A warm process that forks children; see :mod:`chaos.zygote`.

    Args:
        hash_seed: Python's, so that two zygotes' children differ as two machines' do.
        home: ``PREFECT_HOME`` of the children.
        apart: Whether it and its children are in a PID namespace of their own.
    """

    def __init__(self, hash_seed: int, home: Path, *, apart: bool = False) -> None:
        self._apart = apart
        tests = Path(__file__).parents[1]
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "QISKIT_"))}
        paths = [str(tests), str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [*(APART if apart else ()), sys.executable, "-m", "chaos.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={
                **ours,
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONHASHSEED": str(hash_seed),
                "OPENBLAS_NUM_THREADS": "1",
                "PREFECT_HOME": str(home),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
        )

    def ready(self) -> None:
        """Wait until everything is imported."""
        self.answer(ATTEMPT_SECONDS)

    def ask(self, order: Mapping[str, Any]) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def answer(self, seconds: float) -> Any:
        """Return the answer to the order.

        Raises:
            TimeoutError: There is none in time; it is still to come.
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            raise TimeoutError
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the zygote ended with code {self._process.wait()}")
        return json.loads(line)

    def seen_here(self, pid: int) -> int:
        """Return the process ID that a child, which the zygote knows by this one, has here."""
        if not self._apart:
            return pid
        family = psutil.Process(self._process.pid).children(recursive=True)
        return next(one.pid for one in family if _innermost_pid(one.pid) == pid)

    def close(self) -> None:
        """End the zygote; its children have ended before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _innermost_pid(pid: int) -> int:
    """Return the ID of a process in its own PID namespace."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


class Child:
    """One attempt: a process that waits for :meth:`go` before it does anything."""

    def __init__(self, zygote: Zygote, order: Mapping[str, Any]) -> None:
        self._zygote = zygote
        self._ending = Path(order["ending"])
        self.log = Path(order["log"])
        self.ended = False
        zygote.ask(order)
        self._pid_there = int(zygote.answer(ATTEMPT_SECONDS))
        self.pid = zygote.seen_here(self._pid_there)

    def go(self) -> None:
        """Let it begin."""
        os.kill(self.pid, signal.SIGUSR1)

    def resume(self) -> None:
        """Let it go on if it is stopped."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, even if it is stopped."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ending | None:
        """Return how it ended, or ``None`` as soon as it is stopped."""
        hung = False
        self._zygote.ask({"wait": self._pid_there})
        try:
            answer = self._zygote.answer(ATTEMPT_SECONDS)
        except TimeoutError:
            hung = True
            self.kill()
            answer = self._zygote.answer(ATTEMPT_SECONDS)
        if answer == STOPPED:
            return None
        self.ended = True
        with suppress(FileNotFoundError):
            return Ending(answer, hung=hung, **json.loads(self._ending.read_text("utf-8")))
        return Ending(answer, hung=hung)

    def tail(self, lines: int) -> str:
        """Return the end of what it wrote."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def end(self) -> Ending:
        """Return how it ended. One that is stopped now is awaited; one that stops is let go on."""
        while (ending := self.wait()) is None:
            self.resume()
        return ending


class Rig:
    """A platform, and two zygotes. It serves one run at a time.

    A third zygote, in another PID namespace, is started when it is first needed.

    Args:
        ledger_url: A database for the ledgers of all runs; ``None`` for a new SQLite file each.
        control: How the product is broken in the children, to see that the harness notices.
        prefect_url: API of the Prefect server for flows; ``None`` if none are run.
    """

    platform: LocalPlatform

    def __init__(
        self,
        *,
        ledger_url: str | None = None,
        control: str | None = None,
        prefect_url: str | None = None,
    ) -> None:
        self._shared_ledger = ledger_url
        self._prefect_url = prefect_url
        self.control = control
        self._apart: Zygote | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
            self._directory = Path(directory)
            self._zygotes = [Zygote(1 + n, self._directory) for n in range(ZYGOTES)]
            for zygote in self._zygotes:
                stack.callback(zygote.close)
            self.platform = stack.enter_context(
                LocalPlatform(noise="shots", seed=11, interactive_seconds=1)
            )
            for zygote in self._zygotes:
                zygote.ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, label: str, deed: str = "run") -> Run:
        """Begin a run: a new name, a new ledger, no faults.

        The name is the experiment's, or a new flow run's ID.
        """
        self.platform.clear_faults()
        program = PROGRAMS.get(deed)
        name = f"{label}-{uuid4().hex[:8]}" if program is None else self._new_flow_run(program.flow)
        path = self._directory / f"{name}.db"
        return Run(self, name, self._shared_ledger or f"sqlite:///{path}", self._directory, deed)

    def _new_flow_run(self, flow: Flow[[], Any]) -> str:
        """Make a flow run, which each attempt will run."""
        assert self._prefect_url is not None
        # Prefect's own client tries again when the server is busy.
        with SyncPrefectClient(self._prefect_url) as client:
            return str(client.create_flow_run(flow).id)

    def child(self, order: Mapping[str, Any], zygote: int, *, apart: bool = False) -> Child:
        """Fork a child of one of the zygotes, or of the one in another PID namespace."""
        info = self.platform.info
        connection = {"token": info.token, "instance": info.instance, "url": info.url}
        more = {**connection, "control": self.control, "prefect": self._prefect_url}
        chosen = self._zygote_apart() if apart else self._zygotes[zygote % ZYGOTES]
        return Child(chosen, {**order, **more})

    def _zygote_apart(self) -> Zygote:
        if self._apart is None:
            self._apart = Zygote(1 + ZYGOTES, self._directory, apart=True)
            self._stack.callback(self._apart.close)
            self._apart.ready()
        return self._apart

    def requests(self) -> dict[str, int]:
        """Return how often each operation was called so far."""
        counts: dict[str, int] = self.platform.stats()["requests"]
        return {route: n for route, n in counts.items() if _ROUTES_OF_OTHERS not in route}

    def revive(self) -> None:
        """Wait until the platform is dead, and start it again."""
        with suppress(psutil.NoSuchProcess):
            psutil.Process(self.platform.info.pid).wait(ATTEMPT_SECONDS)
        self.platform.restart()


class Run:
    """The attempts at one experiment, or at one flow run.

    Attributes:
        notes: What its play has found wrong.
    """

    def __init__(
        self, rig: Rig, name: str, ledger_url: str, directory: Path, deed: str = "run"
    ) -> None:
        self.rig = rig
        self.name = name
        self.deed = deed
        self.ledger_url = ledger_url
        self.sessions_before = rig.platform.stats()["sessions"]["total"]
        self.children: list[Child] = []
        self.unused = False
        self.notes: list[str] = []
        self._directory = directory

    def start(
        self,
        *,
        kill_at: str | None = None,
        pause_at: str | None = None,
        environment: Mapping[str, str] | None = None,
        rules: tuple[Mapping[str, Any], ...] = (),
        block: Mapping[str, Any] | None = None,
        deed: str | None = None,
        apart: bool = False,
    ) -> Child:
        """Start an attempt.

        Args:
            kill_at: Passage of a crash point at which it is killed.
            pause_at: Passage of a crash point at which it is stopped.
            environment: More environment variables.
            rules: Faults of the platform; their ``pid`` may be ``child`` or ``platform``.
            block: More fields of the attempt's Block.
            deed: Another deed than the run's, such as to ``cancel`` the experiment.
            apart: Whether it is in another PID namespace than this process.
        """
        number = len(self.children)
        at = kill_at or pause_at
        order = {
            "deed": deed or self.deed,
            "name": self.name,
            "ledger_url": self.ledger_url,
            "block": dict(block or {}),
            "environment": {**(environment or {}), **({CRASH_AT: at} if at else {})},
            "pause": pause_at is not None,
            "ending": str(self._directory / f"{self.name}.{number}.json"),
            "log": str(self._directory / f"{self.name}.{number}.log"),
        }
        child = self.rig.child(order, number, apart=apart)
        self.children.append(child)
        pids = {"child": child.pid, "platform": self.rig.platform.info.pid}
        for rule in rules:
            pid = rule.get("pid")
            known = {"pid": pids[pid]} if isinstance(pid, str) else {}
            self.rig.platform.add_fault(**{**rule, **known})
        child.go()
        return child

    def clear_faults(self) -> None:
        """Remove all faults, and note it if one of them never acted: that run proves nothing."""
        self.unused |= any(not rule["used"] for rule in self.rig.platform.faults())
        self.rig.platform.clear_faults()

    def abandon(self) -> None:
        """Kill what a run that broke off has left behind."""
        for child in self.children:
            if not child.ended:
                child.kill()
                child.end()

    def wipe(self) -> None:
        """Delete the ledger, as a machine does that loses its disk."""
        for file in self._ledger.parent.glob(f"{self._ledger.name}*"):
            file.unlink()

    def copy(self) -> None:
        """Make a copy of the ledger. It is not empty: it knows at least another experiment."""
        with closing(Ledger(self.ledger_url)) as ledger:
            identify(ledger, "an earlier one")
        self._copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self._ledger)) as database:
            database.execute("VACUUM INTO ?", (str(self._copy),))

    def restore(self) -> None:
        """Let the last copy take the ledger's place, as when a backup is brought back."""
        self.wipe()
        shutil.copyfile(self._copy, self._ledger)

    @property
    def _ledger(self) -> Path:
        return Path(self.ledger_url.removeprefix("sqlite:///"))

    @property
    def _copy(self) -> Path:
        return self._directory / f"copy-of-{self._ledger.name}"
