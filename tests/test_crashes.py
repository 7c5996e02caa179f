"""Killed or cut off at a request, before or after its effect: counted at the platform."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from proxy import CUT, proxy
from pydantic import SecretStr
from qiskit import QuantumCircuit, transpile
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from support import BACKEND, Platform

from session_block import IBMSessionCredentials, QuantumSession
from session_block.errors import SubmissionRejectedError
from session_block.ledger import Ledger

_PROGRAM = """
import sys
from session_block import IBMSessionCredentials, QuantumSession
from session_block.vqe import run_vqe

url, token, instance, ledger_url = sys.argv[1:]
block = QuantumSession(
    credentials=IBMSessionCredentials(token=token, instance=instance, url=url),
    backend_name="ibm_manila",
    ledger_url=ledger_url,
)
with block.experiment("crashes") as experiment:
    run_vqe(experiment, seed=5, optimizer_options={"maxiter": 6})
"""


class _Killer:
    """Kills the process under test at the n-th request of a kind, before or after its effect."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.at: tuple[str, str, int] | None = None
        self._seen: Counter[tuple[str, str]] = Counter()

    def run(self, arguments: list[str], at: tuple[str, str, int] | None) -> int:
        """Run the program and return its exit code."""
        self.at = at
        self._seen.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, errors = self.process.communicate(timeout=120)
        assert self.process.returncode in {0, -signal.SIGKILL}, errors.decode()
        return self.process.returncode

    def __call__(self, moment: str, request: str) -> int | None:
        request = re.sub(
            r"/jobs/\w+", "/jobs/ID", re.sub(r"/sessions/\w+", "/sessions/ID", request)
        )
        self._seen[moment, request] += 1
        if self.at != (moment, request, self._seen[moment, request]):
            return None
        assert self.process is not None
        self.process.kill()
        return CUT


def test_killed_at_every_kind_of_request_it_ends_as_if_never_killed(
    platform: Platform, ledger_url: str
) -> None:
    """P1, P2, P4: SIGKILL before and after the effect of opening, submitting, fetching, closing.

    One experiment is killed eleven times. It ends with one session that was ever used, one job for
    each evaluation, and its report.
    """
    kills = [
        ("before", "POST /sessions", 1),
        ("before", "POST /jobs", 1),
        ("after", "POST /jobs", 1),
        ("after", "GET /jobs/ID", 1),
        ("before", "POST /jobs", 1),
        ("after", "POST /jobs", 2),
        ("before", "GET /jobs/ID/results", 1),
        ("after", "GET /jobs/ID/results", 1),
        ("after", "POST /jobs", 2),
        ("before", "PATCH /sessions/ID", 1),
        ("after", "PATCH /sessions/ID", 1),
    ]
    killer = _Killer()
    sessions = platform.sessions()
    with proxy(platform.info.origin, killer) as url:
        arguments = [url, platform.info.token, platform.info.instance, ledger_url]
        for at in kills:
            assert killer.run(arguments, at) == -signal.SIGKILL, f"was not killed {at}"
        assert killer.run(arguments, None) == 0
    block = QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )
    finished = block.experiment("crashes")
    assert finished.report is not None
    assert platform.jobs_of(finished.uid) == len(finished.report["evaluations"]) == 6
    assert platform.sessions() == sessions + 1
    assert platform.stats()["jobs"]["by_session"][finished.session_id] == 6


def _bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return transpile(circuit, FakeManilaV2(), optimization_level=0)


def _through(url: str, platform: Platform, ledger_url: str) -> QuantumSession:
    return QuantumSession(
        credentials=IBMSessionCredentials(
            token=SecretStr(platform.info.token), instance=platform.info.instance, url=url
        ),
        backend_name=BACKEND,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )


def test_the_intent_comes_first_and_the_job_id_next(platform: Platform, ledger_url: str) -> None:
    """P3: at the POST the intent is in the ledger, at the first look at the job its ID is."""
    ledger = Ledger(ledger_url)
    seen: dict[str, set[str]] = {}

    def watch(moment: str, request: str) -> None:
        if moment == "before" and request.startswith(("POST /jobs", "GET /jobs/", "POST /session")):
            kinds = {fact.key.partition("/")[0] for fact in ledger.facts(experiment.uid)}
            kinds.remove("experiment")
            seen.setdefault(re.sub(r"/jobs/\w+", "/jobs/ID", request), kinds)

    with proxy(platform.info.origin, watch) as url:
        experiment = _through(url, platform, ledger_url).experiment("order")
        experiment.run_sampler([_bell()], shots=8)
        experiment.close_session()
    assert seen["POST /sessions"] == {"session-intent"}
    assert seen["POST /jobs"] == {"session-intent", "session", "intent"}
    assert seen["GET /jobs/ID"] == {"session-intent", "session", "intent", "outcome"}


