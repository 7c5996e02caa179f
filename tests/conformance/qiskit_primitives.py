"""Run Qiskit's own tests of primitives on the durable ones, in both of the client's families.

    python tests/conformance/qiskit_primitives.py

The tests come with the source distribution of the installed version of Qiskit, which pip fetches.
They stay in a working directory, never become part of this project, and run unchanged: only the
names of the classes that they construct stand for the durable primitives, on a local platform (see
``drop_in.py``). The same tests run with the client's own primitives, and every request is compared:
what it gives has to be the same, to the bit.

Exit status 0 says that no test failed but those of ``OF_QISKIT``, which fail with the client's own
primitives too, and those of ``OURS``, which do not; that all of those did; and that no request gave
anything else than with the client's own, but for those of ``OTHER_REQUESTS``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sdist import fetched, new_suite, pip_of, say, suite_of

PACKAGE = "qiskit"
ROOT = Path(__file__).parents[2]
FAMILIES = ("executor", "v2")
RUN_SECONDS = 3600
NEEDED = ("ddt",)
FILES = (
    "statevector_sampler",
    "statevector_estimator",
    "backend_sampler_v2",
    "backend_estimator_v2",
)
# What the test files import.
COPIED = (
    "test/__init__.py",
    "test/utils",
    "test/python/__init__.py",
    "test/python/legacy_cmaps.py",
    "test/python/primitives",
)

BITS = "the platform shares out the bits of a finite number of shots"
MEASURES_NOTHING = "a circuit that measures nothing is refused before it costs"
METADATA = "the client's results have other metadata"
OWN_SAMPLES = "equal requests are jobs with samples of their own, as on a device"
SEED = "the numbers are those of a seed of Qiskit's own simulator"

# Keys are file and function; those of one family begin with it.
OF_QISKIT = {
    "backend_estimator_v2::test_job_size_limit_backend_v2": "counts the calls of Qiskit's backend",
    "backend_sampler_v2::test_primitive_job_status_done": "IBM's jobs give their status as text",
    "backend_sampler_v2::test_run_reverse_meas_order": "sets Qiskit's own seed_simulator",
    "backend_sampler_v2::test_run_level1": "the test's own backend makes the level 1 data",
    "executor backend_estimator_v2::test_metadata": METADATA,
    "executor backend_sampler_v2::test_metadata": METADATA,
    "executor backend_sampler_v2::test_no_cregs": MEASURES_NOTHING,
    "executor statevector_estimator::test_estimator_run": BITS,
    "executor statevector_estimator::test_estimator_run_no_params": BITS,
    "executor statevector_estimator::test_estimator_with_pub": BITS,
    "executor statevector_estimator::test_iter_pub": BITS,
    "executor statevector_sampler::test_metadata": METADATA,
    "executor statevector_sampler::test_no_cregs": MEASURES_NOTHING,
    "executor statevector_sampler::test_run_with_shots_option": METADATA,
    "statevector_estimator::test_metadata": METADATA,
    "statevector_estimator::test_precision_seed": SEED,
    "statevector_estimator::test_run_single_circuit_observable": "wants a target precision of 0",
    "statevector_sampler::test_primitive_job_status_done": "IBM's jobs give their status as text",
    "statevector_sampler::test_run_errors": "wants control flow refused, which devices have",
    "statevector_sampler::test_run_numpy_params": SEED,
    "statevector_sampler::test_run_single_circuit": SEED,
    "statevector_sampler::test_run_shots_result_size": "has 10 qubits, the device 7",
    "statevector_sampler::test_seed": "reads the seed of Qiskit's own simulator",
    "v2 backend_sampler_v2::test_empty_creg": "this family of the client refuses empty registers",
}
"""Tests that fail with the client's own primitives too, and why."""

OURS = {
    "backend_sampler_v2::test_circuit_with_multiple_cregs": MEASURES_NOTHING,
    "statevector_sampler::test_circuit_with_multiple_cregs": MEASURES_NOTHING,
    "statevector_sampler::test_run_numpy_params": OWN_SAMPLES,
    "v2 statevector_sampler::test_run_single_circuit": OWN_SAMPLES,
    "statevector_sampler::test_sampler_run_multiple_times": OWN_SAMPLES,
    "v2 backend_sampler_v2::test_no_cregs": MEASURES_NOTHING,
    "v2 statevector_sampler::test_no_cregs": MEASURES_NOTHING,
}
"""Tests that fail with the durable primitives alone, and why."""

SPLIT = "the client refuses PUBs of different shots or precision, which take several jobs here"

OTHER_REQUESTS = {
    "backend_sampler_v2::test_circuit_with_multiple_cregs": MEASURES_NOTHING,
    "backend_sampler_v2::test_no_cregs": MEASURES_NOTHING,
    "executor backend_estimator_v2::test_diff_precision": SPLIT,
    "executor backend_sampler_v2::test_diff_shots": SPLIT,
    "executor backend_sampler_v2::test_metadata": SPLIT,
    "executor backend_sampler_v2::test_run_with_shots_option": SPLIT,
    "executor statevector_sampler::test_metadata": SPLIT,
    "statevector_sampler::test_circuit_with_multiple_cregs": MEASURES_NOTHING,
    "statevector_sampler::test_no_cregs": MEASURES_NOTHING,
    "statevector_sampler::test_run_errors": MEASURES_NOTHING,
    "statevector_sampler::test_run_with_shots_option": "the client's have no default_shots to read",
}
"""Tests in which a request gives another thing than with the client's own, and why."""


