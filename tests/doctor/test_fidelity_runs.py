"""The fidelity suite run against platforms: the local one, an empty one, and in all accidents."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from doctor.empty_platform import CRN, empty_platform
from qiskit_ibm_runtime.exceptions import RuntimeProgramNotFound
from support import BACKEND, wait_until
from typer.testing import CliRunner

from session_block.cli import app
from session_block.cli.fidelity import account_of
from session_block.client.service import disconnect
from session_block.doctor.fidelity.case import Book, RawRequest, read_book
from session_block.doctor.fidelity.record import tally
from session_block.doctor.fidelity.suite import CaseOutcome, Finding, Suite
from session_block.doctor.fidelity.target import Target
from session_block.errors import ConnectionFailedError
from session_block.local_platform import LocalPlatform, SettingsGiven

pytestmark = pytest.mark.rest

BOOK = read_book()
SUMMARY = re.compile(r"(\d+) cases: (\d+) agree, (\d+) differ, (\d+) are guesses")
SOON_SECONDS = 10


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform with a queue, in which jobs outside of sessions stay for a while."""
    with LocalPlatform(other_jobs=5, other_job_seconds=60, time_scale=2) as platform:
        yield platform


@pytest.fixture
def target(local: LocalPlatform) -> Iterator[Target]:
    """Its first instance."""
    with Target(account_of(local), local.info.instance, "paid", BACKEND) as target:
        yield target
    local.clear_faults()


def _some(*wanted: str) -> Book:
    """Return the cases of some set-ups."""
    return BOOK.model_copy(
        update={"cases": tuple(one for one in BOOK.cases if one.set_up in wanted)}
    )


def _open_work(platform: LocalPlatform) -> list[str]:
    """Return the IDs of all jobs and sessions that have not ended."""
    jobs = [one["id"] for one in platform.jobs() if one["state"] in ("queued", "running")]
    return [*jobs, *(one["id"] for one in platform.sessions() if one["state"] != "closed")]


def test_the_local_platform_agrees_with_all_that_is_known(tmp_path: Path) -> None:
    """The command ends with the numbers: none differs, and its exit code says so.

    What the platform does where nobody knows is what the guesses say, so a live run checks it.
    """
    file = tmp_path / "record.json"
    ran = CliRunner().invoke(app, ["platform", "fidelity", "--record", str(file)])
    last = SUMMARY.fullmatch(ran.stdout.splitlines()[-1])
    assert last is not None, ran.output
    cases, agree, differ, guesses = map(int, last.groups())
    assert (cases, differ) == (agree, 0), ran.output
    assert cases >= 200
    assert guesses == sum(one.is_guess for one in BOOK.cases)
    assert ran.exit_code == 0
    record = json.loads(file.read_text())
    assert record["summary"] == last[0]
    assert {one["id"] for one in record["cases"]} == {one.id for one in BOOK.cases}
    assert {one["outcome"] for one in record["cases"]} == {"agrees"}


def test_a_platform_that_knows_nothing_fails_nearly_all() -> None:
    """One that answers everything with 200 and ``{}`` fails at least 95 %."""
    with (
        empty_platform() as account,
        Target(account, CRN, "paid") as paid,
        Target(account, CRN, "open") as opened,
    ):
        found = Suite(BOOK, [paid, opened], bound=1000, patience=1).run()
    counted = tally(found)
    assert counted.agree + counted.differ == len(
        {one.family or one.id for one in BOOK.cases if not one.is_guess}
    )
    assert counted.differ >= 0.95 * (counted.agree + counted.differ)


@pytest.mark.parametrize("program", ["no-such-program", "calibrations"])
def test_a_program_that_is_not_there_fails_at_once(local: LocalPlatform, program: str) -> None:
    """The client raises the error that names it, long before any time-out."""
    service = local.service()
    options = {"backend": service.backend(BACKEND)}
    began = time.monotonic()
    with pytest.raises(RuntimeProgramNotFound, match=program):
        service._run(program_id=program, inputs={}, options=options)
    assert time.monotonic() - began < SOON_SECONDS
    disconnect(service)


def test_only_what_the_suite_has_made_is_ended(local: LocalPlatform, target: Target) -> None:
    """Somebody else's batch and queued job are as they were; of the suite's nothing is left."""
    body = {"mode": "batch", "backend": BACKEND}
    headers = {"Authorization": f"apikey {local.info.token}", "Service-CRN": local.info.instance}
    with httpx.Client(base_url=local.info.url, headers=headers, trust_env=False) as somebody:
        theirs = somebody.post("/sessions", json=body).json()["id"]
        found = Suite(_some("open-batch", "closed-batch", "queued-job"), [target]).run()
        assert _open_work(local) == [theirs]
        somebody.delete(f"/sessions/{theirs}/close")
    assert len([one for one in found if one.outcome is CaseOutcome.AGREES]) > len(found) / 2


