"""A noise model is learned once: for a backend, its layers, the learner's options and an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from session_block import (
    Experiment,
    IBMSessionCredentials,
    NoiseModel,
    QuantumSession,
    crashpoints,
    tasks,
)
from session_block.errors import (
    BackendRecalibratedError,
    ExperimentDivergedError,
    ExperimentSealedError,
    InvalidInputError,
    LabelConflictError,
    LabelRequiredError,
    LedgerError,
    NotISAError,
)
from session_block.local_platform import Layout, LocalPlatform
from session_block.operations.experiments import described_in_full
from session_block.records.views import load_experiment

SMALL, OTHER = "ibm_manila", "ibm_nairobi"
LAYOUT = Layout.model_validate(
    {
        "accounts": [
            {
                "users": 2,
                "instances": [
                    {"name": "usual", "backends": [SMALL, OTHER]},
                    {"name": "other", "backends": [SMALL]},
                ],
            }
        ]
    }
)
pytestmark = pytest.mark.rest

FAST = {"layer_pair_depths": [0, 1, 4], "num_randomizations": 2, "shots_per_randomization": 16}
PEC: dict[str, Any] = {"pec_mitigation": True}
PEA: dict[str, Any] = {"zne_mitigation": True, "zne": {"amplifier": "pea"}}
HOUR = 3600

Blocks = Callable[..., QuantumSession]


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform with two users, two instances and a device's noise."""
    with LocalPlatform(layout=LAYOUT, noise="device", seed=3) as platform:
        yield platform


@pytest.fixture
def block(platform: LocalPlatform, tmp_path: Path) -> Blocks:
    """Make Blocks with one ledger."""

    def make(*, user: int = 0, instance: int = 0, **fields: Any) -> QuantumSession:
        account = platform.accounts[user]
        credentials = IBMSessionCredentials(
            token=account.token, instance=account.instances[instance].crn, url=platform.info.url
        )
        defaults = {"backend_name": SMALL, "mode": "job"}
        return QuantumSession(
            credentials=credentials,
            **{**defaults, "ledger_url": f"sqlite:///{tmp_path}/ledger.db", **fields},  # type: ignore[arg-type]
        )

    return make


def pub(experiment: Experiment, *pairs: tuple[int, int]) -> Any:
    """Return a PUB with a layer for each pair of qubits."""
    circuit = QuantumCircuit(3)
    for pair in pairs or ((0, 1),):
        circuit.h(0)
        circuit.cx(*pair)
    return experiment.transpile(circuit, SparsePauliOp("IZZ"), optimization_level=0)


def ask(experiment: Experiment, *pubs: Any, method: Any = PEC, **given: Any) -> NoiseModel:
    """Ask for the model of PUBs, by default of one."""
    given = {"learner_options": FAST, "options": {"resilience": method}, **given}
    return experiment.noise_model(list(pubs) or [pub(experiment)], **given)


def told(model: NoiseModel) -> list[Any]:
    """Return the numbers of a model."""
    return [one.to_sparse_list() for one in model.maps]


def jobs(platform: LocalPlatform, *experiments: Experiment) -> list[int]:
    """Return how many jobs experiments have at the platform."""
    by_tag = platform.stats()["jobs"]["by_tag"]
    return [by_tag.get(f"qs-uid:{one.uid}", 0) for one in experiments]


def test_a_second_experiment_takes_the_first_ones_model(
    platform: LocalPlatform, block: Blocks
) -> None:
    """P1: it buys nothing; PEA asks for the same layers as PEC. Its age is told."""
    with block().experiment("first") as first:
        learned = ask(first)
    assert jobs(platform, first) == [1]
    platform.advance(2 * HOUR)
    with block().experiment("second") as second:
        taken = ask(second, method=PEA)
        report = second.report({"energy": 1.0})
    assert jobs(platform, first, second) == [1, 0]
    assert told(taken) == told(learned)
    assert len(taken.layer_noise_model) == len(taken.layers) == 1
    assert taken.origin.experiment == "first"
    assert taken.origin.uid == first.uid
    assert taken.origin.job_id == first.job_ids[0]
    assert taken.origin.learned_at == learned.origin.learned_at
    assert taken.origin.calibrated_at is not None
    assert learned.origin.age_seconds < HOUR
    assert 2 * HOUR <= taken.origin.age_seconds < 3 * HOUR
    assert report is not None
    (said,) = report["run"]["noise_models"]
    assert said["age_seconds"] == taken.origin.age_seconds
    view = load_experiment("second", block().ledger())
    assert view.noise_models == [taken.origin]
    assert described_in_full(block().ledger(), second.identity)["noise_models"] == [said]