def main() -> int:
    """Fetch the tests, run them, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="a Python that has pip")
    parser.add_argument("--work", type=Path, help="where to keep the tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        work = Path(options.work or scratch).absolute()
        suite = _prepared(work, pip_of(options.python))
        return _report(_run(suite, Path(scratch)))


def _prepared(work: Path, pip: list[str]) -> Path:
    """Return the directory of the tests of the installed version of Qiskit."""
    suite = new_suite(work, PACKAGE)
    if suite is None:
        return suite_of(work, PACKAGE)
    with fetched(PACKAGE, pip) as root:
        for path in COPIED:
            (suite / path).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (root / path).is_dir() else shutil.copy
            copy(root / path, suite / path)
    subprocess.run([*pip, "install", "--quiet", "--target", suite / "needed", *NEEDED], check=True)
    (suite / "complete").touch()
    return suite


def _run(suite: Path, scratch: Path) -> dict[str, list[dict[str, Any]]]:
    report = scratch / "report.json"
    foreign = ("QISKIT_", "IBM_", "PREFECT_", "PYTHON")
    environment = {name: at for name, at in os.environ.items() if not name.startswith(foreign)}
    environment |= {
        "HOME": str(scratch),
        "PREFECT_HOME": str(scratch / "prefect"),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, suite, suite / "needed"))),
    }
    modules = [f"test.python.primitives.test_{file}" for file in FILES]
    subprocess.run(
        [sys.executable, Path(__file__).with_name("drop_in.py"), report, *modules],
        cwd=suite,
        env=environment,
        check=True,
        timeout=RUN_SECONDS,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(report.read_text(encoding="utf-8"))
    return found


def _report(found: dict[str, list[dict[str, Any]]]) -> int:
    say(f"\n{PACKAGE} {version(PACKAGE)}, its own tests of primitives:")
    for run, trials in found.items():
        failed = sum(bool(trial["failures"]) for trial in trials)
        say(f"  {run:20}{len(trials) - failed:5} passed{failed:5} failed")
    tables = {"OF_QISKIT": OF_QISKIT, "OURS": OURS, "OTHER_REQUESTS": OTHER_REQUESTS}
    met: set[tuple[str, str]] = set()
    told: set[str] = set()
    wrong = 0
    for family in FAMILIES:
        pairs = zip(found[f"durable {family}"], found[f"client {family}"], strict=True)
        for name, key, what in (event for own, theirs in pairs for event in _events(own, theirs)):
            listed = next((one for one in (key, f"{family} {key}") if one in tables[name]), None)
            if listed is None:
                wrong += 1
                say(f"NOT IN {name}: {family} {key}: {what}")
                continue
            met.add((name, listed))
            line = f"{name}: {family} {key}: {tables[name][listed]}"
            if line not in told:
                told.add(line)
                say(line)
    for name, table in tables.items():
        for key in table:
            if (name, key) not in met:
                wrong += 1
                say(f"IN {name} IN VAIN: {key}")
    return 1 if wrong else 0


def _events(own: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Tell what failed and what differed in a test: the table that may excuse it, key and text."""
    key = _key(own)
    for subtest, failure in own["failures"].items():
        # Subtests are named by circuits, whose names are numbered through the process.
        same = {_unnumbered(one) for one in theirs["failures"]}
        name = "OF_QISKIT" if _unnumbered(subtest) in same else "OURS"
        yield name, key, f"{subtest} {failure}"
    for difference in _differences(own["requests"], theirs["requests"]):
        yield "OTHER_REQUESTS", key, difference


def _unnumbered(subtest: str) -> str:
    return re.sub(r"circuit-[0-9]+", "circuit", subtest)


def _key(trial: dict[str, Any]) -> str:
    """Return a test by file and function, without the number of its case."""
    file, _, function = trial["test"].split(".")
    return f"{file}::{re.sub(r'_[0-9]+$', '', function)}"


def _differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterator[str]:
    """Tell in which of a test's requests both gave something else."""
    sampled: list[Any] = []
    for number, (own, other) in enumerate(zip(ours, theirs, strict=False)):
        for outcome in ("refused", "failed"):
            if (outcome in own) != (outcome in other):
                yield f"request {number} {outcome}: {own.get(outcome)}, not {other.get(outcome)}"
        if "pubs" not in own or "pubs" not in other:
            continue
        if own["metadata"] != other["metadata"]:
            yield f"request {number}: metadata {own['metadata']}, not {other['metadata']}"
        # The client's equal requests give equal samples here; the durable ones' do not, as on a
        # device, so that only the first of each can be compared to the bit.
        is_repeated = other["pubs"] in sampled
        sampled.append(other["pubs"])
        plain, theirs_plain = (
            [_plain(pub, with_values=not is_repeated) for pub in one["pubs"]]
            for one in (own, other)
        )
        if plain != theirs_plain:
            yield f"request {number}: {own['pubs']}, not {other['pubs']}"


def _plain(pub: dict[str, Any], *, with_values: bool) -> Any:
    # Qiskit numbers registers without names through the process.
    fields = [
        (re.sub(r"^c[0-9]+$", "c?", name), one["form"], one["values"] if with_values else None)
        for name, one in pub["fields"].items()
    ]
    return pub["shape"], pub["metadata"], fields


if __name__ == "__main__":
    sys.exit(main())
