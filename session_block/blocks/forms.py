"""Blocks as Prefect's forms show, save and load them.

A form has one input for a field of one type. It shows a union as a row of tabs, ``None`` included,
and if Prefect picks the wrong tab for a value, the value is not shown. A document that a form saves
is not validated before it is loaded in Python.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Annotated, Any, Self, cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.utilities.names import obfuscate
from pydantic import (
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from session_block import aio
from session_block.errors import InvalidInputError

MASK = obfuscate(None)
"""The text that Prefect's API returns instead of a secret."""

_unknown_fields: ContextVar[dict[type[FormBlock], list[str]] | None] = ContextVar(
    "session_block_unknown_fields", default=None
)
"""Where a document's fields that this version does not know are collected while it is loaded.

Not in the context of pydantic's validation: it is lost where a class, as Prefect's Block, has its
own ``__init__``.
"""

_logger = logging.getLogger(__name__)

_ALIKE = 0.6
"""How alike a wrong name has to be to a right one, as ``difflib`` counts."""

_CHOICES: dict[str, bool | None] = {"no": False, "yes": True, "all": None}


def _leave_empty_for_none(field: JsonSchemaValue) -> None:
    """Turn a field that may be ``None`` into one input that may be left empty."""
    options = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del field["anyOf"]
        field.update(options[0])
    if field.get("default", MASK) is None:
        del field["default"]


def _meant(others: Sequence[str], known: Iterable[str]) -> str:
    """Say which fields were probably meant: for ``backend``, ``backend_name``."""
    found = [
        repr(name)
        for other in others
        for name in get_close_matches(other, known, n=1, cutoff=_ALIKE)
    ]
    return f" Did you mean {' and '.join(dict.fromkeys(found))}?" if found else ""


class FormBlock(Block):
    """A Block that refuses unknown fields, and never shows its input in an error.

    Prefect's Blocks accept any field. Invalid credentials for IBM would then pass as credentials of
    the local platform, which requires no fields.

    A saved document may have fields of a newer version. They are left out with a warning, as long
    as the document has a field that this version knows.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the fields to Prefect's forms."""
        schema = handler(core_schema)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            _leave_empty_for_none(field)
        return schema

    @classmethod
    def load(cls, name: str, validate: bool = True, client: PrefectClient | None = None) -> Self:
        """Return the saved Block of this name, in a notebook's cell too.

        Prefect's own :meth:`prefect.blocks.core.Block.load` gives a coroutine where an event loop
        runs. Here :meth:`aload` does.

        Args:
            name: Its name.
            validate: Whether all its fields must be there.
            client: Left for Prefect, which ignores it in blocking calls.

        Raises:
            ValueError: There is no such Block.

        Examples:
            >>> QuantumSession.load("my-session").backend_name
            'ibm_manila'
        """
        del client
        loaded: Any = super().load(name, validate)
        return cast("Self", aio.answered(loaded))

    def save(
        self, name: str | None = None, overwrite: bool = False, client: PrefectClient | None = None
    ) -> UUID:
        """Save the Block, in a notebook's cell too; return the ID of its document.

        Prefect's own :meth:`prefect.blocks.core.Block.save` gives a coroutine where an event loop
        runs, and saves nothing until that is awaited. Here :meth:`asave` does.

        Args:
            name: The name to save it under; by default the one that it has.
            overwrite: Whether to replace a Block of that name.
            client: Left for Prefect, which ignores it in blocking calls.

        Raises:
            ValueError: There is one of that name, and ``overwrite`` is not set.

        Examples:
            >>> exact = LocalPlatformCredentials(noise="exact")
            >>> document_id = exact.save("noiseless", overwrite=True)
            >>> LocalPlatformCredentials.load("noiseless").noise
            'exact'
        """
        del client
        saved: Any = super().save(name, overwrite)
        return cast("UUID", aio.answered(saved))

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Make the Block of a saved document, as Prefect does when it loads one."""
        unknown: dict[type[FormBlock], list[str]] = {}
        token = _unknown_fields.set(unknown)
        try:
            made = super().model_validate(obj, **options)
        finally:
            _unknown_fields.reset(token)
        for block, names in unknown.items():
            _logger.warning(
                "A %s Block was saved with %s, which this version of the package does not know, "
                "and ignores. A newer version may have saved it: install that one here too, and "
                "do not save the Block from here, which would drop what is ignored.",
                block.__name__,
                ", ".join(map(repr, names)),
            )
        return made

    @model_validator(mode="before")
    @classmethod
    def _has_no_other_fields(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        known = {*cls.model_fields, "block_type_slug"}
        others = [name for name in fields if name not in known and not name.startswith("_")]
        if not others:
            return fields
        loading = _unknown_fields.get()
        # Of two kinds of credentials, a document is of the kind whose fields it has.
        if loading is None or not any(name in fields for name in cls.model_fields):
            raise ValueError(
                f"{cls.__name__} has no field {', '.join(map(repr, others))}."
                f"{_meant(others, cls.model_fields)}"
            )
        loading[cls] = others
        return {name: value for name, value in fields.items() if name not in others}

    @model_validator(mode="after")
    def _holds_no_masks(self) -> Self:
        masked = [
            name
            for name, value in self
            if isinstance(value, SecretStr) and value.get_secret_value() == MASK
        ]
        if masked:
            raise ValueError(
                f"Only Prefect's mask {MASK} was saved for {' and '.join(masked)}. Prefect's UI "
                "does this if you edit a Block that uses these credentials, and do not choose them "
                "again: edit that Block, choose its credentials and save it. Prefect also masks a "
                "Block that is given to a flow run as a parameter: give its name instead."
            )
        return self


def _seconds_of_digits(duration: Any) -> Any:
    """Return a text without units as a number, anything else as it is."""
    if isinstance(duration, bool):
        raise InvalidInputError(f"{duration} is no duration. Write seconds, or '2h 30m 40s'.")
    if not isinstance(duration, str):
        return duration
    text = duration.strip()
    if text.isdecimal():
        return int(text)
    whole, point, part = text.partition(".")
    return float(text) if point and f"{whole}{part}".isdecimal() else duration


def _text_of(duration: float | str) -> str:
    whole = isinstance(duration, float) and duration.is_integer()
    return str(int(duration) if whole else duration)


Duration = Annotated[
    int | str,
    BeforeValidator(_seconds_of_digits),
    PlainSerializer(_text_of),
    WithJsonSchema({"type": "string"}),
]
"""Seconds, or text such as "2h 30m". In a form both are text."""

FractionalDuration = Annotated[
    float | str,
    BeforeValidator(_seconds_of_digits),
    PlainSerializer(_text_of),
    WithJsonSchema({"type": "string"}),
]
"""Seconds with fractions, or text such as "10m". In a form both are text."""

YesNoAll = Annotated[
    bool | None,
    BeforeValidator(lambda given: _CHOICES.get(given, given) if isinstance(given, str) else given),
    PlainSerializer({choice: text for text, choice in _CHOICES.items()}.__getitem__),
    WithJsonSchema({"type": "string", "enum": list(_CHOICES)}),
]
"""Yes, no, or ``None`` for all. A form shows three words, since an empty input is the default."""


def reasons(error: ValidationError) -> str:
    """Return which fields are wrong and why, in sentences that show no value."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].rstrip('.')}." for one in errors]
    return " ".join(told)
