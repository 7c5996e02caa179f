"""Work pools: what their templates make of a flow run, and flow runs that begin with an empty disk.

Neither Docker nor Kubernetes is here. The templates are taken by a real server and by the real
workers' own configurations; a pod is what its manifest says: its command, in a process that knows
nothing but its variables and its Secret, on a disk of its own that goes with it.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import docker
import psutil
import pytest
import yaml
from kubernetes_asyncio.client import ApiClient, Configuration
from postgres import Postgres
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect.states import AwaitingRetry
from prefect.utilities.callables import parameter_schema
from prefect.workers.base import BaseJobConfiguration
from prefect.workers.process import ProcessJobConfiguration
from prefect_docker.worker import DockerWorkerJobConfiguration
from prefect_helpers import CHECKOUT, eventually, flow_run
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration
from support import Platform, tagged

from session_block import IBMSessionCredentials, QuantumSession, local_platform
from session_block.flows.vqe import vqe

pytestmark = pytest.mark.rest

DEPLOYMENTS = CHECKOUT / "deployments"
CONFIGURATIONS: dict[str, type[BaseJobConfiguration]] = {
    "process": ProcessJobConfiguration,
    "docker": DockerWorkerJobConfiguration,
    "kubernetes": KubernetesWorkerJobConfiguration,
}
HEARTBEATS = ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
EVALUATIONS = 12


def _template(kind: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DEPLOYMENTS / "work-pools" / f"{kind}.json").read_text())
    return content


@pytest.fixture(scope="module")
def pools(prefect_server: str) -> dict[str, WorkPool]:  # noqa: ARG001 - where they are
    """A work pool of each kind, made of its template."""
    with get_client(sync_client=True) as client:
        return {
            kind: client.create_work_pool(
                WorkPoolCreate(name=f"t-{kind}", type=kind, base_job_template=_template(kind))
            )
            for kind in CONFIGURATIONS
        }


@pytest.fixture(scope="module")
def platform_of_pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform on which a run lasts long enough to be interrupted."""
    state_dir = tmp_path_factory.mktemp("platform")
    yield Platform(local_platform.start(state_dir, job_seconds=0.3))
    local_platform.stop(state_dir)


@pytest.fixture(scope="module")
def nightly(pools: dict[str, WorkPool]) -> UUID:
    """The nightly deployment of prefect.yaml, in the Kubernetes pool, with a Block of its own."""
    content = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
    [described] = [one for one in content["deployments"] if one["name"] == "h2-nightly"]
    QuantumSession(
        credentials=IBMSessionCredentials(), backend_name="ibm_manila", max_time="1h"
    ).save("t-pods", overwrite=True)
    with get_client(sync_client=True) as client:
        return client.create_deployment(
            client.create_flow(vqe),
            "t-pods",
            entrypoint=described["entrypoint"],
            pull_steps=content["pull"],
            parameters={
                **described["parameters"],
                "block": "t-pods",
                "optimizer_options": {"maxiter": EVALUATIONS},
            },
            parameter_openapi_schema=parameter_schema(vqe).model_dump_for_openapi(),
            tags=described["tags"],
            work_pool_name=pools["kubernetes"].name,
            job_variables=described["work_pool"]["job_variables"],
        )


def _new_run(deployment: UUID) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment)


def _configured(kind: str, pool: WorkPool, run: FlowRun) -> Any:
    """Return what a worker of this kind of pool would start for a flow run."""

    async def resolve() -> BaseJobConfiguration:
        async with get_client() as client:
            return await CONFIGURATIONS[kind].resolve_for_flow_run(
                run, client=client, work_pool=pool, worker_name="t"
            )

    return asyncio.run(resolve())


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_each_worker_takes_its_template(
    pools: dict[str, WorkPool], nightly: UUID, kind: str
) -> None:
    """Flow runs of each pool send the heartbeats to which the automations listen."""
    configured = _configured(kind, pools[kind], _new_run(nightly))
    assert HEARTBEATS in configured.env.items()
    template = _template(kind)
    assert HEARTBEATS in template["variables"]["properties"]["env"]["default"].items()


