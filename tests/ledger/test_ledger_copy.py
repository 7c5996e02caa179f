"""A ledger moves to another store, and experiments go on there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from postgres import PASSWORD, Postgres
from session_support import block_for, measured
from support import Platform
from typer.testing import CliRunner

from session_block.cli import app
from session_block.errors import InvalidInputError
from session_block.ledger.store import Copied, Ledger, copy_ledger


@pytest.fixture
def old_url(tmp_path: Path) -> str:
    """Give the URL of the ledger that is to move."""
    return f"sqlite:///{tmp_path / 'old.db'}"


@pytest.fixture
def new_url(postgres: Postgres) -> str:
    """Give the URL of the one that takes its place."""
    return postgres.new_store()


@pytest.fixture
def old(old_url: str) -> Iterator[Ledger]:
    """The ledger that is to move."""
    with closing(Ledger(old_url)) as ledger:
        yield ledger


@pytest.fixture
def new(new_url: str) -> Iterator[Ledger]:
    """The one that takes its place."""
    with closing(Ledger(new_url)) as ledger:
        yield ledger


def _copy(*arguments: str, code: int = 0, **environment: str) -> Result:
    ran = CliRunner().invoke(app, ["ledger", "copy", *arguments], env=environment)
    assert ran.exit_code == code, ran.output
    return ran


def test_an_experiment_goes_on_in_the_other_ledger(
    platform: Platform, old_url: str, new_url: str, old: Ledger, new: Ledger
) -> None:
    """In the same session, with no job submitted twice; the first ledger stays as it was."""
    before = block_for(platform.info, old_url).experiment("moves")
    first = before.run_sampler([measured(1)], shots=8)
    before.submit_sampler([measured(2)], shots=8)
    kept = list(old.everything())

    said = _copy("--from", old_url, "--json", SESSION_BLOCK_LEDGER_URL=new_url)
    answer = json.loads(said.stdout)
    assert (answer["copied"], answer["present"]) == (len(kept), 0)
    assert list(new.everything()) == kept == list(old.everything())

    jobs = platform.stats()["requests"]["POST /jobs"]
    block = block_for(platform.info, new_url)
    after = block.experiment("moves")
    again = after.run_sampler([measured(1)], shots=8)
    after.run_sampler([measured(2)], shots=8)
    assert again[0].data.meas.get_counts() == first[0].data.meas.get_counts()
    assert after.session_id == before.session_id
    assert platform.stats()["requests"]["POST /jobs"] == jobs
    after.close_session()
    block.ledger().close()


def test_an_interrupted_copy_is_run_again(old: Ledger, new: Ledger) -> None:
    """What was copied stays, and only the rest is new."""
    for number in range(250):
        old.create("uid", f"fact/{number:03}", {"number": number}, b"x" * number)
    for fact in list(old.everything())[:100]:
        assert new.take(fact)
    assert copy_ledger(old, new) == Copied(copied=150, present=100)
    assert copy_ledger(old, new) == Copied(copied=0, present=250)


def test_two_ledgers_that_differ_are_not_mixed(old: Ledger, new: Ledger) -> None:
    """A fact whose place is taken stops the copy, and neither ledger loses its own."""
    old.create("uid", "fact", {"of": "old"})
    new.create("uid", "fact", {"of": "new"})
    with pytest.raises(InvalidInputError, match="holds another fact 'fact' of experiment uid"):
        copy_ledger(old, new)
    for ledger, name in ((old, "old"), (new, "new")):
        fact = ledger.get("uid", "fact")
        assert fact is not None
        assert fact.body == {"of": name}


def test_what_cannot_be_copied_is_said(tmp_path: Path, old_url: str) -> None:
    """No target, and no source, which is not made by asking for it."""
    said = _copy("--from", old_url, code=1, SESSION_BLOCK_LEDGER_URL="")
    assert "export SESSION_BLOCK_LEDGER_URL" in said.stderr
    said = _copy("--from", old_url, code=1, SESSION_BLOCK_LEDGER_URL=f"sqlite:///{tmp_path}/new.db")
    assert "There is no ledger to copy" in said.stderr
    assert list(tmp_path.glob("*.db")) == []


def test_no_password_is_shown(old: Ledger, old_url: str, new_url: str) -> None:
    """The answer names both ledgers without what opens them."""
    old.create("uid", "fact", {})
    said = _copy("--from", old_url, SESSION_BLOCK_LEDGER_URL=new_url)
    assert "1 facts of" in said.stdout
    assert PASSWORD not in said.output
