"""Run test modules of Qiskit with other primitives in place of those that they construct.

    python drop_in.py REPORT MODULE [MODULE ...]

The modules run as they are, four times: with the durable primitives, and with the client's own, of
both families. All stand on one local platform. The report says, for each of the four, what became
of every test and subtest, and what each request in it gave.
"""

# ruff: noqa: N802 - unittest's own names

from __future__ import annotations

import json
import sys
import tempfile
import traceback
import unittest
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives.containers import BitArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.utils.validations import validate_isa_circuits

from session_block import (
    DurableEstimator,
    DurableSampler,
    LocalPlatform,
    LocalPlatformCredentials,
    QuantumSession,
)
from session_block.pubs.families import primitive_class
from session_block.references import Implementation, PrimitiveKind

# Seven qubits, laid out as on the backend of Qiskit's tests.
BACKEND = "ibm_nairobi"
SEED = 0
"""Of the transpiler; the durable primitives have the same."""

# Nothing is idle for long enough to end: sessions are closed after each test.
INTERACTIVE_SECONDS = 3600
KINDS: dict[str, PrimitiveKind] = {
    "StatevectorSampler": "sampler",
    "BackendSamplerV2": "sampler",
    "StatevectorEstimator": "estimator",
    "BackendEstimatorV2": "estimator",
}
"""What is replaced, and by which primitive."""

FAMILIES: tuple[Implementation, ...] = ("executor", "v2")
STATEVECTOR_SHOTS = 1024
"""Qiskit's own default, where the client's is another."""


@dataclass
class Trial:
    """One test: the places where it failed, by subtest, and what its requests gave."""

    test: str
    failures: dict[str, str] = field(default_factory=dict)
    skipped: str | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)


class Trials(unittest.TestResult):
    """Collects the trials of one run, and ends what a test began."""

    def __init__(self, maker: Maker) -> None:
        super().__init__()
        self.trials: list[Trial] = []
        self._maker = maker

    def startTest(self, test: unittest.TestCase) -> None:
        """Begin a trial."""
        super().startTest(test)
        # Qiskit's test class makes every deprecation an error, and so IBM's of its own primitives.
        warnings.simplefilter("ignore", DeprecationWarning)
        self._now = Trial(test.id().partition("primitives.test_")[2])
        self._maker.requests = self._now.requests

    def stopTest(self, test: unittest.TestCase) -> None:
        """Keep the trial, and end the test's session."""
        super().stopTest(test)
        self.trials.append(self._now)
        self._maker.end()

    def addFailure(self, _test: unittest.TestCase, error: Any) -> None:
        """Note a failed assertion."""
        self._failed("", error)

    def addError(self, test: unittest.TestCase, error: Any) -> None:
        """Note any other error; what is no test's own ends the run."""
        if not isinstance(test, unittest.TestCase):
            raise error[1]
        self._failed("", error)

    def addSkip(self, _test: unittest.TestCase, reason: str) -> None:
        """Note that the test did not run."""
        self._now.skipped = reason

    def addSubTest(self, _test: unittest.TestCase, subtest: Any, error: Any) -> None:
        """Note what became of a subtest."""
        if error is not None:
            self._failed(subtest._subDescription(), error)

    def _failed(self, subtest: str, error: Any) -> None:
        kind, what, trace = error
        lines = [one.lineno for one in traceback.extract_tb(trace) if "primitives" in one.filename]
        text = " ".join(str(what).split())[:300]
        self._now.failures[subtest] = f"line {lines[0] if lines else '?'}: {kind.__name__}: {text}"


