"""The shipped flows, sent by cloudpickle to a process that has never loaded them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect_helpers import CHECKOUT
from shipped_flows import FLOWS, RUNS, by_module, by_path

WAYS = ("by module", "by path", "from source")

SENDER = """
import base64, json, sys
import cloudpickle
from prefect import flow
from prefect.flows import load_flow_from_entrypoint

def loaded(way, entrypoint):
    if way == "from source":
        return flow.from_source(".", entrypoint=entrypoint)
    return load_flow_from_entrypoint(entrypoint)

print(json.dumps([
    base64.b64encode(cloudpickle.dumps(loaded(*one))).decode() for one in json.load(sys.stdin)
]))
"""
RECEIVER = """
import base64, json, sys
import cloudpickle

def received(sent, parameters):
    try:
        flow = cloudpickle.loads(base64.b64decode(sent))
        taken = flow.validate_parameters(parameters)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    types = {name: type(value).__qualname__ for name, value in taken.items()}
    return {"types": types, "form": flow.parameters.model_dump_for_openapi()}

print(json.dumps([received(*one) for one in json.load(sys.stdin)]))
"""


def _answer(script: str, asked: object, directory: Path) -> Any:
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=directory,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def _parameters(name: str) -> dict[str, Any]:
    return {"block": "any", **RUNS[name].parameters}


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """What a process elsewhere says of each flow, loaded in each way by one in the checkout."""
    loads = [(way, name) for way in WAYS for name in FLOWS]
    entrypoints = [
        (way, by_module(name) if way == "by module" else by_path(name)) for way, name in loads
    ]
    sent = _answer(SENDER, entrypoints, CHECKOUT)
    asked = [(flow, _parameters(name)) for flow, (_, name) in zip(sent, loads, strict=True)]
    told = _answer(RECEIVER, asked, tmp_path_factory.mktemp("elsewhere"))
    return dict(zip(loads, told, strict=True))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("way", WAYS)
def test_a_flow_checks_its_parameters_wherever_it_is_sent(
    received: dict[tuple[str, str], Any], way: str, name: str
) -> None:
    """As Prefect sends a served flow to its run: same form, same types, and nothing undefined."""
    flow = FLOWS[name]
    taken = flow.validate_parameters(_parameters(name))
    assert received[way, name] == {
        "types": {key: type(value).__qualname__ for key, value in taken.items()},
        "form": flow.parameters.model_dump_for_openapi(),
    }