@pytest.mark.parametrize("set_up", ["queued-job", "batch-of-six-jobs"])
def test_an_interrupted_run_leaves_nothing_behind(
    local: LocalPlatform, target: Target, set_up: str
) -> None:
    """Ctrl-C while jobs are queued: they are cancelled, and their batch is closed."""
    seen: list[int] = []

    def interrupt(_: Finding) -> None:
        seen.append(len(_open_work(local)))
        raise KeyboardInterrupt

    book = _some(set_up)
    suite = Suite(book, [target], tell=interrupt)
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    assert seen[0] > 0
    assert _open_work(local) == []


def test_a_job_whose_answer_is_lost_is_cancelled_too(local: LocalPlatform, target: Target) -> None:
    """It is found by the tag of the run."""
    local.add_fault(kind="drop", method="POST", path="/jobs", effect="after")
    before = len(local.jobs())
    found = Suite(_some("queued-job"), [target]).run()
    assert {one.outcome for one in found} == {CaseOutcome.NOT_RUN}
    assert {str(one) for one in found} == {"the set-up's POST /jobs was not answered"}
    assert len(local.jobs()) == before + 1
    assert _open_work(local) == []


def test_without_a_queue_nothing_is_sent_that_could_run() -> None:
    """The set-ups whose jobs must wait are left out where they would not, unless there is money.

    Then a job that starts at once is no difference from one that was queued.
    """
    book = _some("cancelled-job")
    with (
        LocalPlatform(job_seconds=600) as platform,
        Target(account_of(platform), platform.info.instance, "paid", BACKEND) as target,
    ):
        [why] = {str(one) for one in Suite(book, [target]).run()}
        assert "no queue" in why
        assert platform.jobs() == []
        paid = Suite(book, [target], bound=2).run()
        assert len(platform.jobs()) == 1
    assert CaseOutcome.DIFFERS not in {one.outcome for one in paid}


@pytest.mark.parametrize("set_up", ["cancelled-job", "batch-closed-over-a-job"])
def test_a_job_that_started_before_it_was_stopped_is_no_difference(
    tmp_path: Path, set_up: str
) -> None:
    """The queue moved on between two requests: what is true of a queued job is not asked of it."""
    settings: SettingsGiven = {"other_jobs": 5, "other_job_seconds": 60, "job_seconds": 600}
    with (
        LocalPlatform(tmp_path / "platform", **settings) as platform,
        Target(account_of(platform), platform.info.instance, "paid", BACKEND) as target,
    ):
        found = _with_a_queue_that_moves_on(platform, target, set_up)
    assert CaseOutcome.DIFFERS not in {one.outcome for one in found}
    assert CaseOutcome.NOT_RUN in {one.outcome for one in found}


def _with_a_queue_that_moves_on(
    platform: LocalPlatform, target: Target, set_up: str
) -> list[Finding]:
    send, moved = target.send, list[str]()

    def move_on(request: RawRequest, values: object) -> object:
        stopping = request.send.endswith(("/cancel", "/close"))
        if stopping and not moved:
            moved.append("on")
            wait_until(lambda: _started(platform), seconds=30, what="it has started")
        return send(request, values)  # type: ignore[arg-type]

    target.send = move_on  # type: ignore[method-assign, assignment]
    found = Suite(_some(set_up), [target]).run()
    assert moved
    return found


def _started(platform: LocalPlatform) -> bool:
    platform.advance(60)
    return bool(platform.jobs()[0]["state"] == "running")


def test_a_platform_that_is_gone_ends_the_suite(tmp_path: Path) -> None:
    """With one message: no case is said to differ from what nobody has answered."""
    with LocalPlatform(tmp_path / "platform") as platform:
        info = platform.info
        told: list[CaseOutcome] = []

        def tell(finding: Finding) -> None:
            told.append(finding.outcome)
            if len(told) == 20:
                psutil.Process(info.pid).kill()

        with (
            Target(account_of(platform), info.instance, "paid", BACKEND) as target,
            pytest.raises(ConnectionFailedError, match="stopped answering"),
        ):
            Suite(BOOK, [target], tell=tell).run()
    assert CaseOutcome.DIFFERS not in told


def test_a_set_up_that_did_not_last_is_no_difference(local: LocalPlatform, target: Target) -> None:
    """Where the job starts before it is asked about, the cases that differ count as not run."""
    book = _some("queued-job")
    suite = Suite(book, [target])
    send = target.send
    moved: list[str] = []

    def move_on(request: RawRequest, values: object) -> object:
        if request.send == "GET /jobs/$job" and not moved:
            moved.append("on")
            local.advance(3600)
        return send(request, values)  # type: ignore[arg-type]

    target.send = move_on  # type: ignore[method-assign, assignment]
    found = suite.run()
    assert {one.outcome for one in found} >= {CaseOutcome.NOT_RUN}
    assert CaseOutcome.DIFFERS not in {one.outcome for one in found}
    assert any("ended before it was asked" in str(one) for one in found)
