"""Pure: the tags that find an experiment's jobs at the platform.

Each job bears three: one of the experiment's name, for people and for a ledger that was lost, one
of its UID, and one of its submission. IBM allows eight tags of 86 characters [docs]; five are the
user's.

A submission's tag begins with its core: UID, submission and generation. Jobs are looked up by the
tag of their UID, and told apart by the core. In the second version of the grammar whatever else a
tag says stands in a suffix, which is parsed and never matched: ``.2`` and tokens of a letter and a
value; unknown tokens are passed over. In the first version only flags followed the core.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

MAX_TAG_LENGTH = 86
NEWEST = 2
"""The newest version of the grammar."""

_NAME = "qs-exp:"
_UID = "qs-uid:"
_CORE = re.compile(r"qs-sub:([0-9a-f]+)\.([0-9a-f]+)\.([1-9][0-9]*)(?:\.(.*))?")
_FIRST_SUFFIX = re.compile(r"[a-z]*")
_LATER_SUFFIX = re.compile(r"([1-9][0-9]*)((?:-[a-z][0-9a-z]*)*)")
_FLAGS = {"borrowed": "b", "labelled": "l", "concurrent": "c"}
_NUMBERS = {"number": "n", "occurrence": "o", "identity": "i", "fingerprint": "p"}
_WITHOUT_TOKEN = {"number": 1, "identity": 1, "fingerprint": 1}
"""What a number is whose token is left out."""


@dataclass(frozen=True)
class SubmissionTag:
    """What a job's tag says of it: also what a lost ledger could not tell any more.

    Attributes:
        borrowed: The job's session was opened by somebody else.
        labelled: The user gave the request a label.
        concurrent: The request was one of several threads'.
        number: Which experiment of its name it is.
        occurrence: Which of several equal requests it is; ``None`` where the tag does not say.
        identity: Version of the rule that recognises the experiment.
        fingerprint: Version of the rule that recognises the submission.
        version: The version of the tag's grammar.
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

    @property
    def core(self) -> tuple[str, str, int]:
        """What alone tells a job's submission and generation; nothing else is ever compared."""
        return self.uid, self.submission, self.generation

    def __str__(self) -> str:
        core = f"qs-sub:{self.uid}.{self.submission}.{self.generation}"
        flags = "".join(letter for name, letter in _FLAGS.items() if getattr(self, name))
        if self.version == 1:
            return f"{core}.{flags}" if flags else core
        tokens = [f"f{flags}"] if flags else []
        tokens += [
            f"{letter}{value}"
            for name, letter in _NUMBERS.items()
            if (value := getattr(self, name)) not in {None, _WITHOUT_TOKEN.get(name)}
        ]
        tag = "-".join([f"{core}.{self.version}", *tokens])
        if len(tag) > MAX_TAG_LENGTH:
            raise ValueError(f"{tag} is longer than {MAX_TAG_LENGTH} characters")
        return tag

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return what a tag says, or ``None`` if it is none of a submission.

        Of a newer grammar only the core is read.
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
        )


def name_tag(name: str) -> str:
    """Return the tag of an experiment's name; a long name is cut, and told apart by its digest."""
    tag = f"{_NAME}{name}"
    if len(tag) <= MAX_TAG_LENGTH:
        return tag
    return f"{tag[: MAX_TAG_LENGTH - 17]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def uid_tag(uid: str) -> str:
    """Return the tag that all jobs of one experiment bear, and no others."""
    return f"{_UID}{uid}"


def uid_of(tags: tuple[str, ...]) -> str | None:
    """Return the UID of the experiment whose job bears these tags."""
    return next((tag.removeprefix(_UID) for tag in tags if tag.startswith(_UID)), None)
