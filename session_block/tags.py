"""Pure: the tags with which an experiment's jobs are found on the platform.

Each job has three: one with the experiment's name, for people and for a lost ledger, one with its
UID, and one with its submission. IBM allows eight tags of 86 characters [docs]; five are left to
the user.

A submission's tag begins with its core: UID, submission and generation. Jobs are looked up by the
UID's tag, and told apart by the core. In the second version of the grammar everything else is in a
suffix, which is parsed and never matched: ``.2``, then tokens of a letter and a value. Unknown
tokens are ignored. In the first version only flags followed the core. The third version adds
tokens: whose the job is, and which flow run asked for it.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

MAX_TAG_LENGTH = 86
_DIGITS = string.digits + string.ascii_lowercase
NEWEST = 3
"""The newest version of the grammar."""

_NAME = "qs-exp:"
_UID = "qs-uid:"
_CORE = re.compile(r"qs-sub:([0-9a-f]+)\.([0-9a-f]+)\.([1-9][0-9]*)(?:\.(.*))?")
_FIRST_SUFFIX = re.compile(r"[a-z]*")
_LATER_SUFFIX = re.compile(r"([1-9][0-9]*)((?:-[a-z][0-9a-z]*)*)")
_FLAGS = {"borrowed": "b", "labelled": "l", "concurrent": "c"}
_KINDS = {"sampler": "s", "estimator": "e", "executor": "x"}
"""Flags, too. The listing has one name for all three if the client's executor sends them."""
_KINDS_SINCE = 3
_NUMBERS = {"number": "n", "occurrence": "o", "identity": "i", "fingerprint": "p"}
_WITHOUT_TOKEN = {"number": 1, "identity": 1, "fingerprint": 1}
"""The values of numbers that have no token in the tag."""
_DIGESTS = {"owner": "w", "asker": "a"}
"""In the order in which they are written while there is room."""
_DIGESTS_SINCE = 3
_OWNER_DIGITS = 8
_CALL_DIGITS = 5
_FORMS = {
    "owner": re.compile(f"[0-9a-f]{{{_OWNER_DIGITS}}}"),
    "asker": re.compile(f"[0-9a-z]{{{1 + _CALL_DIGITS}}}"),
}


