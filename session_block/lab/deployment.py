"""Set up a Prefect server: Blocks, work pool, deployments and automations.

Whatever exists already is left as it is: a schedule that was switched on stays on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.errors import LabError
from session_block.lab.prefect_server import variables

BLOCK = "quantum-session"
"""The name of the Block that the deployments use."""

WORK_POOL = "quantum"
"""The name of the work pool that the deployments use."""

PoolType = Literal["process", "docker", "kubernetes"]
"""What the work pool's workers run flows in; there is a template for each."""

_BACKEND = "ibm_manila"
_DATA = files("session_block.deployments")


def deploy_all(kind: PoolType, directory: Path) -> list[str]:
    """Create work pool, deployments and automations, and return the deployments' names.

    Args:
        kind: What the work pool's workers run flows in.
        directory: Where to run ``prefect deploy``.

    Raises:
        LabError: The work pool is of another type, or Prefect could not deploy.

    Examples:
        >>> from pathlib import Path
        >>> deploy_all("process", Path())
        ['qaoa/max-cut-nightly', 'sweep/rabi-weekly', 'tidy/left-open-sessions', 'vqe/h2-nightly']
    """
    for block_type in (QuantumSession, IBMSessionCredentials, LocalPlatformCredentials):
        block_type.register_type_and_schema()
    _ensure_work_pool(kind)
    deployments = _ensure_deployments(directory)
    _ensure_automations()
    return deployments


def ensure_block() -> QuantumSession:
    """Return the deployments' Block; if there is none, save one for the local platform.

    Raises:
        InvalidInputError: The Block cannot be loaded.

    Examples:
        >>> ensure_block().backend_name
        'ibm_manila'
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_block_document_by_name(BLOCK, QuantumSession.get_block_type_slug())
        except ObjectNotFound:
            QuantumSession(
                credentials=LocalPlatformCredentials(), backend_name=_BACKEND, max_time="1h"
            ).save(BLOCK)
    return load_block(BLOCK)


def worker_is_online(name: str, since: datetime) -> bool:
    """Return whether a worker of the work pool has sent a heartbeat since a given time."""
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(WORK_POOL)
    heard = [one.last_heartbeat_time for one in workers if one.name == name]
    return any(moment is not None and moment >= since for moment in heard)


def reschedule(flow_run_ids: Iterable[str]) -> int:
    """Schedule again the flow runs whose process was ended, and return how many there are.

    Runs that have ended in another way since, are being cancelled or were deleted are left alone.
    """
    with get_client(sync_client=True) as client:
        return sum(_reschedule(client, UUID(flow_run_id)) for flow_run_id in flow_run_ids)


def _reschedule(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    try:
        state = client.read_flow_run(flow_run_id).state
    except ObjectNotFound:
        return False
    if state is None or not (state.is_running() or state.is_pending() or state.is_crashed()):
        return False
    client.set_flow_run_state(
        flow_run_id,
        AwaitingRetry(message="Its worker was stopped; it continues where it was."),
        force=True,
    )
    return True


def _ensure_work_pool(kind: PoolType) -> None:
    """Create the deployments' work pool, if there is none.

    Raises:
        LabError: There is one of another type.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(WORK_POOL).type
        except ObjectNotFound:
            template = json.loads((_DATA / "work-pools" / f"{kind}.json").read_text())
            client.create_work_pool(
                WorkPoolCreate(name=WORK_POOL, type=kind, base_job_template=template)
            )
            return
    if found != kind:
        raise LabError(
            f"The work pool {WORK_POOL!r} of the Prefect server is of the type {found!r}, not "
            f"{kind!r}. Use another Prefect server, or delete the pool there if nobody needs it."
        )


def _ensure_deployments(directory: Path) -> list[str]:
    """Deploy what is not deployed, and return the names of all deployments.

    Args:
        directory: Where to run ``prefect deploy``.

    Raises:
        LabError: Prefect could not deploy.
    """
    with as_file(_DATA / "prefect.yaml") as file:
        described = yaml.safe_load(file.read_text())["deployments"]
        names = {one["name"]: one["entrypoint"].rpartition(".")[2] for one in described}
        missing = sorted(set(names) - _deployed(names))
        if missing:
            _deploy(file, missing, directory)
    return sorted(f"{flow}/{name}" for name, flow in names.items())


def _ensure_automations() -> None:
    """Create the automations that are missing."""
    described: list[dict[str, Any]] = yaml.safe_load((_DATA / "automations.yaml").read_text())[
        "automations"
    ]
    with get_client(sync_client=True) as client:
        for one in described:
            if not client.read_automations_by_name(one["name"]):
                client.create_automation(AutomationCore.model_validate(one))


def _deployed(names: Iterable[str]) -> set[str]:
    only = DeploymentFilter(name=DeploymentFilterName(any_=list(names)))
    with get_client(sync_client=True) as client:
        return {one.name for one in client.read_deployments(deployment_filter=only)}


def _deploy(file: Path, names: list[str], directory: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file"]
    command += [str(file), *(part for name in names for part in ("--name", name))]
    done = subprocess.run(  # noqa: S603 - Prefect's own command
        command,
        cwd=directory,
        env={
            **os.environ,
            **variables(),
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode:
        raise LabError(f"Prefect could not deploy {', '.join(names)}: {done.stdout}{done.stderr}")
