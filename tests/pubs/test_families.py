"""The client's families of primitives: each is used alone, and an experiment keeps its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args
from uuid import uuid4

import pytest
import qiskit_ibm_runtime
from prefect import get_client
from prefect.blocks.core import Block
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect_helpers import CHECKOUT
from pydantic import ValidationError
from qiskit import QuantumCircuit
from support import Platform

from session_block import QuantumSession
from session_block.blocks.quantum_session import block_name, load_block
from session_block.errors import InvalidInputError
from session_block.experiments.primitives import DurableEstimator, DurableSampler
from session_block.pubs import families
from session_block.pubs.families import default_implementation, primitive_class
from session_block.references import DEFAULT_IMPLEMENTATION, Implementation

CLIENT = Path(qiskit_ibm_runtime.__file__).parent
_EXPORTS = {
    "v2": r"^from \.(sampler|estimator|noise_learner) .*\n|^from \.options import \([^)]*\)\n",
    "executor": r"^from \.(sampler|estimator) .*\n",
}
_IMPORTS = re.compile(
    r"^(\s*from (?:\.+(?=options)|\.{4}))(options|estimator|sampler)(?=[. ])", re.MULTILINE
)


def client_without(family: Implementation, folder: Path) -> str:
    """Make a copy of the installed client that lacks a family; return where to import it from."""
    copy = folder / CLIENT.name
    shutil.copytree(CLIENT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if family == "executor":
        for name in ("sampler", "estimator"):
            (copy / f"executor_{name}/{name}.py").unlink()
            _drop(_EXPORTS[family], copy / f"executor_{name}/__init__.py")
        return str(folder)
    _drop(_EXPORTS[family], copy / "__init__.py")
    shutil.rmtree(copy / "noise_learner")
    # Other parts of the client use the rest.
    for name in ("sampler", "estimator"):
        (copy / f"{name}.py").rename(copy / f"no_{name}.py")
    kept = (copy / "options").rename(copy / "no_options")
    for module in [one for one in copy.rglob("*.py") if one.parent != kept]:
        module.write_text(_IMPORTS.sub(r"\1no_\2", module.read_text()))
    return str(folder)


def _drop(pattern: str, module: Path) -> None:
    module.write_text(re.sub(pattern, "", module.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("missing", ["v2", "executor"])
def test_a_client_without_a_family_uses_the_other(missing: Implementation, tmp_path: Path) -> None:
    """What asks for the missing one is refused, and told what to do."""
    script = f"""
from qiskit import QuantumCircuit
from session_block.errors import InvalidInputError
from session_block.pubs.request import sampler_request

circuit = QuantumCircuit(1)
circuit.measure_all()
print(sampler_request([circuit]).implementation)
try:
    sampler_request([circuit], implementation={missing!r})
except InvalidInputError as error:
    print(error)
"""
    used, refused = _run(client_without(missing, tmp_path), "-c", script).splitlines()
    other = "executor" if missing == "v2" else "v2"
    assert used == other
    assert f"no primitives of implementation {missing!r}" in refused
    assert f"Set {other!r} on the Block" in refused


@pytest.mark.rest
def test_a_client_without_the_deprecated_primitives_runs_the_demo(tmp_path: Path) -> None:
    """By default it uses the family that the client has."""
    client, home = client_without("v2", tmp_path / "client"), {"PREFECT_HOME": str(tmp_path)}
    try:
        told = json.loads(_run(client, "-m", "session_block", "demo", "--json", **home))
        listed = _run(client, "-m", "session_block", "experiments", "list", "--json", **home)
    finally:
        _run(client, "-m", "session_block", "platform", "stop", **home)
    assert told["report"]["energy"] == pytest.approx(-1.857275, abs=0.05)
    assert json.loads(listed)


def _run(client: str, *arguments: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment, "PYTHONPATH": f"{client}:{CHECKOUT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("family", get_args(Implementation))
def test_an_experiment_keeps_the_family_that_it_began_with(
    platform: Platform, block: QuantumSession, family: Implementation
) -> None:
    """Of a Block that is changed since; each request may still name another one."""
    name, circuit = f"family-{uuid4().hex[:8]}", _measured()
    other: Implementation = "executor" if family == "v2" else "v2"
    began, changed = (block.model_copy(update={"implementation": one}) for one in (family, other))
    began.experiment(name).run_sampler([circuit], shots=8)
    with changed.experiment(name) as again:
        assert again.implementation == family
        again.run_sampler([circuit], shots=8)
        DurableSampler(again).run([circuit], shots=9).result()
        DurableEstimator(again).run([(_bare(), "Z")], precision=0.1).result()
        again.run_sampler([circuit], shots=10, implementation=other)
    with changed.experiment(name, fresh=True) as anew:
        assert anew.implementation == other
        anew.run_sampler([circuit], shots=8)
    assert _families(platform, again.uid) == [family] * 3 + [other]
    assert _families(platform, anew.uid) == [other]


def _bare() -> QuantumCircuit:
    return QuantumCircuit(1)


def _families(platform: Platform, uid: str) -> list[Implementation]:
    """Return the family of each job of an experiment, in the order of submission."""
    jobs = [job for job in platform.admin.jobs() if f"qs-uid:{uid}" in job["tags"]]
    jobs.sort(key=lambda job: str(job["created"]))
    return ["executor" if job["program"] == "executor" else "v2" for job in jobs]


class Holder(Block):
    """A user's Block that names another one."""

    session: QuantumSession


