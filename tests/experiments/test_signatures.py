"""The arguments of Sampler and Estimator are written once; all who take them show the same."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snippets import ROOT

from session_block import Experiment, tasks
from session_block.experiments.check_request import check_request
from session_block.pubs.request import estimator_request, sampler_request

MAKES = {"sampler": sampler_request, "estimator": estimator_request}
VERBS = ("run", "submit", "estimate")
METHODS: dict[str, Callable[..., Any]] = {
    **{f"{verb}_{primitive}": make for verb in VERBS for primitive, make in MAKES.items()},
    "check": check_request,
}
TASKS = {
    **{name: name for name in METHODS},
    "experiment_usage": "usage",
    "session_details": "session_details",
    "session_status": "session_status",
    "session_usage": "session_usage",
    "close_session": "finish",
    "cancel_session": "cancel_session",
}
TYPED = """
from session_block import Experiment, SessionRef, tasks
from qiskit import QuantumCircuit

def right(experiment: Experiment, session: SessionRef, circuit: QuantumCircuit) -> None:
    experiment.run_sampler([circuit], shots=10, label="a")
    reveal_type(experiment.submit_estimator([(circuit, "Z")], precision=0.1))
    reveal_type(tasks.submit_sampler(session, [circuit], shots=10))
    reveal_type(tasks.estimate_sampler(session, [circuit]).times(3))

async def twins(experiment: Experiment, session: SessionRef, circuit: QuantumCircuit) -> None:
    reveal_type(await experiment.asubmit_sampler([circuit], implementation="executor"))
    reveal_type(await tasks.asubmit_sampler(session, [circuit]))

def wrong(experiment: Experiment, session: SessionRef, circuit: QuantumCircuit) -> None:
    experiment.run_sampler([circuit], precision=0.1)
    experiment.run_estimator([circuit], implementation="v3")
    tasks.run_sampler(session, [circuit], shots="many")
"""


def _parameters(function: Callable[..., Any], skipped: int = 0) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[skipped:]


def _section(documented: Any) -> str:
    """Return the part of a docstring that is about arguments."""
    return (inspect.getdoc(documented) or "").partition("Args:")[2].partition("\n\n")[0]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_take_what_makes_a_request(name: str) -> None:
    """With types and defaults; the documentation of each argument is the same as well."""
    method, make = getattr(Experiment, name), METHODS[name]
    given = list(inspect.signature(make, eval_str=True).parameters.values())
    assert _parameters(method, 1) == given
    assert _parameters(method)[0].name == "self"
    assert _section(method) == _section(make)
    assert all(f"{one.name}:" in _section(method) for one in given)
    assert inspect.signature(method).return_annotation not in {"Request", inspect.Signature.empty}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_async_twins_take_the_same(name: str) -> None:
    """The twins of the methods."""
    assert _parameters(getattr(Experiment, f"a{name}")) == _parameters(getattr(Experiment, name))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_tasks_take_a_session_and_what_the_method_takes(name: str) -> None:
    """So do the twins of the tasks; what they say is what the method says, with a session."""
    method = getattr(Experiment, TASKS[name])
    for task in (getattr(tasks, name), getattr(tasks, f"a{name}")):
        first, *rest = _parameters(task.fn)
        assert (first.name, first.kind) == ("session", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        assert rest == _parameters(method, 1)
    said, of_the_task = (inspect.getdoc(one) or "" for one in (method, getattr(tasks, name).fn))
    assert of_the_task.partition("Examples:")[0] == said.partition("Examples:")[0]
    example = of_the_task.partition("Examples:")[2]
    assert f" {name}(session" in example
    assert f"experiment.{TASKS[name]}(" not in example
    assert getattr(tasks, name).name == name.replace("_", "-")


def test_type_checkers_see_the_arguments(tmp_path: Path) -> None:
    """Of methods, tasks and twins: the right ones pass, and each wrong one is found."""
    program = tmp_path / "program.py"
    program.write_text(TYPED)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    # Not the package's own: with the lowest versions of libraries it is not checked.
    errors = [line for line in checked.splitlines() if f"{program.name}:" in line]
    errors = [line for line in errors if ": error:" in line]
    assert len(errors) == TYPED.partition("def wrong")[2].count("\n    "), checked
    revealed = re.findall(r'Revealed type is "[\w.]*\.(\w+)"', checked)
    assert revealed == ["JobRef", "JobRef", "Estimate", "JobRef", "JobRef"], checked