@dataclass(frozen=True)
class SubmissionTag:
    """The content of a job's submission tag, with what is needed again if the ledger is lost.

    Attributes:
        borrowed: Somebody else opened the job's session.
        labelled: The user gave the request a label.
        concurrent: Several threads or tasks were making requests.
        number: Which experiment of its name it is.
        occurrence: Which of several equal requests it is; ``None`` if the tag does not say.
        identity: Version of the rule that recognises the experiment.
        fingerprint: Version of the rule that recognises the submission.
        version: The version of the tag's grammar.
        owner: Digest of whose job it is; see :func:`owner_digest`. ``None`` if the tag does not
            say.
        asker: Digest of the flow run that asked for it, if several share the experiment; see
            :func:`asker_digest`. ``None`` if the tag does not say.
        kind: What was asked for: ``sampler``, ``estimator`` or ``executor``. ``None`` if the tag
            does not say.
    """

    uid: str
    submission: str
    generation: int
    borrowed: bool = False
    labelled: bool = False
    concurrent: bool = False
    number: int = 1
    occurrence: int | None = None
    identity: int = 1
    fingerprint: int = 1
    version: int = 1
    owner: str | None = None
    asker: str | None = None
    kind: str | None = None

    @property
    def core(self) -> tuple[str, str, int]:
        """UID, submission and generation: the only part of a tag that is ever compared."""
        return self.uid, self.submission, self.generation

    def __str__(self) -> str:
        core = f"qs-sub:{self.uid}.{self.submission}.{self.generation}"
        flags = "".join(letter for name, letter in _FLAGS.items() if getattr(self, name))
        if self.version == 1:
            return f"{core}.{flags}" if flags else core
        if self.version >= _KINDS_SINCE:
            flags += _KINDS.get(self.kind or "", "")
        tokens = [f"f{flags}"] if flags else []
        tokens += [
            f"{letter}{value}"
            for name, letter in _NUMBERS.items()
            if (value := getattr(self, name)) not in {None, _WITHOUT_TOKEN.get(name)}
        ]
        tag = "-".join([f"{core}.{self.version}", *tokens])
        for name, letter in _DIGESTS.items() if self.version >= _DIGESTS_SINCE else ():
            # With very large numbers they are left out.
            value = getattr(self, name)
            longer = tag if value is None else f"{tag}-{letter}{value}"
            tag = longer if len(longer) <= MAX_TAG_LENGTH else tag
        if len(tag) > MAX_TAG_LENGTH:
            raise ValueError(f"{tag} is longer than {MAX_TAG_LENGTH} characters")
        return tag

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return the content of a tag, or ``None`` if it is not a submission's tag.

        If the grammar is newer than this program, only the core is read.
        """
        match = _CORE.fullmatch(tag)
        if match is None:
            return None
        uid, submission, generation, suffix = match.groups()
        if suffix is None or _FIRST_SUFFIX.fullmatch(suffix):
            return cls._read(uid, submission, generation, {"f": suffix or ""}, 1)
        later = _LATER_SUFFIX.match(suffix)
        if later is None:
            return None
        version = int(later[1])
        known = version <= NEWEST
        tokens = {token[0]: token[1:] for token in later[2].split("-") if token and known}
        return cls._read(uid, submission, generation, tokens, version)

    @classmethod
    def _read(
        cls, uid: str, submission: str, generation: str, tokens: Mapping[str, str], version: int
    ) -> Self:
        flags = tokens.get("f", "")
        digests = {
            name: tokens[letter]
            for name, letter in _DIGESTS.items()
            if version >= _DIGESTS_SINCE and _FORMS[name].fullmatch(tokens.get(letter, ""))
        }
        kinds = [kind for kind, letter in _KINDS.items() if letter in flags]
        numbers = {
            name: int(tokens[letter])
            for name, letter in _NUMBERS.items()
            if tokens.get(letter, "").isdecimal()
        }
        return cls(
            uid,
            submission,
            int(generation),
            borrowed=_FLAGS["borrowed"] in flags,
            labelled=_FLAGS["labelled"] in flags,
            concurrent=_FLAGS["concurrent"] in flags,
            number=numbers.get("number", 1),
            occurrence=numbers.get("occurrence"),
            identity=numbers.get("identity", 1),
            fingerprint=numbers.get("fingerprint", 1),
            version=version,
            kind=kinds[0] if kinds and version >= _KINDS_SINCE else None,
            **digests,
        )


def owner_digest(owner: str) -> str:
    """Return what tags and facts say of an owner; short, because a tag is."""
    return hashlib.sha256(owner.encode()).hexdigest()[:_OWNER_DIGITS]


def asker_digest(run: str, call: str) -> str:
    """Return what a tag says of the flow run that asked.

    Its first character is of the outermost run; see :func:`is_asker`.

    Args:
        run: The ID of the outermost flow run.
        call: The calls of subflows on the way down, as Prefect counts them.
    """
    return _short(run, 1) + _short(call, _CALL_DIGITS)


def is_asker(told: str, run: str, call: str) -> bool:
    """Whether a request may be that of this flow run: it is, or another outermost run asked.

    Another outermost run that goes on with an experiment makes all its requests again.

    Args:
        told: What the tag says; see :func:`asker_digest`.
        run: The ID of the outermost flow run.
        call: The calls of subflows on the way down, as Prefect counts them.
    """
    asker = asker_digest(run, call)
    return told == asker or told[0] != asker[0]


def _short(text: str, digits: int) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return "".join(_DIGITS[number // 36**place % 36] for place in reversed(range(digits)))


def name_tag(name: str) -> str:
    """Return the tag of an experiment's name; a long name is cut and gets a digest."""
    tag = f"{_NAME}{name}"
    if len(tag) <= MAX_TAG_LENGTH:
        return tag
    return f"{tag[: MAX_TAG_LENGTH - 17]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def uid_tag(uid: str) -> str:
    """Return the tag that all jobs of one experiment have, and no others."""
    return f"{_UID}{uid}"


def uid_of(tags: tuple[str, ...]) -> str | None:
    """Return the UID in a job's tags; ``None`` if it is not a job of an experiment."""
    return next((tag.removeprefix(_UID) for tag in tags if tag.startswith(_UID)), None)
