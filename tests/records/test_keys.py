"""What is durable: every kind of fact, its key, its fields; nothing of it may ever change."""

from __future__ import annotations

import ast
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import session_block
from session_block.errors import LedgerError
from session_block.ledger.store import Fact
from session_block.records import keys
from session_block.records.keys import KINDS, Kind, Sender, typed

PACKAGE = Path(session_block.__file__).parent
ASKER = {"run": "r", "path": "p", "call": "c"}
SENDER = {"token": "t", "machine": "m", "boot": "b", "pid": 7, "started": 1.5}
PLACE: dict[str, Any] = {"backend": "ibm_x", "instance": "crn:1", "url": "https://x"}
ASKED = {"fingerprint": "f", "occurrence": 1, "label": None, "concurrent": False}

PINNED: tuple[tuple[str, dict[str, Any], Kind], ...] = (
    (
        "experiment",
        {
            "name": "vqe",
            "number": 1,
            "backend": None,
            "identity_version": 1,
            "fingerprint_version": 1,
            "tags_version": 2,
            "family": "v2",
        },
        keys.ExperimentBegan(name="vqe", number=1, backend=None, tags_version=2),
    ),
    (
        "experiment",
        {
            "name": "8d6f.0a1b2c3d4e5f",
            "number": 1,
            "backend": "ibm_x",
            "identity_version": 2,
            "fingerprint_version": 1,
            "tags_version": 2,
            "family": "v2",
            "block": "lab",
            "account": "IBM Quantum",
            "instance": "crn:1",
            "mode": "batch",
            "opened_in": "scan.child (2)",
            "owner": "0a1b2c3d",
            "taken": True,
        },
        keys.ExperimentBegan(
            name="8d6f.0a1b2c3d4e5f",
            number=1,
            backend="ibm_x",
            identity_version=2,
            tags_version=2,
            block="lab",
            account="IBM Quantum",
            instance="crn:1",
            mode="batch",
            opened_in="scan.child (2)",
            owner="0a1b2c3d",
            taken=True,
        ),
    ),
    ("sealed", {"energy": -1.5}, keys.Sealed(report={"energy": -1.5})),
    ("chapter/000002", {"flow_run_id": "r"}, keys.ChapterOpened(chapter=2, flow_run_id="r")),
    (
        "chapter-of-run/r/p/1",
        {"chapter": 2},
        keys.ChapterOfRun(flow_run_id="r", path="p", number=1, chapter=2),
    ),
    (
        "chapter-sealed/000002",
        {"energy": -2.5},
        keys.ChapterSealed(chapter=2, report={"energy": -2.5}),
    ),
    (
        "backend",
        {
            "name": "ibm_x",
            "use_fractional_gates": False,
            "calibration_id": None,
            "instance": "crn:1",
            "because": "least busy",
        },
        keys.BackendChosen(
            name="ibm_x",
            use_fractional_gates=False,
            calibration_id=None,
            instance="crn:1",
            because="least busy",
        ),
    ),
    (
        "execution-mode",
        {"mode": "batch", "because": "1352"},
        keys.ModeChosen(mode="batch", because="1352"),
    ),
    ("calibration", {"calibrated_at": None}, keys.CalibrationSeen(calibrated_at=None)),
    (
        "attempt/000012",
        {"results": 3, "limited": True, "stopped": False},
        keys.AttemptBegan(attempt=12, results=3, limited=True, stopped=False),
    ),
    (
        "failed/000012",
        {"keep_seconds": 900},
        keys.AttemptFailed(attempt=12, keep_seconds=900),
    ),
    (
        "attempt/000013",
        {
            "results": 0,
            "limited": False,
            "stopped": False,
            "flow_run_id": "r",
            "flow_run_attempt": 2,
            "chapter": 3,
            "sender": SENDER,
        },
        keys.AttemptBegan(
            attempt=13,
            results=0,
            limited=False,
            stopped=False,
            flow_run_id="r",
            flow_run_attempt=2,
            chapter=3,
            sender=Sender(**SENDER),
        ),
    ),
    ("left/000013", {}, keys.AttemptLeft(attempt=13)),
    (
        "asker/s1",
        {"asker": {"run": "r", "path": "p", "call": "c"}, "fingerprint": "f"},
        keys.AskerFound(
            submission="s1", asker=keys.Asker(run="r", path="p", call="c"), fingerprint="f"
        ),
    ),
    (
        "session-intent/2",
        {**PLACE, "mode": "session", "max_time_seconds": 600, "owner": SENDER},
        keys.SessionIntent(
            number=2, **PLACE, mode="session", max_time_seconds=600, sender=Sender(**SENDER)
        ),
    ),
    (
        "session-intent/3",
        {**PLACE, "mode": "session", "max_time_seconds": None, "borrowed": "s-1"},
        keys.SessionIntent(
            number=3, **PLACE, mode="session", max_time_seconds=None, borrowed="s-1"
        ),
    ),
    (
        "session/2",
        {"kind": "opened", "session_id": "s-2"},
        keys.SessionOutcome(number=2, kind="opened", session_id="s-2"),
    ),
    ("session/3", {"kind": "lost"}, keys.SessionOutcome(number=3, kind="lost")),
    (
        "session-closing/2",
        {"reason": "closed by the experiment"},
        keys.SessionClosing(number=2, reason="closed by the experiment"),
    ),
    (
        "session-closing-again/2/1",
        {"reason": "closed by an operator"},
        keys.SessionClosingAgain(number=2, again=1, reason="closed by an operator"),
    ),
    (
        "stopped/000001",
        {
            "cause": "ended early",
            "because": "somebody closed it",
            "session_id": "s-2",
            "jobs": ["j-1", "j-2"],
            "charged_seconds": 34.5,
        },
        keys.Stopped(
            number=1,
            cause="ended early",
            because="somebody closed it",
            session_id="s-2",
            jobs=["j-1", "j-2"],
            charged_seconds=34.5,
        ),
    ),
    (
        "stopped/000002",
        {"cause": "cancelled", "because": "ada@host cancelled it", "jobs": []},
        keys.Stopped(number=2, cause="cancelled", because="ada@host cancelled it", jobs=[]),
    ),
    ("resumed/000001", {"by": "ada@host"}, keys.Resumed(number=1, by="ada@host")),
    (
        "resumed/000002",
        {"by": "flow run f", "told_at": 1790000000.5},
        keys.Resumed(number=2, by="flow run f", told_at=1790000000.5),
    ),
    (
        "session-end/2",
        {"session_id": "s-2", "reason": "too near its end"},
        keys.SessionEnded(number=2, session_id="s-2", reason="too near its end"),
    ),
    (
        "intent/ab/1",
        {
            **ASKED,
            **PLACE,
            "kind": "estimator",
            "implementation": "v2",
            "session_id": "s-2",
            "calibrated_at": "2026-11-28T00:00:00+00:00",
            "tag": "qs-sub:u.ab.1",
            "owner": SENDER,
        },
        keys.Intent(
            submission="ab",
            generation=1,
            **ASKED,
            **PLACE,
            kind="estimator",
            implementation="v2",
            session_id="s-2",
            calibrated_at="2026-11-28T00:00:00+00:00",
            tag="qs-sub:u.ab.1",
            sender=Sender(**SENDER),
        ),
    ),
    (
        "intent/ab/2",
        {**ASKED, **PLACE, "session_id": None, "tag": "qs-sub:u.ab.2", "restored": True},
        keys.Intent(
            submission="ab",
            generation=2,
            **ASKED,
            **PLACE,
            session_id=None,
            tag="qs-sub:u.ab.2",
            restored=True,
        ),
    ),
    (
        "intent/ab/3",
        {
            **ASKED,
            **PLACE,
            "session_id": None,
            "tag": "t",
            "registers": [["c0", "c1"], ["c2"]],
            "asker": ASKER,
            "chapter": 2,
            "task_run": "t-1",
            "part": [2, 3],
            "level": 1,
            "executions": 4096,
            "execution_seconds": 1.05,
            "expected_seconds": [3.05, 1.525, 6.1],
        },
        keys.Intent(
            submission="ab",
            generation=3,
            **ASKED,
            **PLACE,
            session_id=None,
            tag="t",
            registers=[["c0", "c1"], ["c2"]],
            asker=keys.Asker(**ASKER),
            chapter=2,
            task_run="t-1",
            part=[2, 3],
            level=1,
            executions=4096,
            execution_seconds=1.05,
            expected_seconds=[3.05, 1.525, 6.1],
        ),
    ),
    (
        "outcome/ab/1",
        {"kind": "job", "job_id": "j"},
        keys.Outcome.of_job("ab", 1, "j"),
    ),
    (
        "outcome/ab/2",
        {"kind": "rejected", "cause": "budget", "status": None, "message": "no more"},
        keys.Outcome(
            submission="ab", generation=2, kind="rejected", cause="budget", message="no more"
        ),
    ),
    (
        "outcome/ab/3",
        {"kind": "abandoned", "by": "operator"},
        keys.Outcome(submission="ab", generation=3, kind="abandoned", by="operator"),
    ),
    (
        "ended/ab/1",
        {"because": "its session ended"},
        keys.JobEnded(submission="ab", generation=1, because="its session ended"),
    ),
    (
        "hold/ab/1",
        {"because": "who knows", "job_id": None},
        keys.Hold(submission="ab", generation=1, because="who knows", job_id=None),
    ),
    ("drawn/ab/cd", {}, keys.DrawnProgram(submission="ab", circuits="cd")),
    (
        "twin/ab/j2",
        {"fate": "cancelled"},
        keys.Twin(submission="ab", job_id="j2", fate="cancelled"),
    ),
    ("result/ab", {"job_id": "j"}, keys.Result(submission="ab", job_id="j")),
    (
        "result/cd",
        {"job_id": "j", "program": "noise-learner", "made_with": {"samplomatic": "0.21.0"}},
        keys.Result(
            submission="cd",
            job_id="j",
            program="noise-learner",
            made_with={"samplomatic": "0.21.0"},
        ),
    ),
    (
        "raw/ab",
        {"job_id": "j", "program": "executor"},
        keys.RawResult(submission="ab", job_id="j", program="executor"),
    ),
    ("usage/j", {"seconds": 2.0}, keys.FinalJobUsage(job_id="j", seconds=2.0)),
    (
        "usage/k",
        {
            "seconds": 2.0,
            "began_at": "2026-11-28T00:00:00+00:00",
            "ended_at": "2026-11-28T00:00:02",
        },
        keys.FinalJobUsage(
            job_id="k",
            seconds=2.0,
            began_at="2026-11-28T00:00:00+00:00",
            ended_at="2026-11-28T00:00:02",
        ),
    ),
    (
        "charged/estimator/1/ibm_x/https%3A%2F%2Fx/j",
        {"executions": 4096, "execution_seconds": 1.05, "seconds": 3.0},
        keys.JobCharged(
            program="estimator",
            level=1,
            backend="ibm_x",
            url="https://x",
            job_id="j",
            executions=4096,
            execution_seconds=1.05,
            seconds=3.0,
        ),
    ),
    ("usage-of-session/2", {"seconds": 60.0}, keys.FinalSessionUsage(number=2, seconds=60.0)),
    (
        "operator/ab/1/adopt",
        {"deed": "adopt j", "by": "me@here"},
        keys.SubmissionDeed(
            submission="ab", generation=1, verb="adopt", deed="adopt j", by="me@here"
        ),
    ),
    (
        "operator/session/s-2/close",
        {"deed": "close", "by": "me@here"},
        keys.SessionDeed(session_id="s-2", verb="close", deed="close", by="me@here"),
    ),
    (
        "once/2c26b46b68ffc68ff99b453c1d304134",
        {"key": "foo", "value": [1, 2.5]},
        keys.Draw(digest=keys.Draw.digest_of("foo"), key="foo", value=[1, 2.5]),
    ),
    (
        "circuit/ab/001",
        {"name": "c", "backend": "ibm_x", "optimization_level": 1, "seed_transpiler": 0},
        keys.PinnedCircuit(
            circuit="ab", pin=1, name="c", backend="ibm_x", optimization_level=1, seed_transpiler=0
        ),
    ),
    ("fits/ab", {"name": "c"}, keys.CircuitFits(circuit="ab", name="c")),
    (
        "name/h2%20%2F%20caf%C3%A9/2",
        {"uid": "u", "number": 2, "lost": False},
        keys.NameGiven(name="h2 / café", place=2, uid="u", number=2),
    ),
    (
        "name/h2/1",
        {
            "uid": "u",
            "number": 1,
            "lost": True,
            "versions": [2, 1, 3],
            "family": "executor",
            "taken_from": "0a1b2c3d",
        },
        keys.NameGiven(
            name="h2",
            place=1,
            uid="u",
            number=1,
            lost=True,
            versions=[2, 1, 3],
            family="executor",
            taken_from="0a1b2c3d",
        ),
    ),
    (
        "run/8d6f/h2%2Fscan",
        {
            "uid": "u",
            "number": 2,
            "lost": False,
            "family": "v2",
            "taken_from": "0a1b2c3d",
        },
        keys.OpenedByRun(
            flow_run_id="8d6f",
            name="h2/scan",
            uid="u",
            number=2,
            family="v2",
            taken_from="0a1b2c3d",
        ),
    ),
    (
        "run/8d6f/8d6f.0a1b2c3d4e5f",
        {"uid": "u", "number": 1, "lost": False, "paths": ["ab", "cd"]},
        keys.OpenedByRun(
            flow_run_id="8d6f", name="8d6f.0a1b2c3d4e5f", uid="u", number=1, paths=["ab", "cd"]
        ),
    ),
    (
        "subflow/8d6f.ab/scan.child/000002",
        {
            "call": "t.0",
            "attempt": "9e70.1",
            "digest": "cd",
            "parameters": {"x": "ef"},
            "rank": 2,
            "concurrent": True,
        },
        keys.SubflowCalled(
            parent="8d6f.ab",
            flow="scan.child",
            number=2,
            call="t.0",
            attempt="9e70.1",
            digest="cd",
            parameters={"x": "ef"},
            rank=2,
            concurrent=True,
        ),
    ),
    (
        "noise/ab/u/s1",
        {"name": "vqe", "job_id": "j", "learned_at": "t", "calibrated_at": None},
        keys.NoiseLearned(
            model="ab",
            uid="u",
            submission="s1",
            name="vqe",
            job_id="j",
            learned_at="t",
            calibrated_at=None,
        ),
    ),
    (
        "noise-model/s2",
        {
            "fingerprint": "f",
            "occurrence": 1,
            "model": "ab",
            "uid": "u",
            "source": "s1",
            "name": "vqe",
            "job_id": "j",
            "learned_at": "t",
            "calibrated_at": "c",
            "age_seconds": 7.5,
            "asker": ASKER,
            "chapter": 2,
            "labelled": True,
        },
        keys.NoiseModelTaken(
            submission="s2",
            fingerprint="f",
            occurrence=1,
            model="ab",
            uid="u",
            source="s1",
            name="vqe",
            job_id="j",
            learned_at="t",
            calibrated_at="c",
            age_seconds=7.5,
            asker=keys.Asker(**ASKER),
            chapter=2,
            labelled=True,
        ),
    ),
    ("problem", {"problem": {"J": 1.5}}, keys.ProblemStated(problem={"J": 1.5})),
    ("member/u", {}, keys.BudgetMember(uid="u")),
    ("ticket/000000003", {"holder": "u/ab/1"}, keys.Ticket(ticket=3, holder="u/ab/1")),
    ("ticket-void/000000003", {}, keys.TicketVoid(ticket=3)),
    (
        "block/lab/000002",
        {
            "credentials_type": "ibm-session-credentials",
            "credentials": {"instance": "crn:1"},
            "settings": {"max_jobs": 5},
            "left_out": ["token"],
        },
        keys.BlockCopy(
            block="lab",
            number=2,
            credentials_type="ibm-session-credentials",
            credentials={"instance": "crn:1"},
            settings={"max_jobs": 5},
            left_out=["token"],
        ),
    ),
    ("written/t", {}, keys.Written(token="t")),
)
"""One fact of each kind as it stands in ledgers, and what the code makes of it."""


