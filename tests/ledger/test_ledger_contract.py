"""What every ledger promises, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from session_block.errors import InvalidInputError
from session_block.ledger.database import DatabaseStore
from session_block.ledger.store import Fact, Ledger
from session_block.records.identity import identify

_KEYS = ["once/_", "once/%", "once/'", 'once/"', "once/\\", "once/é", "once/🜁", "once/a", "once/A"]

_WRITER = """
import sys
from session_block.ledger.store import Ledger

ledger = Ledger(sys.argv[1])
sys.stdin.readline()
for key in range(40):
    fact, ours = ledger.create("uid", f"outcome/{key}", {"by": sys.argv[2]}, sys.argv[2].encode())
    assert ours == (fact.body["by"] == sys.argv[2])
    assert fact.payload.decode() == fact.body["by"]
    print(key, fact.body["by"], flush=True)
ledger.close()
"""


@pytest.fixture
def opened(store_url: str) -> Iterator[Callable[[], Ledger]]:
    """Open the test's store, as often as it is called."""
    ledgers: list[Ledger] = []

    def another() -> Ledger:
        ledgers.append(Ledger(store_url))
        return ledgers[-1]

    yield another
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def ledger(opened: Callable[[], Ledger]) -> Ledger:
    """A new ledger."""
    return opened()


def test_a_fact_is_created_once(ledger: Ledger) -> None:
    """The second to create a fact is told what the first wrote; nothing is overwritten."""
    first, ours = ledger.create("uid", "outcome/s/1", {"job_id": "j1"}, b"bytes")
    second, theirs = ledger.create("uid", "outcome/s/1", {"job_id": "j2"}, b"other")
    assert (ours, theirs) == (True, False)
    assert second == first
    assert ledger.get("uid", "outcome/s/1") == first
    assert first.body == {"job_id": "j1"}
    assert first.payload == b"bytes"
    assert timedelta(0) <= datetime.now(UTC) - first.created_at < timedelta(minutes=1)


def test_writer_and_reader_are_told_the_same(ledger: Ledger) -> None:
    """What JSON changes (tuples, keys that are numbers) is changed for the writer as well."""
    body = {"s": (1, 2.5, None, True), "n": {3: "é🜁\0\ud800"}, "big": 2**70, "tiny": 5e-324}
    fact, _ = ledger.create("uid", "once/x", body)
    assert fact == ledger.get("uid", "once/x") == ledger.facts("uid")[0]
    assert fact.body == {**body, "s": [1, 2.5, None, True], "n": {"3": "é🜁\0\ud800"}}


@pytest.mark.parametrize("size", [None, 0, 1, 256, 20_000_003])
def test_payloads_come_back_to_the_byte(ledger: Ledger, size: int | None) -> None:
    """None, empty, or 20 MB: what was written is read, and no payload is not an empty one."""
    payload = None if size is None else (bytes(range(251)) * (size // 251 + 1))[:size]
    ledger.create("uid", "result/s", {}, payload)
    fact = ledger.get("uid", "result/s")
    assert fact is not None
    assert fact.payload == payload
    assert ledger.facts("uid")[0].payload is None


def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    """No fact is no error."""
    assert ledger.get("uid", "sealed") is None
    assert ledger.facts("uid") == []


def test_facts_are_read_by_experiment_and_prefix(ledger: Ledger) -> None:
    """A reader gets its experiment's facts in the order of creation, and no others."""
    for experiment, key in [("a", "intent/s/1"), ("b", "intent/s/1"), ("a", "hold/x")]:
        ledger.create(experiment, key, {})
    ledger.create("a", "intent_s/2", {})
    assert [fact.key for fact in ledger.facts("a")] == ["intent/s/1", "hold/x", "intent_s/2"]
    assert [fact.key for fact in ledger.facts("a", "intent/", "result/")] == ["intent/s/1"]
    assert [fact.key for fact in ledger.facts("a", "")] == ["intent/s/1", "hold/x", "intent_s/2"]


@pytest.mark.parametrize("key", _KEYS)
def test_every_character_is_only_a_character(ledger: Ledger, key: str) -> None:
    """Wildcards, quotes, case and accents: a prefix finds what begins with it, and nothing else."""
    for each in _KEYS:
        ledger.create("uid", f"{each}/1", {})
        ledger.create("uid", each, {"key": each})
    assert {fact.key for fact in ledger.facts("uid", key)} == {key, f"{key}/1"}
    fact = ledger.get("uid", key)
    assert fact is not None
    assert fact.body == {"key": key}


@pytest.mark.parametrize("key", ["k" * 256, "once/\0", "once/\n", "once/\ud800", "once/\U0010ffff"])
def test_what_cannot_be_a_key_is_refused_alike(ledger: Ledger, key: str) -> None:
    """One database would cut or refuse it, the other take it."""
    with pytest.raises(InvalidInputError, match="cannot be the key of a fact"):
        ledger.create("uid", key, {})
    ledger.create("uid", "🜁" * 255, {})
    assert [len(fact.key) for fact in ledger.facts("uid")] == [255]


def test_facts_are_in_the_order_of_their_creation(ledger: Ledger) -> None:
    """Also within one second, and in the microsecond in which it begins."""
    keys = [f"once/{n * 7919 % 101}" for n in range(101)]
    for key in keys:
        ledger.create("uid", key, {})
    assert [fact.key for fact in ledger.facts("uid")] == keys
    noon = datetime(2031, 1, 1, 12, tzinfo=UTC)
    for microseconds in (1, 0, 2):
        at = noon + timedelta(microseconds=microseconds)
        ledger._store.insert(Fact("noon", f"once/{9 - microseconds}", {}, "writer", at))
    assert [fact.key for fact in ledger.facts("noon")] == ["once/9", "once/8", "once/7"]


def test_many_threads_have_one_winner(opened: Callable[[], Ledger]) -> None:
    """Of many that create one fact at once, exactly one is told that it was first."""
    ledgers = [opened() for _ in range(4)]

    def create(n: int) -> tuple[Fact, bool]:
        return ledgers[n % 4].create("uid", f"name/{n // 16}", {"n": n})

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(320)))
    assert sum(ours for _, ours in created) == 20
    assert len({fact.writer for fact, _ in created}) == 20
    assert all((fact.body["n"] == n) == ours for n, (fact, ours) in enumerate(created))


