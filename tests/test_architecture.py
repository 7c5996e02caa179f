"""The house: which way imports run, how flat it lies, what loads without Qiskit, one name each."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from architecture import (
    ALONE,
    EXEMPT,
    ORDER,
    PACKAGE,
    REACH_THE_LOCAL_PLATFORM,
    ROOT,
    arrows,
    imports,
    modules,
    page,
    room,
)

FLAT_FILES = 12
CORE = ("submissions", "sessions", "records", "ledger", "experiments", "costs")
"""What finds the world in its environment alone."""

WORLD = {
    "time": {"time", "monotonic", "sleep", "perf_counter", "monotonic_ns", "time_ns"},
    "os": {"getpid", "getppid", "urandom"},
    "uuid": {"uuid1", "uuid4"},
    "datetime": {"now", "utcnow", "today"},
    "random": None,
    "secrets": None,
    "socket": None,
    "psutil": None,
    "threading": {"Timer"},
    "asyncio": {"sleep"},
}
"""Modules, and what of them reads the clock, pauses, mints IDs, draws or looks at processes."""
PARAMETERS = 6
BASES = 3
TAKE_FUNCTIONS = {"PinnedTranspiler"}
"""What algorithms and users hand over is a function by its nature."""

LIGHT = ("", ".blocks.quantum_session", ".blocks.credentials", ".records.views", ".ledger.store")
LISTING = ("experiments", "submissions", "sessions", "flow_runs", "usage_by_instance")
PURE = {
    "submissions.decisions",
    "pubs.boxes",
    "pubs.fingerprint",
    "pubs.program_fingerprint",
    "pubs.samplex_fingerprint",
    "records.submissions",
    "records.keys",
}

ONE_NAME = """
import importlib, os, sys
from collections import defaultdict

for statement in {statements!r}:
    exec(statement)
files = defaultdict(set)
for module in list(sys.modules.values()):
    if getattr(module, "__file__", None):
        files[os.path.realpath(module.__file__)].add(id(module))
twice = [path for path, found in files.items() if len(found) > 1 and path.startswith({places!r})]
assert not twice, twice
"""
FLOWS = ("vqe", "qaoa", "sweep", "tidy")


def test_each_package_stands_in_one_row() -> None:
    """A new package has to be given a place."""
    rooms = {room(module) for module in modules()} - {*EXEMPT, ALONE, "deployments"}
    assert sorted(name for row in ORDER for name in row) == sorted(rooms)


def test_imports_run_downward() -> None:
    """Also late ones, and those for types; packages of one row do not know each other."""
    rank = {name: place for place, row in enumerate(ORDER) for name in row}
    single_files = set(ORDER[-1])
    against = [
        f"{module} imports {imported}"
        for module, imported in arrows()
        if (above := room(module)) in rank
        and (below := room(imported)) in rank
        and above != below
        and rank[above] >= rank[below]
        and not {above, below} <= single_files
    ]
    assert not against


def test_no_module_reaches_itself() -> None:
    """There is no circle of imports, whatever it passes through."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    for module, imported in arrows():
        if imported in modules():
            graph[module].add(imported)
    for exempt in (PACKAGE.name, f"{PACKAGE.name}.__main__"):
        graph.pop(exempt, None)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        pytest.fail(f"a circle: {found.args[1]}")


def test_nothing_below_asks_the_package_for_its_names() -> None:
    """``session_block`` itself is for users; the linked directories ask it for their one name."""
    against = [
        f"{module} imports {imported}"
        for module, imported in arrows()
        if room(module) not in EXEMPT
        and imported not in modules()
        and imported != f"{PACKAGE.name}._same_modules"
    ]
    assert not against


def test_few_files_lie_flat() -> None:
    """What is no package of its own is a plain value or a small tool."""
    flat = {path.stem for path in PACKAGE.glob("*.py")}
    assert flat == {"__init__", "__main__", *ORDER[-1]}
    assert len(flat) <= FLAT_FILES