@pytest.mark.parametrize(
    "other",
    [
        {"pairs": ((0, 1), (1, 2))},
        {"pairs": ((1, 2), (0, 1))},
        {"learner_options": {**FAST, "num_randomizations": 3}},
        {"block": {"user": 1}},
        {"block": {"instance": 1}},
        {"block": {"owner": "team"}},
        {"block": {"backend_name": OTHER}},
        {"block": {"ledger_url": "elsewhere"}},
    ],
    ids=["layers", "order", "options", "user", "instance", "owner", "backend", "ledger"],
)
def test_another_model_is_learned(
    platform: LocalPlatform, block: Blocks, tmp_path: Path, other: dict[str, Any]
) -> None:
    """Nothing is taken that is not the same, or somebody else's."""
    with block().experiment("theirs", fresh=True) as theirs:
        ask(theirs, pub(theirs, (0, 1), (0, 1)) if "pairs" not in other else pub(theirs))
    fields = dict(other.get("block", {}))
    if "ledger_url" in fields:
        fields["ledger_url"] = f"sqlite:///{tmp_path}/elsewhere.db"
    with block(**fields).experiment("mine", fresh=True) as mine:
        given = {"learner_options": other["learner_options"]} if "learner_options" in other else {}
        ask(mine, pub(mine, *other.get("pairs", ())), **given)
    assert jobs(platform, theirs, mine) == [1, 1]


def test_the_members_of_an_owner_share(platform: LocalPlatform, block: Blocks) -> None:
    """Two people whose Blocks name one owner."""
    with block(owner="group").experiment("his") as his:
        ask(his)
    with block(owner="group", user=1).experiment("hers", fresh=True) as hers:
        assert ask(hers).origin.uid == his.uid
    assert jobs(platform, his, hers) == [1, 0]


@pytest.mark.parametrize("age", ["1h", HOUR, timedelta(hours=1)])
def test_an_older_model_is_learned_again(
    platform: LocalPlatform, block: Blocks, age: int | str | timedelta
) -> None:
    """A resumed run gets the very model that it got; a new request gets the newest."""
    with block().experiment("old") as old:
        first = ask(old)
    platform.advance(HOUR / 2)
    killed = block().experiment("killed")
    assert ask(killed, max_age=age).origin.uid == old.uid
    platform.advance(HOUR)
    with block().experiment("killed") as resumed:
        again = ask(resumed, max_age=age)
        assert (again.origin.uid, told(again)) == (old.uid, told(first))
        assert jobs(platform, resumed) == [0]
        newer = ask(resumed, max_age=age)
        assert newer.origin.uid == resumed.uid
        assert newer.origin.learned_at > first.origin.learned_at
        assert ask(resumed, max_age=age).origin == newer.origin.model_copy(
            update={"age_seconds": resumed.noise_models[-1].age_seconds}
        )
    assert jobs(platform, resumed) == [1]
    with block().experiment("last") as last:
        assert ask(last, max_age=0).origin.uid == last.uid
        assert ask(last).origin.uid == last.uid
    assert jobs(platform, last) == [1]


def test_a_new_calibration_counts_where_the_block_says_so(
    platform: LocalPlatform, block: Blocks
) -> None:
    """Otherwise only the age does. What a request was answered with stays, whatever comes."""
    with block().experiment("before") as before:
        first = ask(before)
    same = block(on_recalibration="relearn").experiment("same")
    assert ask(same).origin.uid == before.uid
    stopping = block(on_recalibration="stop").experiment("stopping")
    assert ask(stopping).origin.uid == before.uid
    platform.calibrate(SMALL)
    with block().experiment("careless") as careless:
        assert ask(careless).origin.uid == before.uid
    with block(on_recalibration="relearn").experiment("same") as again:
        assert told(ask(again)) == told(first)
        newer = ask(again)
        assert newer.origin.uid == again.uid
        assert newer.origin.calibrated_at != first.origin.calibrated_at
    stopped = block(on_recalibration="stop").experiment("stopping")
    assert told(ask(stopped)) == told(first)
    with pytest.raises(BackendRecalibratedError):
        ask(stopped)
    assert jobs(platform, before, careless, again, stopped) == [1, 0, 1, 0]


def test_a_replay_needs_no_network(platform: LocalPlatform, block: Blocks) -> None:
    """P7: neither of a model that was learned nor of one that was taken; also when finished."""
    for name in ("learns", "takes"):
        with block().experiment(name) as experiment:
            model = ask(experiment)
        before = _requests(platform)
        again = block().experiment(name)
        assert told(ask(again)) == told(model)
        with pytest.raises(ExperimentSealedError):
            ask(again)
        assert _requests(platform) == before
    assert jobs(platform, again) == [0]