def _once(at: str, wanted: str, interference: int) -> Callable[[str, str], int | None]:
    """Interfere with the first request of a kind."""
    left = [interference]
    lock = threading.Lock()

    def watch(moment: str, request: str) -> int | None:
        with lock:
            return left.pop() if (moment, request) == (at, wanted) and left else None

    return watch


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connection_that_breaks_at_the_post_makes_one_job(
    platform: Platform, ledger_url: str, moment: str
) -> None:
    """P6: a lost answer is unknown, not failed; the look-up by tag settles it, in the same call."""
    with proxy(platform.info.origin, _once(moment, "POST /jobs", CUT)) as url:
        experiment = _through(url, platform, ledger_url).experiment("cut")
        assert experiment.run_sampler([_bell()], shots=8)[0].data.meas.num_shots == 8
        experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 1


def test_broken_connections_only_prolong_the_wait(platform: Platform, ledger_url: str) -> None:
    """While a job is waited for the network may fail; result and job count are as without."""
    cuts: Counter[str] = Counter()

    def watch(moment: str, request: str) -> int | None:
        kind = re.sub(r"/jobs/\w+", "/jobs/ID", request)
        cuts[kind] += moment == "after"
        cut = moment == "after" and kind.startswith("GET /jobs/ID") and cuts[kind] <= 2
        return CUT if cut else None

    with proxy(platform.info.origin, watch) as url:
        experiment = _through(url, platform, ledger_url).experiment("wait")
        assert experiment.run_sampler([_bell()], shots=8)[0].data.meas.num_shots == 8
        experiment.close_session()
    assert cuts["GET /jobs/ID"] > 2
    assert platform.jobs_of(experiment.uid) == 1


def test_a_refusal_that_lies_outside_the_request_can_be_cured(
    platform: Platform, ledger_url: str
) -> None:
    """Refused for what the account may do, a job is an error now, and the next run makes it."""
    with proxy(platform.info.origin, _once("before", "POST /jobs", 403)) as url:
        block = _through(url, platform, ledger_url)
        with pytest.raises(SubmissionRejectedError, match="403"):
            block.experiment("refused").run_sampler([_bell()], shots=8)
        again = block.experiment("refused")
        assert again.run_sampler([_bell()], shots=8)[0].data.meas.num_shots == 8
        again.close_session()
    assert platform.jobs_of(again.uid) == 1


def test_a_refusal_of_the_request_itself_stands(platform: Platform, ledger_url: str) -> None:
    """What the platform refused as wrong is not sent again; the error says what it said."""
    posts: list[str] = []

    def watch(moment: str, request: str) -> int | None:
        if (moment, request) != ("before", "POST /jobs"):
            return None
        posts.append(request)
        return 400

    with proxy(platform.info.origin, watch) as url:
        block = _through(url, platform, ledger_url)
        for _ in range(2):
            experiment = block.experiment("wrong")
            with pytest.raises(SubmissionRejectedError, match="as the test wants"):
                experiment.run_sampler([_bell()], shots=8)
        experiment.cancel_session()
    assert len(posts) == 1
    assert platform.jobs_of(experiment.uid) == 0


def test_a_refusal_that_is_being_handled_says_nothing_of_the_next_submission(
    platform: Platform, ledger_url: str
) -> None:
    """P6: a lost answer is unknown also while the caller handles an earlier 403."""
    refused = _once("before", "POST /jobs", 403)
    cut = _once("after", "POST /jobs", CUT)

    def watch(moment: str, request: str) -> int | None:
        return refused(moment, request) if moment == "before" else cut(moment, request)

    with proxy(platform.info.origin, watch) as url:
        experiment = _through(url, platform, ledger_url).experiment("handled")
        try:
            experiment.run_sampler([_bell()], shots=8)
        except SubmissionRejectedError:
            result = experiment.run_sampler([_bell()], shots=8)
        assert result[0].data.meas.num_shots == 8
        experiment.close_session()
    assert platform.jobs_of(experiment.uid) == 1