class Maker:
    """Makes the primitives of one run.

    Args:
        platform: They stand on it.
        family: The client's family of primitives.
        durable: Whether they are the durable ones, else the client's own.
        directory: For ledgers.
    """

    def __init__(
        self, platform: LocalPlatform, family: Implementation, durable: bool, directory: Path
    ) -> None:
        self._family = family
        self._durable = durable
        self._backend = platform.service().backend(BACKEND)
        self._passes = generate_preset_pass_manager(1, self._backend, seed_transpiler=SEED)
        self._block = QuantumSession(
            credentials=LocalPlatformCredentials(state_dir=platform.info.state_dir),
            backend_name=BACKEND,
            max_time="8h",
            ledger_url=f"sqlite:///{directory / 'ledger.db'}",
        )
        self._number = 0
        self._open: Any = None
        self.requests: list[dict[str, Any]] = []

    def factory(self, name: str) -> Any:
        """Return what stands in the place of one of Qiskit's classes."""

        def make(*_args: Any, **given: Any) -> Primitive:
            options = dict(given.pop("options", None) or given)
            options.pop("backend", None)
            for seed in ("seed", "seed_simulator"):  # the platform has its own
                options.pop(seed, None)
            if name == "StatevectorSampler":
                options.setdefault("default_shots", STATEVECTOR_SHOTS)
            return Primitive(self, self._make(KINDS[name], options), KINDS[name])

        return make

    def _make(self, kind: PrimitiveKind, options: dict[str, Any]) -> Any:
        if not self._durable:
            primitive = primitive_class(kind, self._family)
            return primitive(mode=self._session(), options=options)
        durable = DurableSampler if kind == "sampler" else DurableEstimator
        return durable(self._session(), options=options, implementation=self._family)

    def _session(self) -> Any:
        """Return the test's own experiment, or the client's session."""
        if self._open is None and self._durable:
            self._number += 1
            self._open = self._block.experiment(f"{self._family}-{self._number}")
        elif self._open is None:
            self._open = Session(self._backend)
        return self._open

    def fit(self, kind: PrimitiveKind, pub: Any) -> Any:
        """Return a PUB as the client wants it; what is no PUB, and what is durable, as it is."""
        if self._durable:
            return pub
        try:
            coerced = (SamplerPub if kind == "sampler" else EstimatorPub).coerce(pub)
        except (ValueError, TypeError):
            return pub
        circuit = self._isa(coerced.circuit)
        if circuit is coerced.circuit:
            return coerced
        if kind == "sampler":
            return SamplerPub(circuit, coerced.parameter_values, coerced.shots)
        observables = coerced.observables.apply_layout(circuit.layout)
        return EstimatorPub(circuit, observables, coerced.parameter_values, coerced.precision)

    def _isa(self, circuit: QuantumCircuit) -> QuantumCircuit:
        try:
            validate_isa_circuits([circuit], self._backend.target)
        except IBMInputValueError:
            return self._passes.run(circuit)
        return circuit

    def end(self) -> None:
        """End a test's session: another one has to wait for it."""
        if self._open is not None:
            self._open.close_session() if self._durable else self._open.close()
        self._open = None


class Primitive:
    """A primitive in the place of one of Qiskit's; it notes what each request gave."""

    def __init__(self, maker: Maker, primitive: Any, kind: PrimitiveKind) -> None:
        self._maker = maker
        self._primitive = primitive
        self._kind = kind
        # Tests of Estimators choose how observables are grouped, which is the platform's own.
        self.options = primitive.options if kind == "sampler" else SimpleNamespace()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._primitive, name)

    def run(self, pubs: Any, **given: Any) -> Any:
        """Run as the primitive does, and note what came of it."""
        note: dict[str, Any] = {}
        self._maker.requests.append(note)
        fitted: Iterator[Any] = (self._maker.fit(self._kind, pub) for pub in pubs)
        try:
            job = self._primitive.run(fitted if isinstance(pubs, Iterator) else [*fitted], **given)
        except Exception as error:
            note["refused"] = type(error).__name__
            raise
        return Job(job, note)


class Job:
    """A job whose result is noted."""

    def __init__(self, job: Any, note: dict[str, Any]) -> None:
        self._job = job
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    def result(self) -> Any:
        """Return the job's result."""
        try:
            result = self._job.result()
        except Exception as error:
            self._note["failed"] = type(error).__name__
            raise
        self._note["metadata"] = repr(result.metadata)
        self._note["pubs"] = [_described(pub) for pub in result]
        return result


def _described(pub: Any) -> dict[str, Any]:
    fields = {}
    for name, value in pub.data.items():
        array = value.array if isinstance(value, BitArray) else np.asarray(value)
        form = f"{type(value).__name__} {array.dtype} {array.shape}"
        if isinstance(value, BitArray):
            form += f" {value.num_shots} shots of {value.num_bits} bits"
        fields[name] = {"form": form, "values": sha256(array.tobytes()).hexdigest()[:12]}
    return {"shape": pub.data.shape, "fields": fields, "metadata": repr(pub.metadata)}


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


def _is_run(test: unittest.TestCase) -> bool:
    name = test.id()
    if "backend_estimator" in name and name[-2:] in ("_2", "_4"):
        return False  # as its neighbour, but for the grouping, which is the platform's own
    # A thousand equal observables, each averaged over 10,000 runs: minutes.
    return not name.endswith("TestStatevectorEstimator.test_reset")


def main() -> None:
    """Run the modules four times, and write the report."""
    report, *names = sys.argv[1:]
    modules = [import_module(name) for name in names]
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalPlatform(interactive_seconds=INTERACTIVE_SECONDS) as platform,
    ):
        for family, durable in product(FAMILIES, (True, False)):
            maker = Maker(platform, family, durable, Path(directory))
            for module in modules:
                if hasattr(module, "generate_preset_pass_manager"):
                    # Without a seed, what is transpiled differs from run to run.
                    module.generate_preset_pass_manager = partial(
                        generate_preset_pass_manager, seed_transpiler=SEED
                    )
                own = module.__name__.rpartition("test_")[2].replace("_", "")
                for name in KINDS:
                    # What a test compares with stays as it is.
                    if own in name.lower():
                        setattr(module, name, maker.factory(name))
            load = unittest.defaultTestLoader.loadTestsFromModule
            suite = unittest.TestSuite(
                test for module in modules for test in _each(load(module)) if _is_run(test)
            )
            trials = Trials(maker)
            suite.run(trials)
            found[f"{'durable' if durable else 'client'} {family}"] = [
                asdict(trial) for trial in trials.trials
            ]
    Path(report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