def test_a_model_is_learned_for_all_pubs_together(platform: LocalPlatform, block: Blocks) -> None:
    """PUBs of two precisions take two jobs, and both use the one model."""
    with block().experiment("union") as experiment:
        pubs = [(*pub(experiment), None, 0.2), (*pub(experiment, (1, 2)), None, 0.3)]
        model = ask(experiment, *pubs)
        assert len(model.layers) == 2
        resilience = {**PEC, "layer_noise_model": model.layer_noise_model}
        result = experiment.run_estimator(
            pubs, options={"resilience": resilience}, implementation="executor"
        )
    assert len(result) == 2
    assert jobs(platform, experiment) == [3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_age": "soon"}, "max_age 'soon' is not a duration"),
        ({"max_age": -1}, "younger than 0 s"),
        ({"max_age": timedelta(hours=-1)}, "younger than 0 s"),
        ({"max_age": 1.5}, "max_age must be seconds or text"),
        ({"max_age": True}, "max_age must be seconds or text"),
        ({"options": None}, "neither for PEC nor for PEA"),
        ({"options": {"resilience": {"zne_mitigation": True}}}, "neither for PEC nor for PEA"),
        ({"options": {"resilience": {"pec": 1}}}, "estimator options are wrong"),
        ({"options": 7}, "options must be a dict"),
        ({"learner_options": {"depths": 1}}, "noise-learner options are wrong"),
        ({"pubs": []}, "no layer of two-qubit gates"),
        ({"pubs": [(QuantumCircuit(2), "ZZ")]}, "no layer of two-qubit gates"),
        ({"pubs": [QuantumCircuit(2)]}, "The request for a noise model is wrong"),
    ],
)
def test_what_cannot_be_right_is_refused(
    platform: LocalPlatform, block: Blocks, given: dict[str, Any], message: str
) -> None:
    """Before anything is asked, recorded or sent."""
    experiment = block().experiment("wrong", fresh=True)
    before = _requests(platform)
    asked = {"pubs": [(_entangled(), "ZZ")], "options": {"resilience": PEC}, **given}
    with pytest.raises(InvalidInputError, match=message):
        experiment.noise_model(asked.pop("pubs"), **asked)
    assert _requests(platform) == before
    assert not block().ledger().facts(experiment.uid, "intent/", "noise-model/")


def test_layers_of_another_backend_are_refused(block: Blocks) -> None:
    """Before a session is opened, or anything is recorded."""
    with block(backend_name=OTHER, mode="session").experiment("seven qubits") as other:
        circuit = QuantumCircuit(7)
        circuit.cx(4, 5)
        too_large = other.transpile(circuit, SparsePauliOp("IIZIIII"), optimization_level=0)
        coupled = other.transpile(_entangled(), SparsePauliOp("ZZ"), optimization_level=0)
    experiment = block(mode="session").experiment("five qubits")
    for wrong in (too_large, coupled, (_entangled("cz"), "ZZ")):
        with pytest.raises(NotISAError):
            ask(experiment, wrong)
    assert not block().ledger().facts(experiment.uid, "intent/", "session", "noise-model/")


def test_labels_name_requests(platform: LocalPlatform, block: Blocks) -> None:
    """Also of a model that was taken; a process that joins needs them."""
    with block().experiment("labelled") as first:
        ask(first, label="model")
    experiment = block(mode="session").experiment("labels")
    taken = ask(experiment, label="model")
    assert taken.origin.uid == first.uid
    experiment.open_session()
    joined = block(mode="session").attach(experiment.session_ref)
    assert ask(joined, label="model").origin == taken.origin
    with pytest.raises(LabelConflictError, match="'model'"):
        ask(joined, pub(joined, (1, 2)), label="model")
    with pytest.raises(LabelConflictError, match="'model'"):
        ask(first, pub(first, (1, 2)), label="model")
    with pytest.raises(LabelRequiredError):
        ask(joined)
    assert jobs(platform, first, experiment) == [1, 0]
    experiment.close_session()


def test_threads_of_an_experiment_learn_once(platform: LocalPlatform, block: Blocks) -> None:
    """Those that come meanwhile wait, and take it."""
    with block().experiment("threads") as experiment, ThreadPoolExecutor(4) as pool:
        ready = pub(experiment)
        models = list(pool.map(lambda _: ask(experiment, ready), range(4)))
    assert len({str(told(one)) for one in models}) == 1
    assert jobs(platform, experiment) == [1]


