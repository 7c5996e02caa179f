"""Run IBM's own integration tests of qiskit-ibm-runtime against the local platform.

    python tests/conformance/run.py [FILE ...]

The tests come with the source distribution of the installed version of the client, which pip
fetches. They stay in a working directory, never become part of this project, and run unchanged,
with the installed client, in an environment of their own. The platform is their HTTP proxy, so
that they use IBM Cloud's host names as they do in IBM's own runs. Whatever else they would reach
is refused by the platform: nothing of this goes to IBM.

Exit status 0 says that no test failed but those of ``EXPECTED``, and that all of those did.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import httpx
from sdist import fetched, new_suite, pip_of, say, suite_of

from session_block import local_platform
from session_block.local_platform.config.layout import AccountSpec, DeviceSpec, InstanceSpec, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_block.local_platform import PlatformInfo

PACKAGE = "qiskit-ibm-runtime"
DOMAIN = "cloud.platform.local"
# Tests that watch a job wait or run need a moment for it.
JOB_SECONDS = 1.5
GROUP_SECONDS = 1800
PAST_JOBS = 12
NEVER_USED_UP = 10_000_000

# Files by the backend that they are run on: those of the last group calibrate all its qubits.
GROUPS = {
    "ibm_guadalupe": (
        "session",
        "job",
        "ibm_job_attributes",
        "retrieve_job",
        "results",
        "ibm_job",
        "backend",
        "account",
        "auth_client",
        "backend_serialization",
        "executor",
        "executor_sampler",
        "estimator_v2",
        "sampler_v2",
    ),
    "ibm_manila": (
        "executor_estimator",
        "noise_learner",
        "noise_learner_v3",
        "executor_noise_learner",
    ),
}
FILES = [file for files in GROUPS.values() for file in files]
# Not run at all: calibrator (skipped by IBM's suite itself), fake_backends (reaches no platform),
# proxies (wants TLS).

EXPECTED: dict[str, str] = {}
"""Tests that fail, and why."""

# What the tests want to find: test_eagle, alt_fez, and that the instances chosen first of all,
# those of the open plan, do not own the backend under test. One more test wants an ibm_miami, only
# to find that two objects are one which this version of the client makes anew each time.
LAYOUT = Layout(
    accounts=(
        AccountSpec(
            instances=(
                InstanceSpec(
                    name="conformance",
                    plan="internal",
                    backends=(
                        "ibm_manila",
                        "ibm_guadalupe",
                        "ibm_fez",
                        "alt_fez",
                        "test_eagle",
                    ),
                    usage_limit_seconds=NEVER_USED_UP,
                ),
                InstanceSpec(name="conformance-eu", region="eu-de", backends=("ibm_aachen",)),
                InstanceSpec(name="conformance-open", plan="open", backends=("ibm_sherbrooke",)),
            )
        ),
    ),
    devices=(
        DeviceSpec(name="ibm_guadalupe", recording="guadalupe"),
        DeviceSpec(name="alt_fez", recording="fez"),
        DeviceSpec(name="test_eagle", recording="sherbrooke"),
    ),
)

PYTEST_INI = """\
[pytest]
addopts = --strict-markers -p no:cacheprovider
markers =
    production: needs a service that is no staging one
    registry: chooses a class for recorded responses
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one test: passed, failed or skipped, and why."""

    file: str
    name: str
    kind: str
    reason: str = ""

    @property
    def key(self) -> str:
        """The test by file and function, without class and parameters."""
        return f"{self.file}::{self.name.partition('[')[0]}"


def main() -> int:
    """Fetch the suite, run it, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="default: all of them")
    parser.add_argument("--python", default=sys.executable, help="a Python that has pip")
    parser.add_argument("--work", type=Path, help="where to keep suite and environment")
    options = parser.parse_args()
    if unknown := sorted({*options.files} - {*FILES}):
        parser.error(f"no such file: {unknown[0]} (choose from {', '.join(FILES)})")
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        work = Path(options.work or scratch).absolute()
        suite = _prepared(work, pip_of(options.python))
        state_dir = Path(scratch) / "platform"
        info = local_platform.start(state_dir, layout=LAYOUT, job_seconds=JOB_SECONDS)
        try:
            _give_a_past(info)
            outcomes = []
            for backend, files in GROUPS.items():
                chosen = [file for file in files if not options.files or file in options.files]
                if chosen:
                    outcomes += _run(suite, info, backend, chosen, Path(scratch))
        finally:
            local_platform.stop(state_dir)
    return _report(outcomes)


