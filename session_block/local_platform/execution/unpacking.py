"""Refuse parameters that would unpack to more than a machine holds.

The client compresses circuits and arrays, and zlib unpacks to as much as a thousand times the size.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from string import ascii_letters, digits
from typing import Any

from session_block.local_platform.execution.refusals import ProgramFailedError

MAX_UNPACKED_BYTES = 512 * 1024 * 1024
"""How much all of a job's parameters may unpack to. A guess: nobody has seen IBM's limit."""

_CHUNK = 1024 * 1024
_QUANTUM = 4
"""So many letters of base 64 are whole bytes."""
_FOREIGN = bytes(set(range(256)) - set(f"{ascii_letters}{digits}+/".encode()))
_ARCHIVE = b"PK"


def check_unpacked(params: str, limit: int = MAX_UNPACKED_BYTES) -> None:
    """Unpack everything that is compressed, a piece at a time, and keep nothing.

    Raises:
        ProgramFailedError: It is more than the limit. IBM's code for a job that ran out of memory
            is 1336 (real); that it would be given here is a guess.
        ValueError: The parameters are no JSON.
    """
    left = limit
    for text in _texts(json.loads(params)):
        left -= _size(text, left)
        if left < 0:
            raise ProgramFailedError(
                1336,
                f"The parameters unpack to more than {limit} bytes: the job ran out of memory.",
                "Split the job into several ones.",
                is_free=True,
            )


def _texts(content: Any) -> Iterator[str]:
    waiting = [content]
    while waiting:
        match waiting.pop():
            case str(text):
                yield text
            case list(items):
                waiting += items
            case dict(fields):
                waiting += fields.values()


def _size(text: str, limit: int) -> int:
    """Return how much a text unpacks to, or something over the limit; 0 if it is not packed.

    Of a stream that breaks off, what comes before counts: so far the client unpacks it, too.
    """
    stream, size = zlib.decompressobj(), 0
    for number, rest in enumerate(_decoded(text)):
        if number == 0 and rest.startswith(_ARCHIVE):
            return _size_of_archive(text)
        try:
            while rest and not stream.eof and size <= limit:
                size += len(stream.decompress(rest, _CHUNK))
                rest = stream.unconsumed_tail  # noqa: PLW2901
        except zlib.error:
            return size
        if stream.eof or size > limit:
            break
    return size


def _decoded(text: str) -> Iterator[bytes]:
    """Give the bytes of a text in base 64, a piece at a time.

    The client has two decoders. Both skip foreign letters, and one goes on after a padding; here
    all that is no letter of base 64 is skipped, so what either decodes begins what this does.
    """
    letters = b""
    for begin in range(0, len(text), _CHUNK):
        piece = text[begin : begin + _CHUNK].encode("ascii", "ignore")
        letters += piece.translate(None, _FOREIGN)
        whole = len(letters) // _QUANTUM * _QUANTUM
        if whole:
            yield b64decode(letters[:whole])
        letters = letters[whole:]
    if len(letters) > 1:
        yield b64decode(letters.ljust(_QUANTUM, b"="))


def _size_of_archive(text: str) -> int:
    """Return the size of an archive's content: the client's sparse matrices are such."""
    try:
        # No more comes out of a member than the archive says.
        with zipfile.ZipFile(BytesIO(b64decode(text))) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        return 0  # whoever decodes it says so