@pytest.mark.parametrize(("key", "body", "record"), PINNED, ids=[key for key, _, _ in PINNED])
def test_facts_are_written_and_read_as_ever(key: str, body: dict[str, Any], record: Kind) -> None:
    """Key and body of each kind, to the letter, and what is read of them."""
    assert (record.fact_key, record.fact_body) == (key, body)
    assert typed(Fact("e", key, body, "w", datetime.now(UTC))) == record


def test_every_kind_is_pinned_with_every_field() -> None:
    """A new kind, or a new field, has to be put down here, where old ones cannot be taken away."""
    assert {type(record) for _, _, record in PINNED} == set(KINDS)
    written = {one: set[str]() for one in KINDS}
    for _, body, record in PINNED:
        written[type(record)] |= set(body)
    unwritten = {
        f"{kind.KIND}.{one.name}"
        for kind in KINDS
        if kind not in {keys.Sealed, keys.ChapterSealed}
        for one in fields(kind)
        if "digits" not in one.metadata and one.name not in {"recorded_at", "payload"}
        if (one.metadata.get("written_as") or one.name) not in written[kind]
    }
    assert unwritten == {
        "run.versions",
        "session-intent.restored",
        "session.restored",
        "intent.adopted",
        "outcome.adopted",
        "outcome.restored",
    }