def _reaches_past_the_environment(module: str) -> Iterator[str]:
    """Give what a module takes from the world by itself: calls, and names that it imports."""
    tree = ast.parse(modules()[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if WORLD.get(one.name, ()) is None)
            yield from (one.name for one in node.names if one.name == "time")
        elif isinstance(node, ast.ImportFrom) and node.module in WORLD:
            found = WORLD[node.module]
            yield from (
                f"{node.module}.{one.name}"
                for one in node.names
                if found is None or one.name in found
            )
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            if owner in {"datetime", "date", "os", "uuid", "time", "asyncio", "threading"} and any(
                name in found for found in WORLD.values() if found
            ):
                yield f"{owner}.{name}"
            if owner == "aio" and name == "pause":
                yield "aio.pause"


def test_the_core_reaches_the_world_through_its_environment_alone() -> None:
    """No clock, pause, ID, random number or process is taken from elsewhere."""
    against = [
        f"{module}: {found}"
        for module in modules()
        if room(module) in CORE
        for found in _reaches_past_the_environment(module)
    ]
    assert not against


def test_a_part_is_given_few_things_and_no_functions() -> None:
    """Six parameters of a constructor at most, and objects in place of lambdas."""
    against = []
    for module in modules():
        if room(module) not in CORE:
            continue
        for node in ast.walk(ast.parse(modules()[module].read_text())):
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                    given = [*inner.args.args[1:], *inner.args.kwonlyargs]
                    functions = [
                        one.arg
                        for one in given
                        if one.annotation is not None and "Callable[" in ast.unparse(one.annotation)
                    ]
                    if len(given) > PARAMETERS or (functions and node.name not in TAKE_FUNCTIONS):
                        against.append(f"{module}.{node.name}: {len(given)} {functions}")
    assert not against


def test_an_experiment_is_one_class() -> None:
    """It is composed of parts, not layered."""
    from session_block import Experiment

    assert len(Experiment.__mro__) <= BASES


def test_no_two_classes_bear_one_name() -> None:
    """Nor two functions outside of the command line; the local platform stands alone."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules():
        if room(module) in {ALONE, "cli", "tasks", "flows", "deployments"}:
            continue
        for node in ast.parse(modules()[module].read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                found[node.name].add(module)
    assert not {name: places for name, places in found.items() if len(places) > 1}


def test_the_local_platform_stands_alone() -> None:
    """Of the rest it knows nothing but the tree of errors, and few may reach it."""
    inside = f"{PACKAGE.name}.{ALONE}"
    out = {
        imported
        for module, imported in arrows()
        if module.startswith(inside) and not imported.startswith(inside)
    }
    assert out == {f"{PACKAGE.name}.errors"}
    reach = {
        room(module)
        for module, imported in arrows()
        if imported.startswith(inside) and not module.startswith(inside)
    }
    assert reach - set(EXEMPT) == REACH_THE_LOCAL_PLATFORM


def test_the_page_is_made_from_the_order() -> None:
    """``python tests/architecture.py`` writes it."""
    assert (ROOT / "ARCHITECTURE.md").read_text() == page()


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_know_neither_prefect_nor_the_client(name: str) -> None:
    """What decides and what recognises can be tested, and read, by itself."""
    known = {imported.partition(".")[0] for imported in imports(f"{PACKAGE.name}.{name}")}
    assert not known & {"prefect", "qiskit_ibm_runtime"}


def test_what_lists_loads_no_qiskit() -> None:
    """Blocks, records, ledger and an operator's lists start light; the package lighter still."""
    names = (*LIGHT, *(f".operations.{one}" for one in LISTING))
    _runs(
        f"import importlib, sys\n"
        f"importlib.import_module({PACKAGE.name!r})\n"
        f"assert not {{'prefect', 'qiskit'}} & set(sys.modules)\n"
        f"for name in {names!r}: importlib.import_module({PACKAGE.name!r} + name)\n"
        f"qiskit = [name for name in sys.modules if name.partition('.')[0].startswith('qiskit')]\n"
        f"assert not qiskit, qiskit\n"
    )


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(
            (
                "import tasks.jobs, tasks, flows.vqe, flows, deployments",
                "import session_block.tasks.sessions, session_block.flows.qaoa",
                "import session_block.deployments",
                "assert tasks is session_block.tasks and tasks.jobs is session_block.tasks.jobs",
                "assert flows is session_block.flows and flows.vqe is session_block.flows.vqe",
                "from flows.sweep import sweep as one",
                "from session_block.flows.sweep import sweep as other",
                "assert one is other",
            ),
            id="directories-first",
        ),
        pytest.param(
            (
                "import session_block.flows.vqe, session_block.tasks.jobs",
                "import flows.vqe, tasks.jobs, flows.parameters",
                "assert flows.vqe is session_block.flows.vqe",
                "assert tasks.jobs is session_block.tasks.jobs",
            ),
            id="installed-first",
        ),
        *(
            pytest.param(
                (
                    "from prefect.flows import load_flow_from_entrypoint",
                    f"load_flow_from_entrypoint('flows/{name}.py:{name}')",
                    "import tasks, session_block.tasks.jobs, session_block.flows.parameters",
                ),
                id=f"by-path-{name}",
            )
            for name in FLOWS
        ),
    ],
)
def test_no_file_has_two_names(statements: tuple[str, ...]) -> None:
    """In a checkout, the directories' own names are the installed modules, whoever comes first."""
    places = tuple(f"{ROOT / name}{os.sep}" for name in ("session_block", "tasks", "flows"))
    _runs(ONE_NAME.format(statements=statements, places=places))


def _runs(code: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_links_hold_the_directories() -> None:
    """What is installed as ``session_block.tasks`` is the directory at the top."""
    for name in ("tasks", "flows", "deployments"):
        assert (PACKAGE / name).readlink() == Path("..") / name
