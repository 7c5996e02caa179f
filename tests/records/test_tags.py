"""The tags of jobs: a core that is matched, and all else, which is parsed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_block.client import ListedJob
from session_block.errors import LedgerVersionError
from session_block.records.identity import Lost, lost_among
from session_block.records.versions import CURRENT, FIRST, Versions
from session_block.tags import (
    MAX_TAG_LENGTH,
    NEWEST,
    SubmissionTag,
    asker_digest,
    is_asker,
    name_tag,
    owner_digest,
    uid_tag,
)

UID, SUBMISSION = "82e94c5ea36f4e09", "77c791163cb2970d5808713c"
ASKER = "0k3z9a"
OWNER, OTHER = owner_digest("h2-team"), owner_digest("IBMid-550000ABCD")


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        (f"qs-sub:{UID}.{SUBMISSION}.1", SubmissionTag(UID, SUBMISSION, 1)),
        (
            f"qs-sub:{UID}.{SUBMISSION}.12.bl",
            SubmissionTag(UID, SUBMISSION, 12, borrowed=True, labelled=True),
        ),
        (f"qs-sub:{UID}.{SUBMISSION}.1.2", SubmissionTag(UID, SUBMISSION, 1, version=2)),
        (
            f"qs-sub:{UID}.{SUBMISSION}.3.2-fblc-n4-o120-i2-p3",
            SubmissionTag(
                UID,
                SUBMISSION,
                3,
                borrowed=True,
                labelled=True,
                concurrent=True,
                number=4,
                occurrence=120,
                identity=2,
                fingerprint=3,
                version=2,
            ),
        ),
        (f"qs-sub:{UID}.{SUBMISSION}.1.3", SubmissionTag(UID, SUBMISSION, 1, version=3)),
        (
            f"qs-sub:{UID}.{SUBMISSION}.1.3-fb-o7-i2-w{OWNER}",
            SubmissionTag(
                UID,
                SUBMISSION,
                1,
                borrowed=True,
                occurrence=7,
                identity=2,
                version=3,
                owner=OWNER,
            ),
        ),
        (
            f"qs-sub:{UID}.{SUBMISSION}.1.3-o7-i2-w{OWNER}-a{ASKER}",
            SubmissionTag(
                UID,
                SUBMISSION,
                1,
                occurrence=7,
                identity=2,
                version=3,
                owner=OWNER,
                asker=ASKER,
            ),
        ),
        (
            f"qs-sub:{UID}.{SUBMISSION}.1.3-fe-o7-w{OWNER}",
            SubmissionTag(
                UID, SUBMISSION, 1, occurrence=7, version=3, owner=OWNER, kind="estimator"
            ),
        ),
    ],
)
def test_tags_are_written_and_read_as_ever(tag: str, says: SubmissionTag) -> None:
    """To the letter, in each version of the grammar."""
    assert str(says) == tag
    assert SubmissionTag.parse(tag) == says


@given(
    st.builds(
        SubmissionTag,
        st.just(UID),
        st.just(SUBMISSION),
        st.integers(1, 999),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        number=st.integers(1, 999),
        occurrence=st.none() | st.integers(1, 99_999),
        identity=st.just(CURRENT.identity),
        version=st.just(NEWEST),
        owner=st.sampled_from([None, OWNER]),
        asker=st.sampled_from([None, ASKER]),
        kind=st.sampled_from([None, "sampler", "estimator", "executor"]),
    )
)
def test_whatever_a_tag_says_it_fits_and_is_read_again(tag: SubmissionTag) -> None:
    """Within IBM's 86 characters; with large numbers there is no room for the asker."""
    assert len(str(tag)) <= MAX_TAG_LENGTH
    assert SubmissionTag.parse(str(tag)) in (tag, replace(tag, asker=None))


def test_a_tag_without_room_leaves_out_its_owner_and_asker() -> None:
    """With numbers that nobody reaches; the other jobs of the experiment have the owner."""
    tag = SubmissionTag(
        UID,
        SUBMISSION,
        10**9,
        number=10**9,
        occurrence=10**9,
        version=3,
        owner=OWNER,
        asker=ASKER,
    )
    assert len(str(tag)) <= MAX_TAG_LENGTH
    assert SubmissionTag.parse(str(tag)) == replace(tag, owner=None, asker=None)


def test_the_usual_tag_has_room_for_the_asker_and_the_kind() -> None:
    """Of a thousand equal requests, in an experiment with an owner."""
    tag = SubmissionTag(
        UID,
        SUBMISSION,
        1,
        concurrent=True,
        occurrence=1000,
        identity=CURRENT.identity,
        fingerprint=CURRENT.fingerprint,
        version=NEWEST,
        owner=OWNER,
        asker=ASKER,
        kind="estimator",
    )
    assert SubmissionTag.parse(str(tag)) == tag


