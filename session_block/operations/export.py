"""All that a ledger holds about one experiment, as one JSON document.

The document's members (later versions may add members, but rename or drop none):

``format``, ``format_version``
    ``session-block-experiment``, and 1.
``experiment``
    What ``session-block experiments show --json`` prints: name, number and UID, state, backend,
    ``sessions``, ``submissions``, ``attempts``, ``flow_runs``, ``budget``, ``usage``, ``report``.
``results``
    One entry for each submission with a result, in the order of the requests: ``submission``,
    ``label``, ``job_id``, ``values`` as plain numbers (see
    :func:`session_block.pubs.encoding.plain_values`), and the whole ``result`` as IBM's runtime
    JSON. Read the document with ``json.load(file, cls=qiskit_ibm_runtime.RuntimeDecoder)`` to get
    ``result`` as Qiskit's own ``PrimitiveResult``.
``facts``
    All facts, oldest first: ``key``, ``body``, ``writer``, ``created_at``, and ``payload``: what
    the fact holds besides its body, in Base64 (a pinned circuit is QPY), or ``null``. Results are
    not repeated there.

The ledger holds no secrets, nor does the document.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

from session_block.errors import InvalidInputError
from session_block.ledger.store import Fact, Ledger
from session_block.operations.experiments import described_in_full
from session_block.pubs.encoding import plain_values, runtime_json
from session_block.records.identity import Identity
from session_block.records.keys import Result, kind_of
from session_block.records.views import ExperimentView

FORMAT = "session-block-experiment"
FORMAT_VERSION = 1


def exported(ledger: Ledger, identity: Identity) -> dict[str, Any]:
    """Return an experiment's document, as JSON values.

    Raises:
        LedgerError: The ledger cannot be read or trusted.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> document = exported(ledger, experiment.identity)
        >>> document["format"], document["results"][-1]["job_id"] == experiment.job_ids[-1]
        ('session-block-experiment', True)
    """
    view = ExperimentView(identity, ledger)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "experiment": described_in_full(ledger, identity),
        "results": [
            {
                "submission": one.submission,
                "label": one.label,
                "job_id": one.job_id,
                "values": plain_values(one.result),
                "result": runtime_json(one.result),
            }
            for one in view.results()
        ],
        "facts": [_fact(ledger, fact) for fact in ledger.facts(identity.uid)],
    }


def write(document: dict[str, Any], path: Path, *, overwrite: bool) -> None:
    """Write a document to a file, which appears complete or not at all.

    Raises:
        InvalidInputError: The file exists and ``overwrite`` is not set, or it cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> write(exported(ledger, experiment.identity), Path("example.json"), overwrite=True)
        >>> '"session-block-experiment"' in Path("example.json").read_text()
        True
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(document, indent=1) + "\n")
        try:
            if overwrite:
                new.replace(path)
            else:
                # A link, unlike a rename, fails if the file exists by now.
                path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)
    except FileExistsError as error:
        raise InvalidInputError(
            f"{path} exists. Give another name, or --overwrite to replace it."
        ) from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from error


def _fact(ledger: Ledger, fact: Fact) -> dict[str, Any]:
    payload = None
    if kind_of(fact.key) is not Result:
        whole = ledger.get(fact.experiment, fact.key)
        payload = None if whole is None else whole.payload
    return {
        "key": fact.key,
        "body": dict(fact.body),
        "writer": fact.writer,
        "created_at": fact.created_at.isoformat(),
        "payload": None if payload is None else b64encode(payload).decode(),
    }