def _within_another(name: str) -> QuantumSession:
    Holder(session=load_block(name)).save(f"holds-{name}")
    return cast("Holder", Holder.load(f"holds-{name}")).session


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    "load",
    [
        load_block,
        lambda name: Block.load(f"{QuantumSession.get_block_type_slug()}/{name}"),
        _within_another,
    ],
    ids=["itself", "as any Block", "within another"],
)
def test_a_block_that_was_saved_without_a_family_keeps_the_first(
    platform: Platform, block: QuantumSession, load: Callable[[str], QuantumSession]
) -> None:
    """All there was when it was saved: its experiments use it, and it is saved with it."""
    name = f"family-{uuid4().hex[:8]}"
    block.save(name)
    _forget_the_family(name)
    older = load(name)
    assert older.implementation == "v2"
    assert block_name(older) == name
    with older.experiment(name) as experiment:
        experiment.run_sampler([_measured()], shots=8)
    assert _families(platform, experiment.uid) == ["v2"]
    older.save(name, overwrite=True)
    assert _saved_fields(name)["implementation"] == "v2"


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("family", [None, *get_args(Implementation)])
def test_a_block_is_saved_with_its_family(
    monkeypatch: pytest.MonkeyPatch, block: QuantumSession, family: Implementation | None
) -> None:
    """Also if nobody chose it: another default, later, does not change it."""
    name, other = (
        f"family-{uuid4().hex[:8]}",
        "v2" if DEFAULT_IMPLEMENTATION != "v2" else "executor",
    )
    chosen = {} if family is None else {"implementation": family}
    block.model_copy(update=chosen).save(name)
    monkeypatch.setitem(vars(families), "DEFAULT_IMPLEMENTATION", other)
    assert default_implementation() == other
    kept = load_block(name)
    assert kept.implementation == _saved_fields(name)["implementation"]
    assert kept.experiment(name).implementation == (family or DEFAULT_IMPLEMENTATION)


def _measured() -> QuantumCircuit:
    circuit = _bare()
    circuit.measure_all()
    return circuit


def _saved_fields(name: str) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        saved = client.read_block_document_by_name(name, QuantumSession.get_block_type_slug())
    return saved.data


def _forget_the_family(name: str) -> None:
    """Make a saved Block one of the time when there was no such field, and none younger."""
    with get_client(sync_client=True) as client:
        saved = client.read_block_document_by_name(name, QuantumSession.get_block_type_slug())
        younger = {"implementation", "keep_raw"}
        data = {key: one for key, one in saved.data.items() if key not in younger}
        client.update_block_document(
            saved.id, BlockDocumentUpdate(data=data, merge_existing_data=False)
        )
    assert "implementation" not in _saved_fields(name)


def test_a_family_that_does_not_exist_is_refused(block: QuantumSession) -> None:
    """In a Block, and in a request; nor is a mock a backend, whose results are random numbers."""
    with pytest.raises(ValidationError, match="implementation"):
        QuantumSession(credentials=block.credentials, implementation="v3")
    with pytest.raises(ValidationError, match="is a mock for dry runs"):
        QuantumSession(credentials=block.credentials, backend_name="mock_fez")
    with pytest.raises(InvalidInputError, match="must be 'v2' or 'executor', not 'v3'"):
        primitive_class("sampler", "v3")  # type: ignore[arg-type]
