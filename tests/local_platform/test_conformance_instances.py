"""Which instances the client finds, how it chooses among them, and that they stay apart."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import pytest
from qiskit_ibm_runtime import IBMInputValueError, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import RuntimeJobNotFound
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform
from session_block.local_platform.config.layout import AccountSpec, InstanceSpec, Layout

from .support import bell, isa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qiskit_ibm_runtime import QiskitRuntimeService

    Connect = Callable[..., QiskitRuntimeService]

FIRST, EUROPE, OPEN = "local-platform", "local-platform-eu", "local-platform-open"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform with the default layout, whose jobs end at once."""
    with LocalPlatform() as running:
        yield running


def closed_port() -> int:
    """Return a port at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def crns(local: LocalPlatform) -> dict[str, str]:
    """The instances' CRNs by name."""
    return {instance.name: instance.crn for instance in local.accounts[0].instances}


def test_all_instances_are_listed(local: LocalPlatform, crns: dict[str, str]) -> None:
    """The client finds the account's instances with name, CRN, plan and pricing."""
    found = local.service().instances()
    assert [
        (item["name"], item["crn"], item["plan"], item["pricing_type"], item["tags"])
        for item in found
    ] == [
        (FIRST, crns[FIRST], "pay-as-you-go", "paygo", []),
        (EUROPE, crns[EUROPE], "premium", "subscription", []),
        (OPEN, crns[OPEN], "open", "free", []),
    ]
    assert [crn.split(":")[5] for crn in crns.values()] == ["us-east", "eu-de", "us-east"]


def test_more_instances_than_a_page(connect: Connect) -> None:
    """The client pages through a search with more than 100 results, and gets each once."""
    names = [f"instance-{number}" for number in range(205)]
    instances = tuple(InstanceSpec(name=name, backends=("ibm_manila",)) for name in names)
    layout = Layout(accounts=(AccountSpec(instances=instances),))
    with LocalPlatform(layout=layout) as many:
        service = connect(many.info, instance=names[-1])
        assert [item["name"] for item in service.instances()] == names
        assert service.active_instance() == many.accounts[0].instances[-1].crn


def test_an_instance_by_name(local: LocalPlatform, crns: dict[str, str]) -> None:
    """A service for an instance's name uses that instance and has its backends only."""
    service = local.service(instance=EUROPE)
    assert service.active_instance() == crns[EUROPE]
    assert {backend.name for backend in service.backends()} == {"ibm_brussels", "ibm_aachen"}


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ("no-such-name", "not a valid instance name"),
        (
            "crn:v1:bluemix:public:quantum-computing:us-east:a/b:c::",
            "does not have access to the instance",
        ),
    ],
)
def test_a_wrong_instance(local: LocalPlatform, instance: str, said: str) -> None:
    """A name or a CRN that is none of the account's is refused by the client."""
    with pytest.raises(IBMInputValueError, match=said):
        local.service(instance=instance)


