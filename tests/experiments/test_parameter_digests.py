"""Digests of parameters: equal for what a retry passes again, different for anything else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, SecretStr
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from session_block import IBMSessionCredentials, JobRef, QuantumSession, SessionRef
from session_block.experiments.parameter_digests import digest_of, digests_of


class Colour(Enum):
    """An enumeration."""

    RED = "red"


class Model(BaseModel):
    """A user's model."""

    value: float
    secret: SecretStr = SecretStr("")


@dataclass
class Plain:
    """A user's class."""

    value: int


def _circuit(angle: float = 0.5) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.rx(angle, 0)
    return circuit


def _session(opening: str = "o", uid: str = "u", session_id: str = "s") -> SessionRef:
    return SessionRef(
        block="b", experiment="e", number=1, uid=uid, opening=opening, session_id=session_id
    )


def _job(submission: str = "s", job_id: str = "j", opening: str = "o") -> JobRef:
    return JobRef(
        session=_session(opening),
        submission=submission,
        generation=1,
        job_id=job_id,
        kind="sampler",
    )


def _block(letter: str = "t", instance: str = "i") -> QuantumSession:
    return QuantumSession(
        credentials=IBMSessionCredentials(token=SecretStr(letter * 44), instance=instance)
    )


EQUAL: dict[str, tuple[Any, Any]] = {
    "a reference of another opening": (_session(), _session(opening="p", session_id="z")),
    "a reference as JSON": (_session(), _session(opening="p").model_dump()),
    "a job of another attempt": (_job(), _job(job_id="k", opening="p")),
    "a job as JSON": (_job(), _job(opening="p").model_dump(mode="json")),
    "a Block with another token": (_block(), _block("u")),
    "a secret": (SecretStr("a"), SecretStr("b")),
    "NumPy's number": (np.int64(3), 3),
    "NumPy's float": (np.float64(0.5), 0.5),
    "a tuple": ((1, 2), [1, 2]),
    "a set in another order": ({"a", "b", "c"}, {"c", "b", "a"}),
    "an enumeration": (Colour.RED, "red"),
    "a path": (Path("a/b"), "a/b"),
    "a model with another secret": (Model(value=1), Model(value=1, secret=SecretStr("x"))),
    "a circuit made again": (_circuit(), _circuit()),
    "an operator made again": (SparsePauliOp("ZZ"), SparsePauliOp("ZZ")),
}
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "another experiment": (_session(), _session(uid="v")),
    "another job": (_job(), _job("t")),
    "another instance": (_block(), _block(instance="k")),
    "another number": (1, 2),
    "a number and its text": (1, "1"),
    "true and one": (True, 1),
    "another array": (np.zeros(2), np.zeros(3)),
    "another circuit": (_circuit(), _circuit(0.6)),
    "another operator": (SparsePauliOp("ZZ"), SparsePauliOp("ZX")),
    "another coefficient": (SparsePauliOp("ZZ"), SparsePauliOp("ZZ", 2.0)),
    "another model": (Model(value=1), Model(value=2)),
    "another object": (Plain(1), Plain(2)),
    "another function": (_circuit, _session),
    "another partial": (partial(_circuit, 0.1), partial(_circuit, 0.2)),
    "another time": (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    "none and nothing": (None, ""),
    "an empty list": ([], {}),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_what_is_the_same_in_a_retry_has_one_digest(pair: tuple[Any, Any]) -> None:
    """Openings, tokens, NumPy's types and the identity of objects do not count."""
    assert digest_of(pair[0]) == digest_of(pair[1])


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_has_another_digest(pair: tuple[Any, Any]) -> None:
    """Also deep inside of lists and dicts."""
    assert digest_of(pair[0]) != digest_of(pair[1])
    assert digests_of({"a": [{"b": pair[0]}]}) != digests_of({"a": [{"b": pair[1]}]})


@pytest.mark.parametrize(
    "make", [object, lambda: (one for one in [1])], ids=["object", "generator"]
)
def test_an_object_without_content_counts_by_its_class(make: Callable[[], Any]) -> None:
    """Two such objects are told apart by the order of the calls alone."""
    assert digest_of(make()) == digest_of(make())


def test_digests_are_the_same_in_another_process() -> None:
    """With another hash seed."""
    script = (
        "from session_block.experiments.parameter_digests import digest_of\n"
        "from qiskit import QuantumCircuit\n"
        "circuit = QuantumCircuit(1); circuit.rx(0.5, 0)\n"
        "print(digest_of([{'a', 'b'}, circuit, 0.1]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split()[-1] == digest_of([{"a", "b"}, _circuit(), 0.1])
