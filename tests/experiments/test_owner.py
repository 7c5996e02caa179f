"""Whose an experiment is: colleagues on one instance who choose the same name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from session_block import Experiment, IBMSessionCredentials, QuantumSession
from session_block.errors import ExperimentStoppedError, InvalidInputError
from session_block.local_platform import Admin, Layout, LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec
from session_block.records.journal import Journal
from session_block.records.keys import ExperimentBegan
from session_block.records.sessions import read_sessions
from session_block.records.stops import resume
from session_block.records.versions import Versions
from session_block.tags import SubmissionTag, owner_digest

pytestmark = pytest.mark.rest

Blocks = Callable[..., QuantumSession]


LAYOUT = Layout(
    accounts=(
        AccountSpec(instances=(InstanceSpec(name="shared", backends=("ibm_manila",)),), users=2),
    )
)
"""Two people share one instance."""


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """The platform of both."""
    with LocalPlatform(layout=LAYOUT, interactive_seconds=1) as platform:
        yield platform


def _block(
    platform: LocalPlatform,
    directory: Path,
    user: int,
    machine: str = "laptop",
    owner: str | None = None,
) -> QuantumSession:
    """Make a user's Block, with the ledger of one of their machines."""
    account = platform.accounts[user]
    return QuantumSession(
        credentials=IBMSessionCredentials(
            token=account.token, instance=account.instances[0].crn, url=platform.info.url
        ),
        backend_name="ibm_manila",
        ledger_url=f"sqlite:///{directory}/{user}-{machine}.db",
        owner=owner,
    )


@pytest.fixture
def block(platform: LocalPlatform, tmp_path: Path) -> Blocks:
    """Make Blocks for the platform of both."""
    return partial(_block, platform, tmp_path)


def _counts(experiment: Experiment, shots: int) -> dict[str, int]:
    """Return the counts of a job that its number of shots tells from the others."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    counts: dict[str, int] = experiment.run_sampler([circuit], shots=shots)[0].data.c.get_counts()
    return counts


def _jobs(platform: LocalPlatform, experiment: Experiment) -> int:
    by_tag = platform.stats()["jobs"]["by_tag"]
    return int(by_tag.get(f"qs-uid:{experiment.uid}", 0))


def _requests(platform: LocalPlatform) -> int:
    """Return how many requests a client has sent."""
    counts: dict[str, int] = platform.stats()["requests"]
    return sum(count for route, count in counts.items() if "/_local/" not in route)


def _owners(platform: LocalPlatform, experiment: Experiment) -> set[str | None]:
    tags = filter(None, map(SubmissionTag.parse, platform.stats()["jobs"]["by_tag"]))
    return {tag.owner for tag in tags if tag.uid == experiment.uid}


def test_a_colleague_with_the_same_name_is_refused(platform: LocalPlatform, block: Blocks) -> None:
    """They are told the UID; the running session stays open, and serves its owner to the end."""
    with block(0).experiment("tutorial") as mine:
        _counts(mine, 10)
        with pytest.raises(InvalidInputError, match=f"another owner submitted: uid='{mine.uid}'"):
            block(1).experiment("tutorial")
        _counts(mine, 11)
        session_id = mine.session_id
        assert _jobs(platform, mine) == 2
    assert [one.session_id for one in read_sessions(Journal(block(0).ledger(), mine.uid))] == [
        session_id
    ]
    assert platform.stats()["jobs"]["by_session"][session_id] == 2
    assert _owners(platform, mine) == {owner_digest(platform.accounts[0].id)}


def test_a_colleague_starts_their_own(platform: LocalPlatform, block: Blocks) -> None:
    """With ``fresh``; from then on their ledger knows the name, and nothing is asked."""
    with block(0).experiment("both") as mine:
        _counts(mine, 10)
        with block(1).experiment("both", fresh=True) as theirs:
            _counts(theirs, 10)
        assert theirs.uid != mine.uid
        assert block(1).experiment("both").uid == theirs.uid
        assert block(1, "cluster").experiment("both").uid == theirs.uid
        assert block(0, "cluster").experiment("both").uid == mine.uid
        assert (_jobs(platform, mine), _jobs(platform, theirs)) == (1, 1)


def test_the_owner_resumes_on_another_machine(platform: LocalPlatform, block: Blocks) -> None:
    """By the account's identity: no host, key or user of an operating system counts."""
    mine = block(0).experiment("moved")
    _counts(mine, 10)
    with block(0, "cluster").experiment("moved") as again:
        _counts(again, 10)
        _counts(again, 11)
        assert (again.uid, again.identity.lost, again.session_id) == (
            mine.uid,
            True,
            mine.session_id,
        )
    assert _jobs(platform, mine) == 2
    assert not mine.session_details().accepts_jobs


def test_the_blocks_owner_overrides_the_identity(platform: LocalPlatform, block: Blocks) -> None:
    """Members of a group share what is the group's; one of them alone does not."""
    mine = block(0, owner="h2-team").experiment("grouped")
    _counts(mine, 10)
    assert _owners(platform, mine) == {owner_digest("h2-team")}
    began = Journal(block(0).ledger(), mine.uid).get(ExperimentBegan)
    assert began is not None
    assert began.owner == owner_digest("h2-team")
    with pytest.raises(InvalidInputError, match="set the Block's owner"):
        block(1).experiment("grouped")
    with pytest.raises(InvalidInputError, match="another owner"):
        block(0, "cluster").experiment("grouped")
    with block(1, owner="h2-team").experiment("grouped") as again:
        _counts(again, 10)
        assert again.session_id == mine.session_id
    assert _jobs(platform, mine) == 1