def test_automatic_choice(
    local: LocalPlatform, crns: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without an instance free plans come first, and every backend is found where it is."""
    caplog.set_level(logging.WARNING, logger="qiskit_ibm_runtime")
    service = local.service(instance="auto")
    assert "Instance was not set" not in caplog.text
    chosen = {name: service.backend(name)._instance for name in ("ibm_fez", "ibm_hanoi")}
    assert chosen == {"ibm_fez": crns[OPEN], "ibm_hanoi": crns[FIRST]}
    assert service.backend("ibm_aachen")._instance == crns[EUROPE]


def test_a_preferred_plan(local: LocalPlatform, crns: dict[str, str], connect: Connect) -> None:
    """Preferred plans are used in their order, and no others."""
    plans = ["Pay-as-you-go", "open"]
    service = connect(local.info, instance=None, plans_preference=plans)
    assert service.backend("ibm_fez")._instance == crns[FIRST]
    assert "ibm_aachen" not in {backend.name for backend in service.backends()}


def test_a_region(local: LocalPlatform, connect: Connect) -> None:
    """A region limits the backends to those of its instances."""
    service = connect(local.info, instance=None, region="eu-de")
    assert {backend.name for backend in service.backends()} == {"ibm_brussels", "ibm_aachen"}


@pytest.mark.parametrize(
    "wish",
    [{"plans_preference": ["flex"]}, {"region": "jp-tok"}, {"tags": ["nobody"]}],
    ids=lambda wish: next(iter(wish)),
)
def test_nothing_matches(local: LocalPlatform, connect: Connect, wish: dict[str, object]) -> None:
    """A plan, region or tag that no instance has is refused by the client."""
    with pytest.raises(IBMInputValueError, match="No matching instances found"):
        connect(local.info, instance=None, **wish)


def test_instances_in_one_service(local: LocalPlatform, crns: dict[str, str]) -> None:
    """One service works with several instances: its jobs and sessions are found in each."""
    service = local.service(instance="auto")
    backends = [service.backend(name) for name in ("ibm_aachen", "ibm_nairobi")]
    jobs = [Sampler(backend).run([isa(bell(), backend)]) for backend in backends]
    session = Session(backends[0])
    for backend, job in zip(backends, jobs, strict=True):
        job.result()
        assert job.instance == backend._instance
        again = service.job(job.job_id())
        assert again.backend().name == backend.name
        assert service.active_instance() == backend._instance
    found = Session.from_id(session.session_id, service)
    assert found.backend() == "ibm_aachen"
    assert service.active_instance() == crns[EUROPE]
    found.close()
    listed = {
        name: [job.job_id() for job in service.jobs(instance=crns[name])]
        for name in (EUROPE, FIRST)
    }
    assert jobs[0].job_id() in listed[EUROPE]
    assert jobs[1].job_id() not in listed[EUROPE]
    assert jobs[1].job_id() in listed[FIRST]
    with pytest.raises(RuntimeJobNotFound):
        service.job("unknown")


def test_no_later_client_leaves_this_machine(
    local: LocalPlatform, crns: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that a service makes later, to other instances, have tokens of this platform."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    for instance in (FIRST, crns[FIRST], "auto"):
        service = local.service(instance=instance)
        before = local.stats()["requests"]["POST /identity/token"]
        for crn in crns.values():
            # A token that cannot be had is a warning, and thereby an error here.
            service.jobs(limit=1, instance=crn)
            assert service.active_instance() == crn
        tokens = local.stats()["requests"]["POST /identity/token"] - before
        assert tokens == (0 if instance == "auto" else len(crns) - 1)
        assert service.backends(instance=EUROPE)


def test_instances_see_nothing_of_each_other(local: LocalPlatform) -> None:
    """A job and a session of one instance do not exist for another one of the same account."""
    backend = local.service().backend("ibm_manila")
    job = Sampler(backend).run([isa(bell(), backend)])
    session = Session(backend)
    other = local.service(instance=EUROPE)
    with pytest.raises(RuntimeJobNotFound):
        other.job(job.job_id())
    with pytest.raises(RuntimeJobNotFound):
        other.delete_job(job.job_id())
    with pytest.raises(IBMInputValueError, match="Session not found"):
        Session.from_id(session.session_id, other)
    assert job.job_id() not in {item.job_id() for item in other.jobs(limit=None)}
    session.close()


def test_usage_by_instance(local: LocalPlatform) -> None:
    """Each instance has its own usage; only that of the open plan has a limit."""
    usage = {name: local.service(instance=name).usage() for name in (FIRST, EUROPE, OPEN)}
    assert usage[OPEN]["usage_limit_seconds"] == 600
    assert usage[OPEN]["usage_remaining_seconds"] == 600
    assert isinstance(usage[OPEN]["usage_remaining_seconds"], int)
    assert "usage_limit_seconds" not in usage[FIRST]
    assert len({item["instance_id"] for item in usage.values()}) == 3


def test_accounts_are_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account has its own key, and neither CRNs, jobs nor sessions of another one."""
    spec = AccountSpec(instances=(InstanceSpec(name="same-name", backends=("ibm_manila",)),))
    with LocalPlatform(layout=Layout(accounts=(spec, spec))) as two:
        mine, theirs = two.accounts
        backend = two.service().backend("ibm_manila")
        job = Sampler(backend).run([isa(bell(), backend)])
        with pytest.raises(IBMInputValueError, match="does not have access"):
            two.service(token=theirs.token, instance=mine.instances[0].crn)
        stranger = two.service(token=theirs.token, instance="same-name")
        assert stranger.active_instance() == theirs.instances[0].crn
        assert stranger.jobs() == []
        with pytest.raises(RuntimeJobNotFound):
            stranger.job(job.job_id())
        for name, value in two.environment.items():
            monkeypatch.setenv(name, value)
        foreign = stranger._create_new_cloud_api_client(mine.instances[0].crn)
        with pytest.raises(RequestsApiError, match='"code":1279') as refused:
            foreign.job_get(job.job_id())
        assert refused.value.status_code == 404