def test_an_asker_is_known_again_in_its_own_run_only() -> None:
    """Another run asks again for all that the one before had asked for."""
    told = asker_digest("run", "leaf.0")
    assert SubmissionTag.parse(f"qs-sub:{UID}.{SUBMISSION}.1.3-a{told}") == SubmissionTag(
        UID, SUBMISSION, 1, version=3, asker=told
    )
    assert is_asker(told, "run", "leaf.0")
    assert not is_asker(told, "run", "leaf.1")
    others = [f"run {number}" for number in range(100)]
    assert sum(is_asker(told, one, "leaf.1") for one in others) > 90


@pytest.mark.parametrize("suffix", ["2-x9-o7", "2-o7-wabc", "2-o7-zzz1", "2-o7-w0a1b2c3d"])
def test_what_a_tag_says_more_is_passed_over(suffix: str) -> None:
    """A token that this version does not know changes nothing of the others."""
    found = SubmissionTag.parse(f"qs-sub:{UID}.{SUBMISSION}.1.{suffix}")
    assert found == SubmissionTag(UID, SUBMISSION, 1, occurrence=7, version=2)


def test_of_a_newer_grammar_the_core_is_read() -> None:
    """So that its job is counted, and its experiment refused."""
    found = SubmissionTag.parse(f"qs-sub:{UID}.{SUBMISSION}.1.7-anything-goes")
    assert found is not None
    assert (found.core, found.version) == ((UID, SUBMISSION, 1), 7)


@pytest.mark.parametrize(
    "tag", ["qs-sub:", "qs-sub:xyz.ab.1", f"qs-sub:{UID}.{SUBMISSION}.0", "mine"]
)
def test_what_is_no_tag_of_ours_is_none(tag: str) -> None:
    """A user's own tag is left alone."""
    assert SubmissionTag.parse(tag) is None


def _job(uid: str, tag: SubmissionTag, program: str | None = None) -> ListedJob:
    return _listed(name_tag("e"), uid_tag(uid), str(tag), "the user's", program=program)


def _listed(*tags: str, program: str | None = None) -> ListedJob:
    return ListedJob("j", "2026-11-29T12:00:00Z", "Completed", None, tags, program=program)


def test_lost_experiments_tell_their_number_and_versions() -> None:
    """Each by its own jobs, and in their order; one without a submission's tag is a first one."""
    old = SubmissionTag(UID, SUBMISSION, 1)
    new = SubmissionTag("ab", SUBMISSION, 1, number=3, version=2)
    jobs = [_job(UID, old), _listed("mine"), _job("ab", new), _listed(uid_tag("cd"))]
    found = lost_among(jobs)
    assert found == [Lost(UID, 1, FIRST), Lost("ab", 3, Versions(tags=2)), Lost("cd", 1, FIRST)]


def test_lost_experiments_tell_their_family_of_primitives() -> None:
    """The first job of a primitive does; a program of another kind tells nothing."""
    programs = {UID: ["executor", "sampler"], "ab": ["noise-learner", "estimator"], "cd": [None]}
    tags = {uid: SubmissionTag(uid, SUBMISSION, 1) for uid in programs}
    jobs = [_job(uid, tags[uid], one) for uid, several in programs.items() for one in several]
    assert [one.family for one in lost_among(jobs)] == ["executor", "v2", None]


@pytest.mark.parametrize(
    ("owners", "asks", "other"),
    [
        ([OTHER], OWNER, OTHER),
        ([None, OTHER, OTHER], OWNER, OTHER),
        ([OWNER], OWNER, None),
        ([OTHER, OWNER], OWNER, None),
        ([None], OWNER, None),
        ([OTHER], None, None),
    ],
)
def test_a_lost_experiment_is_anothers_only_for_certain(
    owners: list[str | None], asks: str | None, other: str | None
) -> None:
    """Its jobs say whose they are, who asks is known, and none of the jobs is theirs."""
    jobs = [
        _job(UID, SubmissionTag(UID, SUBMISSION, n, version=3, owner=owner))
        for n, owner in enumerate(owners, start=1)
    ]
    assert [one.other_owner for one in lost_among(jobs, asks)] == [other]


@pytest.mark.parametrize(
    ("versions", "what"),
    [
        (Versions(identity=CURRENT.identity + 1), "identity rule"),
        (Versions(fingerprint=CURRENT.fingerprint + 1), "fingerprint"),
        (Versions(tags=CURRENT.tags + 1), "grammar of tags"),
    ],
)
def test_a_newer_version_is_refused_by_name(versions: Versions, what: str) -> None:
    """A program never guesses by which rule an experiment is recognised."""
    with pytest.raises(LedgerVersionError, match=f"begun by a newer version.*{what}.*Upgrade"):
        versions.check_known("'e'")
    CURRENT.check_known("'e'")
    FIRST.check_known("'e'")
