"""``session-block check``: what a submission of circuits in a file would fail for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from session_block.cli.common import (
    AsJSON,
    BlockName,
    ExitCode,
    answer,
    connect,
    fail,
    load,
    reporting,
    soon,
)

_WRONG = ExitCode.WRONG_USAGE


def check(
    file: Annotated[
        Path,
        typer.Argument(help="OpenQASM 3 program, or QPY file."),
    ],
    block: BlockName,
    backend: Annotated[
        str | None, typer.Option("--backend", help="Name of the backend; by default the Block's.")
    ] = None,
    observable: Annotated[
        list[str] | None,
        typer.Option(
            "--observable",
            help="Pauli string, for the Estimator; may be repeated. Without one: the Sampler.",
        ),
    ] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="Shots of each circuit.")] = None,
    options: Annotated[
        str | None, typer.Option("--options", help="Options of the primitive, as JSON.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Say what a job of these circuits would fail for. Exit code 1: it would be refused.

    Nothing is submitted or recorded, and no session is opened.

    Example: session-block check bell.qasm --block my-session
    """
    asked: dict[str, Any] = {}
    if shots is not None:
        if observable:
            fail("--shots is for the Sampler, and --observable for the Estimator.", _WRONG)
        asked["shots"] = shots
    if options is not None:
        asked["options"] = _parsed(options)
    soon(f"Reading {file} …")  # what reads it takes a while to import
    from session_block.client import BackendChoice
    from session_block.errors import InvalidInputError
    from session_block.operations.circuit_files import check_circuits, read_circuits

    try:
        circuits = read_circuits(file)
    except InvalidInputError as error:
        fail(str(error), _WRONG)
    with reporting():
        loaded = load(block)
        name = backend or loaded.backend_name
        if name is None:
            fail(f"Block {block!r} names no backend. Give one: --backend NAME.", _WRONG)
        own = name == loaded.backend_name
        choice = BackendChoice(
            name, loaded.use_fractional_gates, loaded.calibration_id if own else None
        )
        found = check_circuits(
            circuits,
            connect(loaded),
            choice,
            loaded.implementation,
            observables=observable or None,
            **asked,
        )
    if as_json:
        answer(
            {
                "file": str(file),
                "backend": found.backend,
                "kind": found.kind,
                "circuits": found.circuits,
                "refused": found.refused,
                "findings": [one.model_dump(mode="json") for one in found.findings],
            }
        )
    else:
        for one in found.findings:
            typer.echo(f"{one.severity}  {one.rule}  {one}")
        if not found.findings:
            counted = "1 circuit" if found.circuits == 1 else f"{found.circuits} circuits"
            typer.echo(f"Nothing found: {counted} for the {found.kind}, {name}.")
    if found.refused:
        raise typer.Exit(ExitCode.REFUSED)


def _parsed(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        fail(f"--options is no JSON: {error}.", _WRONG)
    if not isinstance(options, dict):
        fail("--options must be a JSON object.", _WRONG)
    return options
