"""What the tests of modes, backends and expiry share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qiskit import QuantumCircuit
from support import BACKEND

from session_block import IBMSessionCredentials, LocalPlatformCredentials, QuantumSession
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import Fact
from session_block.local_platform import Admin, LocalPlatform, PlatformInfo
from session_block.tags import uid_tag

_TICK_SECONDS = 0.01


def bare(number: int = 0) -> QuantumCircuit:
    """Return a circuit of one qubit that fits every backend, another one for each number."""
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    circuit.rz(0.1 * number, 0)
    circuit.sx(0)
    return circuit


def measured(number: int = 0) -> QuantumCircuit:
    """Return the same circuit, measured."""
    circuit = bare(number)
    circuit.measure_all()
    return circuit


def block_for(
    info: PlatformInfo, ledger_url: str, *, instance: str | None = None, **fields: Any
) -> QuantumSession:
    """Return an unsaved Block for a platform, or for another of its instances than the first."""
    credentials = (
        LocalPlatformCredentials(state_dir=info.state_dir)
        if instance is None
        else IBMSessionCredentials(token=info.token, url=info.url, instance=instance)  # type: ignore[arg-type]
    )
    defaults = {"backend_name": BACKEND, "max_time": "1h"}
    return QuantumSession(
        credentials=credentials,
        ledger_url=ledger_url,  # type: ignore[arg-type]
        **{**defaults, **fields},
    )


def jobs_at(info: PlatformInfo, experiment: Experiment) -> list[dict[str, Any]]:
    """Return the experiment's jobs as the server has them, oldest first."""
    tag = uid_tag(experiment.uid)
    return [job for job in reversed(Admin.of(info).jobs()) if tag in job["tags"]]


def sessions_at(info: PlatformInfo, experiment: Experiment) -> list[dict[str, Any]]:
    """Return the experiment's sessions as the server has them, in the order of the ledger."""
    at_server = {one["id"]: one for one in Admin.of(info).sessions()}
    return [at_server[one.session_id] for one in experiment.sessions if one.session_id]


def facts_of(block: QuantumSession, experiment: Experiment, *prefixes: str) -> list[Fact]:
    """Return what the ledger holds of an experiment."""
    return block.ledger().facts(experiment.uid, *prefixes)


def submit(experiment: Experiment, *numbers: int) -> list[Any]:
    """Submit one small job for each number, and return their references."""
    return [experiment.submit_sampler([measured(number)], shots=8) for number in numbers]


def run(experiment: Experiment, number: int) -> Mapping[str, int]:
    """Run one small job, and return its counts."""
    result = experiment.run_sampler([measured(number)], shots=8)
    return dict(result[0].data.meas.get_counts())


@contextmanager
def jobs_taking(platform: LocalPlatform, seconds: float) -> Iterator[None]:
    """Let the still clock of a platform pass by what a job takes, whenever there is a job."""
    done = threading.Event()

    def keep_going() -> None:
        while not done.wait(_TICK_SECONDS):
            states = platform.stats()["jobs"]["by_state"]
            if states.get("queued") or states.get("running"):
                platform.advance(seconds)

    ticking = threading.Thread(target=keep_going)
    ticking.start()
    try:
        yield
    finally:
        done.set()
        ticking.join()