def test_many_processes_have_one_winner(store_url: str, ledger: Ledger) -> None:
    """Processes too: all of them are told the same winner of every fact, with its payload."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, store_url, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert told[0] == told[1] == told[2] == told[3]
    assert told[0] == [f"{n} {fact.body['by']}" for n, fact in enumerate(ledger.facts("uid"))]


def test_processes_that_open_a_new_ledger_at_once_all_succeed(store_url: str) -> None:
    """Whoever creates the tables, nobody fails, and nobody's fact is lost."""
    code = (
        "import sys; from session_block.ledger.store import Ledger; ledger = Ledger(sys.argv[1]); "
        "ledger.create('uid', f'once/{sys.argv[2]}', {}); ledger.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, store_url, str(n)]) for n in range(6)
    ]
    assert [process.wait() for process in processes] == [0] * 6
    ledger = Ledger(store_url)
    assert len(ledger.facts("uid")) == 6
    ledger.close()


def test_threads_that_open_a_new_ledger_at_once_all_succeed(opened: Callable[[], Ledger]) -> None:
    """The same race, closer together."""
    with ThreadPoolExecutor(8) as pool:
        ledgers = list(pool.map(lambda _: opened(), range(8)))
    assert sum(ledger.create("uid", "once/x", {})[1] for ledger in ledgers) == 1


def test_a_fact_survives_the_kill_of_its_writer(store_url: str, ledger: Ledger) -> None:
    """What ``create`` returned from is durable: SIGKILL right after it loses nothing."""
    code = (
        "import os, signal, sys; from session_block.ledger.store import Ledger; "
        "Ledger(sys.argv[1]).create('uid', 'intent/s/1', {'tag': 't'}); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, store_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    fact = ledger.get("uid", "intent/s/1")
    assert fact is not None
    assert fact.body == {"tag": "t"}


@pytest.mark.parametrize("lost", ["the statement", "its answer"])
def test_a_create_whose_answer_was_lost_knows_its_own_fact(ledger: Ledger, lost: str) -> None:
    """Lost before or after the commit, the fact is created once, and its writer is told so."""
    failures = iter([sa.exc.OperationalError("INSERT", {}, Exception("connection lost"))])
    store = ledger._store
    assert isinstance(store, DatabaseStore)
    write = store.write

    def broken(fact: Fact) -> None:
        error = next(failures, None)
        if error is None or lost == "its answer":
            write(fact)
        if error is not None:
            raise error

    store.write = broken  # type: ignore[method-assign]
    fact, ours = ledger.create("uid", "outcome/s/1", {"job_id": "j1"})
    assert ours
    assert fact.body == {"job_id": "j1"}
    assert ledger.facts("uid") == [fact]


def test_names_are_taken_once(opened: Callable[[], Ledger]) -> None:
    """All that open a name at once get one UID; those that start afresh at once, one each."""
    ledgers = [opened() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        same = set(pool.map(lambda n: identify(ledgers[n % 4], "h2").uid, range(16)))
        fresh = list(pool.map(lambda n: identify(ledgers[n % 4], "h2", fresh=True), range(16)))
    assert len(same) == 1
    assert sorted(identity.number for identity in fresh) == list(range(2, 18))
    assert len({identity.uid for identity in fresh} | same) == 17


def test_names_that_look_alike_are_told_apart(ledger: Ledger) -> None:
    """Case, wildcards, quotes, slashes and accents make another name."""
    names = ["h2", "H2", "h_", "h%", "h'2", 'h"2', "h\\2", "h/2", "h2/1", "h2/", "hé", "he\u0301"]
    uids = [identify(ledger, name).uid for name in names]
    assert len(set(uids)) == len(names)
    assert [identify(ledger, name).uid for name in names] == uids
