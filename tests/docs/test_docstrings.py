"""Every public docstring has an example; by night every example runs, on the local platform."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.flows import Flow
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings
from prefect.tasks import Task
from pydantic import BaseModel
from qiskit import QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import QuantumProgram
from snippets import ROOT, snippets
from support import BACKEND

import session_block
from session_block import (
    DurableEstimator,
    DurableJob,
    DurableSampler,
    Experiment,
    IBMSessionCredentials,
    LocalPlatform,
    LocalPlatformCredentials,
    QuantumSession,
    SessionRef,
    errors,
    tasks,
)
from session_block.ledger.urls import LEDGER_URL

pytestmark = pytest.mark.shares_names

PACKAGE = session_block.__name__
PAGES = sorted((ROOT / "docs/reference").glob("*.md"))
SAVED = {
    "QuantumSession": "my-session",
    "IBMSessionCredentials": "my-account",
    "LocalPlatformCredentials": "my-account",
}
"""The saved Blocks that examples with ``BLOCK_NAME`` load; Prefect's own tests want that name."""

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _is_ours(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == PACKAGE


def _function(member: Any) -> Any:
    """Return the function that a method, a property, a task or a flow is made of."""
    match member:
        case staticmethod() | classmethod():
            return member.__func__
        case property():
            return member.fget
        case cached_property():
            return member.func
        case Task() | Flow():
            return member.fn
        case _:
            return member


def _resolve(target: str) -> Any:
    """Return what a page's ``:::`` names."""
    found: Any = importlib.import_module(PACKAGE)
    for part in target.split(".")[1:]:
        if inspect.ismodule(found):
            with suppress(ModuleNotFoundError):
                importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def _documented(target: str) -> Iterator[tuple[str, Any]]:
    """Yield what a page's ``:::`` shows: a function, a class with its members, or a module's."""
    found = _function(_resolve(target))
    if inspect.ismodule(found):
        for name, value in vars(found).items():
            member = _function(value)
            own = isinstance(value, Task) or getattr(member, "__module__", "") == found.__name__
            if own and not name.startswith("_"):
                yield from _with_members(name, member)
    else:
        yield from _with_members(target.rpartition(".")[2], found)


def _with_members(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isclass(thing):
        yield name, thing
        seen: set[str] = set()
        for base in filter(_is_ours, thing.__mro__):
            for inner, value in vars(base).items():
                if inner in seen:
                    continue
                seen.add(inner)
                member = _function(value)
                # Not what pydantic calls by itself, such as ``model_post_init``.
                own = inspect.isfunction(member) and not hasattr(BaseModel, inner)
                if own and not inner.startswith("_") and _is_ours(member):
                    yield f"{name}.{inner}", member
    elif inspect.isfunction(thing):
        yield name, thing


def _shown(page: Path) -> list[str]:
    return re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)


def _public() -> dict[str, Any]:
    """Return all that the reference shows, and all errors; what classes inherit stands once."""
    found = [pair for page in PAGES for target in _shown(page) for pair in _documented(target)]
    classes = [error for error in vars(errors).values() if inspect.isclass(error)]
    found += [pair for error in classes for pair in _with_members(error.__name__, error)]
    by_object: dict[int, tuple[str, Any]] = {}
    for name, thing in found:
        by_object.setdefault(id(thing), (name, thing))
    return dict(by_object.values())


PUBLIC = _public()


def _fenced(doc: str) -> str:
    return "\n".join(textwrap.dedent(one.text) for one in snippets(doc, "python"))


def _examples(doc: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(doc)


class _Awaited(ast.NodeTransformer):
    """Puts the call ``awaited(…)`` where a statement awaits outside of a function."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        call = ast.Call(ast.Name("awaited", ast.Load()), [self.visit(node.value)], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node


def _awaiting(source: str) -> str:
    if "await " not in source:
        return source
    return ast.unparse(_Awaited().visit(ast.parse(source))) + "\n"


class World:
    """What the examples find: the names that the first page of the reference lists."""

    def __init__(self, block: QuantumSession, platform: LocalPlatform) -> None:
        self.block = block
        self.platform = platform

    def renew(self) -> None:
        """Forget an experiment that an example has ended, and all that was made with it."""
        known = vars(self).get("experiment")
        if known is None:
            return
        if known.sealed or known.stopped_because or any(one.end for one in known.sessions):
            self.__dict__ = {"block": self.block, "platform": self.platform}

    @cached_property
    def experiment(self) -> Experiment:
        """An open experiment."""
        return self.block.experiment("example", fresh=True)

    @property
    def session(self) -> SessionRef:
        """What the task ``open_session`` returned."""
        return tasks.open_session("my-session", "example-of-tasks", fresh=True)

    @cached_property
    def bell_pair(self) -> QuantumCircuit:
        """A measured Bell pair, not transpiled."""
        bell_pair = QuantumCircuit(2)
        bell_pair.h(0)
        bell_pair.cx(0, 1)
        bell_pair.measure_all()
        return bell_pair

    @cached_property
    def circuit(self) -> QuantumCircuit:
        """The same as an ISA circuit."""
        return self.experiment.transpile(self.bell_pair)

    @cached_property
    def _ansatz(self) -> tuple[QuantumCircuit, SparsePauliOp]:
        hamiltonian = SparsePauliOp(["ZZ", "XI", "IX"])
        isa_circuit, observable = self.experiment.transpile(real_amplitudes(2, reps=1), hamiltonian)
        return isa_circuit, observable

    @property
    def ansatz(self) -> QuantumCircuit:
        """An ISA circuit with four parameters."""
        return self._ansatz[0]

    @property
    def observable(self) -> SparsePauliOp:
        """An observable with its layout."""
        return self._ansatz[1]

    @cached_property
    def sampler(self) -> DurableSampler:
        """A Sampler of the experiment."""
        return DurableSampler(self.experiment)

    @cached_property
    def estimator(self) -> DurableEstimator:
        """An Estimator of the experiment."""
        return DurableEstimator(self.experiment)

    @cached_property
    def job(self) -> DurableJob:
        """A job that has been submitted."""
        return self.sampler.run([self.circuit], shots=1000)

    @property
    def queued_job(self) -> DurableJob:
        """A job that takes an hour."""
        fault = self.platform.add_fault(
            kind="end_job", state="failed", reason="Too late.", after_seconds=3600
        )
        job = self.sampler.run([self.circuit])
        self.platform.clear_faults(fault)
        return job

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The inputs of an executor's job, as its client sent them."""
        program = QuantumProgram(shots=1000)
        program.append_circuit_item(self.circuit)
        job = self.experiment.submit_executor(program)
        service = self.experiment.service
        at_platform = service._get_api_client(service.active_account()["instance"])._session
        sent = at_platform.get(f"/jobs/{job.job_id}").json()["params"]
        return {one: sent[one] for one in ("schema_version", "quantum_program", "options")}

    @cached_property
    def layers(self) -> Any:
        """The layers of the ansatz, boxed."""
        options = {"resilience": {"pec_mitigation": True}}
        pub = (self.ansatz, self.observable, [0.0] * 4)
        return self.experiment.noise_model([pub], options=options).layers

    @cached_property
    def parted(self) -> Any:
        """A request that takes two jobs."""
        return self.sampler.run([(self.circuit, None, 100), (self.circuit, None, 200)])

    @property
    def ledger(self) -> session_block.Ledger:
        """The ledger of the Block."""
        return self.block.ledger()


@pytest.fixture(scope="module")
def world(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A reader's environment: a Prefect server with saved Blocks, a platform, and a ledger."""
    del prefect_server
    directory = tmp_path_factory.mktemp("examples")
    with (
        LocalPlatform(interactive_seconds=1) as platform,
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}),
    ):
        patch.setenv("SESSION_BLOCK_PLATFORM_DIR", str(platform.info.state_dir))
        patch.setenv(LEDGER_URL, f"sqlite:///{directory / 'ledger.db'}")
        patch.chdir(directory)
        credentials = LocalPlatformCredentials()
        block = QuantumSession(credentials=credentials, backend_name=BACKEND, max_time="1h")
        account = IBMSessionCredentials(
            token=platform.info.token, instance=platform.info.instance, url=platform.info.url
        )
        account.save("my-account", overwrite=True)
        credentials.save("my-account", overwrite=True)
        block.save("my-session", overwrite=True)
        yield World(block, platform)


def _names(name: str, thing: Any, source: str, world: World) -> dict[str, Any]:
    """Return the names that an example finds: public ones, its own, and those of the world."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    made = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    used = {node.id for node in nodes} - made
    own = vars(importlib.import_module(thing.__module__))
    found: dict[str, Any] = {"np": np, "awaited": asyncio.run, **vars(errors), **vars(tasks)}
    found |= {one: getattr(session_block, one) for one in session_block.__all__}
    home = thing.__module__
    found |= {one: its for one, its in own.items() if getattr(its, "__module__", None) == home}
    if (shown_as := name.partition(".")[0]) in own:  # a task, or a method of an inherited class
        found[shown_as] = own[shown_as]
    found |= {one: getattr(world, one) for one in used if one in dir(world)}
    return {**found, "__name__": "__main__"}


def test_every_public_docstring_has_an_example() -> None:
    """In whatever the reference shows, and in all errors."""
    docs = {name: inspect.getdoc(thing) or "" for name, thing in PUBLIC.items()}
    assert [name for name, doc in docs.items() if not (_fenced(doc) or _examples(doc))] == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_docstring_runs(name: str, world: World) -> None:
    """Its output is what the docstring says."""
    thing = PUBLIC[name]
    world.renew()
    doc = inspect.getdoc(thing) or ""
    fenced, shown = _fenced(doc), _examples(doc)
    fenced = fenced.replace("BLOCK_NAME", SAVED.get(name, ""))
    assert not any("+SKIP" in one.source for one in shown)
    source = "\n".join([fenced, *(one.source for one in shown)])
    names = _names(name, thing, _awaiting(source), world)
    exec(compile(fenced, name, "exec"), names)  # noqa: S102 - what the page shows
    for one in shown:
        one.source = _awaiting(one.source)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(doctest.DocTest(shown, names, name, None, 0, doc), out=said.write)
    assert runner.failures == 0, said.getvalue()


def test_all_that_is_public_is_looked_at() -> None:
    """Every exported name, every task and flow, and their methods; none of pydantic's own."""
    assert set(session_block.__all__) <= set(PUBLIC)
    assert set(tasks.__all__) <= set(PUBLIC)
    assert {"vqe", "qaoa", "sweep", "tidy", "QuantumSession.experiment"} <= set(PUBLIC)
    assert {"DurableJob.aresult", "Operator.adopt", "JobFailedError"} <= set(PUBLIC)
    assert not any(name.endswith((".model_post_init", ".model_validate")) for name in PUBLIC)


def test_the_page_of_experiments_has_every_method_once() -> None:
    """By purpose, beginning with what a user needs first; twins are named by their rule."""
    shown = [one for one in _shown(ROOT / "docs/reference/experiments.md") if ".Experiment." in one]
    names = [one.rpartition(".")[2] for one in shown]
    members = {name.partition(".")[2] for name, _ in _with_members("Experiment", Experiment)} - {""}
    twins = {f"a{name}" for name in members} & members - {"aonce"}
    assert sorted(names) == sorted(members - twins - {"aload"})
    assert names[:2] == ["run_estimator", "run_sampler"]


def test_a_docstring_without_an_example_is_noticed() -> None:
    """Text alone is none, nor is code that is not run."""
    assert _examples("Return it.\n\nRaises:\n    KeyError: It is not there.") == []
    assert _fenced("```sh\nls\n```") == ""
    assert _awaiting("x = await f(1)\n") == "x = awaited(f(1))\n"