def test_the_identity_can_be_named_as_the_owner(platform: LocalPlatform, block: Blocks) -> None:
    """By whoever has another account now."""
    mine = block(0).experiment("renewed account")
    _counts(mine, 10)
    assert block(1, owner=platform.accounts[0].id).experiment("renewed account").uid == mine.uid
    mine.close_session()


def test_another_owners_experiment_is_taken_by_uid(platform: LocalPlatform, block: Blocks) -> None:
    """Its results are had, its session is borrowed, in this opening and in later ones."""
    with block(0).experiment("shown") as mine:
        _counts(mine, 10)
        with block(1).experiment("shown", uid=mine.uid) as taken:
            _counts(taken, 10)
            _counts(taken, 20)
            assert taken.session_id == mine.session_id
        assert mine.session_details().accepts_jobs
        _counts(mine, 11)
        again = block(1).experiment("shown")
        assert again.uid == mine.uid
        assert not again.cancel_session()
        assert mine.session_details().accepts_jobs
        assert _jobs(platform, mine) == 3
        kinds = [one.kind for one in read_sessions(Journal(block(1).ledger(), mine.uid))]
        assert kinds == ["borrowed"]
    kinds = [one.kind for one in read_sessions(Journal(block(0).ledger(), mine.uid))]
    assert kinds == ["opened"]
    assert not mine.session_details().accepts_jobs
    began = Journal(block(1).ledger(), mine.uid).get(ExperimentBegan)
    assert began is not None
    assert (began.owner, began.taken) == (owner_digest(platform.accounts[0].id), True)


def test_what_a_taken_experiment_opens_is_its_takers(
    platform: LocalPlatform, block: Blocks
) -> None:
    """The taker closes it, and the first owner neither closes nor works in it."""
    mine = block(0).experiment("continued")
    _counts(mine, 10)
    first = mine.session_id
    mine.close_session()
    taker = block(1)
    taker.on_expiry = "reopen"
    taken = taker.experiment("continued", uid=mine.uid)
    _counts(taken, 10)
    with pytest.raises(ExperimentStoppedError, match="whoever lent it"):
        _counts(taken, 20)
    resume(Journal(taker.ledger(), taken.uid), taken.identity, "the taker")
    _counts(taken, 20)
    assert taken.session_id != first
    with block(0).experiment("continued") as again:
        _counts(again, 10)
        _counts(again, 20)
        _counts(again, 30)
        assert again.session_id not in {first, taken.session_id}
    assert taken.session_details().accepts_jobs
    assert taken.close_session()
    assert _jobs(platform, mine) == 3


def test_a_taker_cancels_none_of_the_owners_jobs(tmp_path: Path) -> None:
    """Neither as twins nor with the run; the taker's own are cancelled."""
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with LocalPlatform(layout=LAYOUT, time_scale=0, job_seconds=60) as platform:
        mine = _block(platform, tmp_path, 0).experiment("in flight")
        first = mine.submit_sampler([circuit], shots=10)
        taken = _block(platform, tmp_path, 1).experiment("in flight", uid=mine.uid)
        taken.submit_sampler([circuit], shots=10)
        second = taken.submit_sampler([circuit], shots=20)
        twin = mine.submit_sampler([circuit], shots=30)
        also = taken.submit_sampler([circuit], shots=30)
        assert twin.job_id != also.job_id
        taken.close_session()  # and so looks for twins
        mine.close_session()
        assert not taken.cancel_session()
        states = {job["id"]: job["state"] for job in Admin.of(platform.info).jobs()}
    assert [states[job.job_id] for job in (first, twin)] == ["running", "queued"]
    assert [states[job.job_id] for job in (second, also)] == ["cancelled", "cancelled"]


def test_a_name_that_the_ledger_knows_is_never_checked(
    platform: LocalPlatform, block: Blocks
) -> None:
    """A team's ledger serves all its members, and opening makes no request."""
    mine = block(0, "shared").experiment("known")
    _counts(mine, 10)
    theirs = block(1)
    theirs.ledger_url = block(0, "shared").ledger_url
    before = _requests(platform)
    with theirs.experiment("known") as again:
        assert _requests(platform) == before
        _counts(again, 10)
        _counts(again, 11)
        assert again.session_id == mine.session_id
    assert not mine.session_details().accepts_jobs


def test_jobs_that_do_not_say_whose_they_are_are_nobody_elses(
    platform: LocalPlatform, block: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of earlier versions, and of a platform that gives no identity."""
    old = Versions(identity=2, tags=2)
    with monkeypatch.context() as earlier:
        earlier.setattr("session_block.records.identity.CURRENT", old)
        mine = block(0).experiment("older")
    _counts(mine, 10)
    assert _owners(platform, mine) == {None}
    with block(1).experiment("older") as found:
        assert (found.uid, found.versions) == (mine.uid, old)
        _counts(found, 10)
        _counts(found, 11)
    assert _owners(platform, mine) == {None}
    assert _jobs(platform, mine) == 2