def test_the_async_twin_is_the_same(platform: LocalPlatform, block: Blocks) -> None:
    """Of several at once one learns, and the others take it."""

    async def several(experiment: Experiment) -> list[NoiseModel]:
        asked: dict[str, Any] = {"options": {"resilience": PEC}, "learner_options": FAST}
        ready = [pub(experiment)]
        async with experiment:
            return await asyncio.gather(
                *(experiment.anoise_model(ready, **asked) for _ in range(3))
            )

    experiment = block().experiment("twin")
    models = asyncio.run(several(experiment))
    assert len({str(told(one)) for one in models}) == 1
    assert jobs(platform, experiment) == [1]


POINTS = [
    "record intent, after",
    "submit, after",
    "record outcome, after",
    "record result, before",
    "record result, after",
    "record noise, before",
    "record noise, after",
    "record noise-model, before",
    "record noise-model, after",
]


def test_an_interrupted_learning_is_resumed(
    platform: LocalPlatform, block: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: wherever it was interrupted, it has one job, and the next experiment takes its model."""
    passes = crashpoints._pass

    def interrupt(point: str, at: str) -> None:
        passes(point)
        if point == at:
            raise KeyboardInterrupt

    for number, at in enumerate(POINTS):
        given = {"learner_options": {**FAST, "num_randomizations": 5 + number}}
        killed = block().experiment(at)
        with monkeypatch.context() as patched:
            patched.setattr(crashpoints, "_pass", partial(interrupt, at=at))
            with pytest.raises(KeyboardInterrupt):
                ask(killed, **given)
        with block().experiment(at) as resumed:
            model = ask(resumed, **given)
        with block().experiment(f"after {at}") as other:
            taken = ask(other, **given)
        assert jobs(platform, resumed, other) == [1, 0], at
        assert (taken.origin.uid, told(taken)) == (resumed.uid, told(model)), at


def test_what_the_ledger_lost_is_said(
    platform: LocalPlatform, block: Blocks, tmp_path: Path
) -> None:
    """Whoever learned a model finds its job again; whoever took one stops before they buy."""
    with block().experiment("learned it") as learned:
        model = ask(learned)
    took = block().experiment("took it")
    ready = pub(took)
    options = {"resilience": {**PEC, "layer_noise_model": ask(took, ready).layer_noise_model}}
    asked: dict[str, Any] = {"options": options, "implementation": "executor"}
    took.run_estimator([ready], precision=0.3, **asked)
    lost = block(ledger_url=f"sqlite:///{tmp_path}/empty.db")
    again = lost.experiment("took it")
    with pytest.raises(ExperimentDivergedError, match="Its ledger was lost"):
        ask(again, ready)
    with lost.experiment("learned it") as found:
        assert told(ask(found)) == told(model)
    assert found.noise_models[0].learned_at == model.origin.learned_at
    assert jobs(platform, learned, took) == [1, 1]
    assert [learned.uid, took.uid] == [found.uid, again.uid]


def test_a_model_whose_result_is_gone_is_not_taken(
    platform: LocalPlatform, block: Blocks, tmp_path: Path
) -> None:
    """In a ledger that was copied in part it is learned again; who took it is told."""
    with block().experiment("source") as source:
        ask(source)
    took = block().experiment("taker")
    ready = pub(took)
    ask(took, ready)
    part = block(ledger_url=f"sqlite:///{tmp_path}/part.db")
    for fact in block().ledger().everything():
        if fact.experiment != source.uid:
            part.ledger().take(fact)
    with pytest.raises(LedgerError, match=r"'source' .* does not hold it any more"):
        ask(part.experiment("taker"), ready)
    with part.experiment("other taker") as other:
        assert ask(other).origin.uid == other.uid
    assert jobs(platform, source, took, other) == [1, 0, 1]


@flow
def _inner(block: str) -> list[Any]:
    with QuantumSession.load(block).experiment("of the tree") as experiment:
        model = tasks.noise_model(
            experiment.session_ref,
            [pub(experiment)],
            options={"resilience": PEC},
            learner_options=FAST,
        )
        return [model.origin.job_id, *told(model)]


@flow
def _outer(block: str) -> list[Any]:
    return [_inner(block), _inner(block)]


@pytest.mark.usefixtures("prefect_server")
def test_subflows_and_tasks_share(platform: LocalPlatform, block: Blocks) -> None:
    """One experiment by its name: the second subflow takes what the first has learned."""
    block().save("noise-models", overwrite=True)
    first, second = _outer("noise-models")
    assert first == second
    view = load_experiment("of the tree", block().ledger())
    assert platform.stats()["jobs"]["by_tag"][f"qs-uid:{view.uid}"] == 1


def _requests(platform: LocalPlatform) -> int:
    """Return how many requests a client has sent."""
    counts: dict[str, int] = platform.stats()["requests"]
    return sum(count for route, count in counts.items() if "/_local/" not in route)


def _entangled(gate: str = "cx") -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    getattr(circuit, gate)(0, 1)
    return circuit