def test_a_container_has_no_lasting_disk(
    pools: dict[str, WorkPool], nightly: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker: secrets are the worker's variables, and nothing but /tmp, in memory, is written."""
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "a-token")
    monkeypatch.setenv("SESSION_BLOCK_LEDGER_URL", "postgresql://a-ledger")
    monkeypatch.delenv("QISKIT_IBM_INSTANCE", raising=False)
    configured = _configured("docker", pools["docker"], _new_run(nightly))
    assert configured.command == "prefect flow-run execute"
    assert configured.env["QISKIT_IBM_TOKEN"] == "a-token"
    assert configured.env["SESSION_BLOCK_LEDGER_URL"] == "postgresql://a-ledger"
    assert configured.env["QISKIT_IBM_INSTANCE"] == ""  # which counts as none
    assert configured.env["PREFECT_HOME"] == "/tmp/prefect"  # noqa: S108 - and not the worker's
    assert configured.env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert "a-token" not in json.dumps(pools["docker"].base_job_template)
    host = docker.types.HostConfig(version="1.44", **configured.container_create_kwargs)
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "size=512m,mode=1777"}  # noqa: S108 - the container's
    assert not configured.volumes


def test_a_pod_is_what_kubernetes_knows(pools: dict[str, WorkPool], nightly: UUID) -> None:
    """Every field of the Job is one of Kubernetes' API, at its place."""
    run = _new_run(nightly)
    manifest = _configured("kubernetes", pools["kubernetes"], run).job_manifest
    with_limits = {"cpu_limit": "2", "namespace": "lab", "service_account_name": "runs"}
    run.job_variables = with_limits
    limited = _configured("kubernetes", pools["kubernetes"], run).job_manifest
    for job in (manifest, limited):
        assert asyncio.run(_as_kubernetes_reads_it(job)) == _without_none(job)
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {"name": "PREFECT_HOME", "value": "/tmp/prefect"} in container["env"]  # noqa: S108
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "512Mi"}}]
    assert limited["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2"


def test_an_authentication_string_stands_in_no_manifest(
    pools: dict[str, WorkPool], nightly: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variables of the how-to page, what the worker sends to Kubernetes names a Secret."""
    page = (DEPLOYMENTS.parent / "docs" / "how-to" / "kubernetes.md").read_text()
    variables = dict(re.findall(r"^export (\w+)=(\S+)", page, re.MULTILINE))
    secret = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "secret.yaml").read_text())
    assert secret["metadata"]["name"] in variables.values()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:hidden"}):
        configured = _configured("kubernetes", pools["kubernetes"], _new_run(nightly))
    assert "hidden" in json.dumps(configured.job_manifest)  # Prefect's own way
    with _cluster() as (address, sent):
        asyncio.run(_create(pools["kubernetes"].name, configured, address))
    [job] = sent
    assert "hidden" not in json.dumps(job)
    [container] = job["spec"]["template"]["spec"]["containers"]
    reference = {"name": "quantum-session", "key": "PREFECT_API_AUTH_STRING"}
    assert {
        "name": "PREFECT_API_AUTH_STRING",
        "valueFrom": {"secretKeyRef": reference},
    } in container["env"]


@contextmanager
def _cluster() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Stand in for a cluster's API, which takes everything; give what it is sent."""
    sent: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append(json.loads(body))
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()
        thread.join()


async def _create(pool: str, configured: Any, address: str) -> None:
    """Let a worker create a Job, as it does for a flow run."""
    async with ApiClient(Configuration(host=address)) as client:
        await KubernetesWorker(pool)._create_job(configured, client)


def test_a_pool_may_name_another_cluster(pools: dict[str, WorkPool], nightly: UUID) -> None:
    """What the worker connects to is the block's cluster, as with Prefect's own template."""
    template = pools["kubernetes"].base_job_template
    standard = KubernetesWorker.get_default_base_job_template()
    assert set(standard["job_configuration"]) <= set(template["job_configuration"])
    assert set(standard["variables"]["properties"]) <= set(template["variables"]["properties"])
    run = _new_run(nightly)
    assert _configured("kubernetes", pools["kubernetes"], run).cluster_config is None
    run.job_variables = {"cluster_config": {"config": {"clusters": []}, "context_name": "lab"}}
    configured = _configured("kubernetes", pools["kubernetes"], run)
    assert configured.cluster_config.context_name == "lab"


def test_the_example_secret_has_the_keys_that_are_needed() -> None:
    """The Secret of the example is the one that pods take, and Docker takes the same variables."""
    secret = yaml.safe_load((DEPLOYMENTS / "kubernetes" / "secret.yaml").read_text())
    properties = _template("kubernetes")["variables"]["properties"]
    assert secret["metadata"]["name"] == properties["secret_name"]["default"]
    docker_env = _template("docker")["variables"]["properties"]["env"]["default"]
    assert {
        name: f"{{{{ ${name} }}}}" for name in secret["stringData"]
    }.items() <= docker_env.items()


def test_compose_asks_for_what_the_example_has() -> None:
    """The variables of compose.yaml are those of env.example, and its services run one image."""
    text = (DEPLOYMENTS / "compose.yaml").read_text()
    example = (DEPLOYMENTS / "env.example").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    content = yaml.safe_load(text)
    assert set(content["services"]) == {"postgres", "server", "deploy", "worker"}
    images = {one["image"] for name, one in content["services"].items() if name != "postgres"}
    for kind in ("docker", "kubernetes"):
        images.add(_template(kind)["variables"]["properties"]["image"]["default"])
    settings = tomllib.loads((DEPLOYMENTS.parent / "pyproject.toml").read_text())["tool"]
    without_git = settings["setuptools_scm"]["fallback_version"]
    assert images == {f"prefect-quantum-sessions:{without_git}"}
    grace = _template("kubernetes")["variables"]["properties"]["termination_grace_period_seconds"]
    worker, server = content["services"]["worker"], content["services"]["server"]
    assert worker["stop_grace_period"] == f"{grace['default']}s"
    assert all(
        "healthcheck" in content["services"][one] for one in ("postgres", "server", "worker")
    )
    closed = server["environment"]
    assert closed["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_API_AUTH_STRING:?")
    assert closed["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert "*" not in closed["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert "PREFECT_API_AUTH_STRING" in worker["environment"]


def test_a_bad_variable_is_refused_before_a_run_begins(
    pools: dict[str, WorkPool], nightly: UUID
) -> None:
    """The server checks the variables of a pool: a grace period is no word."""
    assert pools
    with (
        get_client(sync_client=True) as client,
        pytest.raises(PrefectHTTPStatusError, match="422"),
    ):
        client.create_flow_run_from_deployment(
            nightly, job_variables={"termination_grace_period_seconds": "long"}
        )


class Pods:
    """What runs the containers of Jobs: each a process with a disk of its own."""

    def __init__(self, directory: Path, secrets: Mapping[str, str]) -> None:
        self._directory = directory
        self._secrets = secrets
        self._pods: list[psutil.Popen] = []

    def start(self, job: Mapping[str, Any]) -> psutil.Popen:
        """Start the container of a Job; its /tmp is a new directory, and all that it may use."""
        [container] = job["spec"]["template"]["spec"]["containers"]
        disk = self._directory / f"pod-{len(self._pods)}"
        disk.mkdir()
        variables = {one["name"]: one["value"] for one in container["env"]}
        assert container["envFrom"] == [{"secretRef": {"name": "quantum-session"}}]
        environment = {**_image_variables(), **self._secrets, **variables}
        here = {name: str(value).replace("/tmp", str(disk)) for name, value in environment.items()}  # noqa: S108
        with (disk / "log").open("wb") as log:
            pod = psutil.Popen(
                container["args"],
                cwd=disk,
                env={"PATH": str(Path(sys.executable).parent), **here, "TMPDIR": str(disk)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pods.append(pod)
        return pod

    def kill(self, pod: psutil.Popen) -> None:
        """Kill all processes of a pod, as the loss of its node does."""
        processes = [pod, *(pod.children(recursive=True) if pod.is_running() else [])]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)

    def end(self) -> None:
        """Kill what is left."""
        for pod in self._pods:
            if pod.is_running():
                self.kill(pod)


def _image_variables() -> dict[str, str]:
    """Return the variables that the image's recipe sets."""
    [line] = re.findall(r"^ENV (.*)$", (DEPLOYMENTS / "Dockerfile").read_text(), re.MULTILINE)
    return dict(one.split("=", 1) for one in line.split())


@pytest.fixture
def pods(tmp_path: Path, platform_of_pods: Platform, postgres: Postgres) -> Iterator[Pods]:
    """Pods whose Secret names the platform, and a ledger in PostgreSQL."""
    secrets = {
        "QISKIT_IBM_TOKEN": platform_of_pods.info.token,
        "QISKIT_IBM_INSTANCE": platform_of_pods.info.instance,
        "QISKIT_IBM_URL": platform_of_pods.info.url,
        "SESSION_BLOCK_LEDGER_URL": postgres.new_store(),
    }
    running = Pods(tmp_path, secrets)
    yield running
    running.end()


def _job(pools: dict[str, WorkPool], run: FlowRun) -> dict[str, Any]:
    manifest: dict[str, Any] = _configured("kubernetes", pools["kubernetes"], run).job_manifest
    return manifest


def _sessions_of(platform: Platform, run: FlowRun) -> set[str]:
    jobs = platform.admin.jobs()
    return {job["session_id"] for job in jobs if tagged(job, str(run.id))}


@pytest.mark.nightly
def test_pods_go_on_where_a_lost_one_was(
    pools: dict[str, WorkPool], nightly: UUID, pods: Pods, platform_of_pods: Platform
) -> None:
    """A night's run whose pod is lost goes on in another, on an empty disk; the next one is new.

    The retry is the same experiment: one session, each job once, from the point that was drawn and
    that only the ledger knows. The next run shares nothing.
    """
    first = _new_run(nightly)
    lost = pods.start(_job(pools, first))
    jobs = platform_of_pods.jobs_named
    eventually(lambda: jobs(str(first.id)) >= 4, seconds=120, what="jobs are sent")
    pods.kill(lost)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(first.id, AwaitingRetry(), force=True)
    assert pods.start(_job(pools, first)).wait(120) == 0
    assert flow_run(first.id).state_name == "Completed"
    assert jobs(str(first.id)) == EVALUATIONS
    [session] = _sessions_of(platform_of_pods, first)

    second = _new_run(nightly)
    assert pods.start(_job(pools, second)).wait(120) == 0
    assert flow_run(second.id).state_name == "Completed"
    assert jobs(str(second.id)) == EVALUATIONS
    assert _sessions_of(platform_of_pods, second).isdisjoint({session})
    assert platform_of_pods.sessions() == 2


@pytest.mark.nightly
def test_an_evicted_pod_has_its_run_scheduled_once_more(
    pools: dict[str, WorkPool], nightly: UUID, pods: Pods, platform_of_pods: Platform
) -> None:
    """SIGTERM, as an eviction sends it, closes nothing, and the server is told at once."""
    run = _new_run(nightly)
    evicted = pods.start(_job(pools, run))
    jobs = platform_of_pods.jobs_named
    eventually(lambda: jobs(str(run.id)) >= 4, seconds=120, what="jobs are sent")
    evicted.send_signal(signal.SIGTERM)
    assert evicted.wait(30) == 0
    assert flow_run(run.id).state_name == "AwaitingRetry"
    [session] = _sessions_of(platform_of_pods, run)
    states = {one["id"]: one["state"] for one in platform_of_pods.admin.sessions()}
    assert states[session] != "closed"
    assert pods.start(_job(pools, run)).wait(120) == 0
    assert flow_run(run.id).state_name == "Completed"
    assert jobs(str(run.id)) == EVALUATIONS
    assert _sessions_of(platform_of_pods, run) == {session}


async def _as_kubernetes_reads_it(job: dict[str, Any]) -> Any:
    """Return what is left of a Job when all that Kubernetes' API does not know is left out."""
    async with ApiClient(Configuration()) as client:
        known = client.deserialize(SimpleNamespace(data=json.dumps(job)), "V1Job")
        return client.sanitize_for_serialization(known)


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
