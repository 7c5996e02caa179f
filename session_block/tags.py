"""Pure: the tags by which an experiment's jobs are found at the platform.

Each job bears three: one of the experiment's name, for people and for a ledger that was lost, one
of its UID, and one of its submission and generation. IBM allows eight tags of 86 characters.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

MAX_TAG_LENGTH = 86
_NAME = "qs-exp:"
_UID = "qs-uid:"
_SUBMISSION = re.compile(r"qs-sub:([0-9a-f]+)\.([0-9a-f]+)\.([1-9][0-9]*)((?:\.[a-z]+)?)")
_FLAGS = {"borrowed": "b", "labelled": "l", "concurrent": "c"}


@dataclass(frozen=True)
class SubmissionTag:
    """What a job's tag says of it: also what a lost ledger could not tell any more.

    Attributes:
        borrowed: The job's session was opened by somebody else.
        labelled: The user gave the request a label.
        concurrent: The request was one of several threads'.
    """

    uid: str
    submission: str
    generation: int
    borrowed: bool = False
    labelled: bool = False
    concurrent: bool = False

    def __str__(self) -> str:
        flags = "".join(letter for name, letter in _FLAGS.items() if getattr(self, name))
        suffix = f".{flags}" if flags else ""
        return f"qs-sub:{self.uid}.{self.submission}.{self.generation}{suffix}"

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return what a tag says, or ``None`` if it is none of a submission."""
        match = _SUBMISSION.fullmatch(tag)
        if match is None:
            return None
        uid, submission, generation, flags = match.groups()
        given = {name: letter in flags for name, letter in _FLAGS.items()}
        return cls(uid, submission, int(generation), **given)


def name_tag(name: str) -> str:
    """Return the tag of an experiment's name; a long name is cut, and told apart by its digest."""
    tag = f"{_NAME}{name}"
    if len(tag) <= MAX_TAG_LENGTH:
        return tag
    return f"{tag[: MAX_TAG_LENGTH - 17]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def uid_tag(uid: str) -> str:
    """Return the tag by which all jobs of one experiment, and no others, are found."""
    return f"{_UID}{uid}"


def uid_of(tags: tuple[str, ...]) -> str | None:
    """Return the UID of the experiment whose job bears these tags."""
    return next((tag.removeprefix(_UID) for tag in tags if tag.startswith(_UID)), None)