def test_a_field_that_older_facts_lack_has_a_meaning() -> None:
    """What was written before a field was there says what it said then."""
    first = {"name": "vqe", "number": 1, "backend": None}
    began = typed(Fact("e", "experiment", first, "w", datetime.now(UTC)))
    assert isinstance(began, keys.ExperimentBegan)
    assert (began.identity_version, began.fingerprint_version, began.tags_version) == (1, 1, 1)
    assert began.family == "v2"


def test_what_a_newer_version_adds_is_passed_over() -> None:
    """A field or a kind that this version does not know is no damage."""
    newer = Fact("e", "result/ab", {"job_id": "j", "colour": "red"}, "w", datetime.now(UTC))
    assert typed(newer) == keys.Result(submission="ab", job_id="j")
    assert typed(Fact("e", "dream/ab", {}, "w", datetime.now(UTC))) is None


def test_a_fact_that_lacks_what_all_have_is_named() -> None:
    """It is not guessed at."""
    with pytest.raises(
        LedgerError, match=r"'result/ab' of experiment e .* newer version"
    ) as raised:
        typed(Fact("e", "result/ab", {}, "w", datetime.now(UTC)))
    assert raised.value.experiment == "e"


def test_keys_are_spelled_in_one_place() -> None:
    """No other module writes a kind's name in a key, or reads a ledger past the journal."""
    begins = tuple(f"{kind.KIND}/" for kind in KINDS)
    against = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "records" / "keys.py" or "local_platform" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            texts = node.values[:1] if isinstance(node, ast.JoinedStr) else [node]
            against += [
                f"{path.relative_to(PACKAGE)}: {text.value}"
                for text in texts
                if isinstance(text, ast.Constant)
                and isinstance(text.value, str)
                and text.value.startswith(begins)
            ]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                on = ast.unparse(node.func.value)
                if node.func.attr == "create" and on.endswith("ledger"):
                    against.append(f"{path.relative_to(PACKAGE)}: {on}.create")
    assert against == ["records/journal.py: self.ledger.create"]