def _give_a_past(info: PlatformInfo) -> None:
    """Submit some jobs: the tests expect an account that has had some, whichever of them run."""
    headers = {"Authorization": f"apikey {info.token}", "Service-CRN": info.instance}
    with httpx.Client(base_url=info.url, headers=headers, trust_env=False) as client:
        for _ in range(PAST_JOBS):
            job = {"program_id": "sampler", "backend": next(iter(GROUPS)), "params": {"pubs": []}}
            client.post("/jobs", json=job).raise_for_status()


def _prepared(work: Path, pip: Sequence[str]) -> Path:
    """Return the directory of tests and environment for the installed version of the client."""
    suite = new_suite(work, PACKAGE)
    if suite is None:
        return suite_of(work, PACKAGE)
    with fetched(PACKAGE, pip) as root:
        # The tests alone, so that the client is the installed one.
        shutil.copytree(root / "test", suite / "test")
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (suite / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
    environment = suite / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = _python(suite)
    # The project's environment shines through, and nothing is ever installed into it.
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    seen = Path(purelib.stdout.strip()) / "project.pth"
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    seen.write_text("".join(f"{place}\n" for place in places), encoding="utf-8")
    extras = project["optional-dependencies"]
    needed = [*extras["test"], *extras.get("noise-learning", ()), "simplejson"]
    subprocess.run([*pip, "--python", python, "install", "--quiet", *needed], check=True)
    (suite / "complete").touch()
    return suite


def _run(
    suite: Path, info: PlatformInfo, backend: str, files: Sequence[str], scratch: Path
) -> list[Outcome]:
    report = scratch / f"{backend}.xml"
    paths = [f"test/integration/test_{file}.py" for file in files]
    subprocess.run(
        [_python(suite), "-m", "pytest", "-q", f"--junitxml={report}", *paths],
        cwd=suite,
        env=_environment(info, backend, scratch),
        check=False,
        timeout=GROUP_SECONDS,
    )
    if not report.exists():
        raise SystemExit("the tests left no report")
    return [_outcome(case) for case in ET.parse(report).iter("testcase")]  # noqa: S314 - our own


def _environment(info: PlatformInfo, backend: str, home: Path) -> dict[str, str]:
    foreign = ("QISKIT_", "IBM_", "IAM_", "GLOBAL_", "PYTEST_", "PYTHON")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.lower().endswith("_proxy")
    }
    proxies = {"http_proxy": info.origin, "https_proxy": info.origin, "no_proxy": "127.0.0.1"}
    return {
        **kept,
        **proxies,
        **{name.upper(): value for name, value in proxies.items()},
        "HOME": str(home),  # no account that a user may have saved
        "IAM_URL": f"http://iam.{DOMAIN}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "QISKIT_IBM_INSTANCE": info.instance,
        "QISKIT_IBM_QPU": backend,
        "QISKIT_IBM_TOKEN": info.token,
        "QISKIT_IBM_URL": f"http://{DOMAIN}",
    }


def _outcome(case: ET.Element) -> Outcome:
    modules = case.get("classname", "").split(".")
    file = next((part for part in modules if part.startswith("test_")), "?").removeprefix("test_")
    name = case.get("name", "?")
    for kind, tags in (("failed", ("failure", "error")), ("skipped", ("skipped",))):
        for tag in tags:
            if (found := case.find(tag)) is not None:
                return Outcome(file, name, kind, found.get("message", "").partition("\n")[0])
    return Outcome(file, name, "passed")


def _report(outcomes: Sequence[Outcome]) -> int:
    say(f"\n{PACKAGE} {version(PACKAGE)}, its own integration tests:")
    counts = {file: Counter(o.kind for o in outcomes if o.file == file) for file in FILES}
    total: Counter[str] = sum(counts.values(), Counter())
    for file, count in [*counts.items(), ("all", total)]:
        if count:
            numbers = "".join(f"{count[kind]:5} {kind}" for kind in ("passed", "failed", "skipped"))
            say(f"  {file:24}{numbers}")
    for outcome in outcomes:
        if outcome.kind == "skipped":
            say(f"skipped: {outcome.key}: {outcome.reason}")
    wrong = 0
    for outcome in outcomes:
        expected = EXPECTED.get(outcome.key)
        if outcome.kind == "failed" and expected is not None:
            say(f"failed as expected: {outcome.key}: {expected}")
        elif outcome.kind == "failed":
            wrong += 1
            say(f"FAILED: {outcome.file}::{outcome.name}: {outcome.reason}")
        elif outcome.kind == "passed" and expected is not None:
            wrong += 1
            say(f"PASSED, though listed as expected to fail: {outcome.key}")
    all_skipped = not total["passed"] and not total["failed"]
    return 1 if wrong or all_skipped else 0


def _python(suite: Path) -> Path:
    return suite / "env" / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main())
