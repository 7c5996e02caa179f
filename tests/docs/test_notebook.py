"""Notebooks: blocking calls and async twins in cells, and cells that are interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from snippets import snippets
from support import Platform, tagged, wait_until

from session_block import LocalPlatformCredentials, QuantumSession

pytestmark = pytest.mark.rest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs/notebook.ipynb"
REPLY_SECONDS = 180

SETUP = """
from qiskit import QuantumCircuit
from session_block import QuantumSession

circuit = QuantumCircuit(1, 1)
circuit.measure(0, 0)
block = QuantumSession.load({block!r})
"""

SAVED = """
from session_block import LocalPlatformCredentials, QuantumSession

credentials = LocalPlatformCredentials(seed=3)
document = credentials.save("t-cell-account", overwrite=True)
assert document == LocalPlatformCredentials.load("t-cell-account")._block_document_id
QuantumSession(credentials=credentials, backend_name="ibm_manila").save(
    "t-cell-session", overwrite=True
)
assert QuantumSession.load("t-cell-session").backend_name == "ibm_manila"
assert (await QuantumSession.aload("t-cell-session")).backend_name == "ibm_manila"
"""

CELLS = {
    "blocking": """
with block.experiment("cell-blocking") as experiment:
    for number in range(3):
        experiment.run_sampler([circuit], shots=8 + number)
""",
    "async": """
async with await block.aexperiment("cell-async") as experiment:
    for number in range(3):
        await experiment.arun_sampler([circuit], shots=8 + number)
""",
}


def _kernels() -> KernelManager:
    """Return what starts kernels of this very Python, whatever kernels the machine knows."""
    return KernelManager(
        kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
    )


@pytest.fixture
def environment(prefect_server: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a kernel that knows nothing of this machine's user."""
    return {
        **os.environ,
        "PREFECT_API_URL": prefect_server,
        "PREFECT_HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "jupyter"),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def _kernel(environment: dict[str, str]) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = _kernels()
    manager.start_kernel(env=environment)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=REPLY_SECONDS)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def _run(client: BlockingKernelClient, cell: str) -> None:
    """Run a cell, which must succeed."""
    reply = client.execute_interactive(cell, timeout=REPLY_SECONDS, output_hook=lambda _: None)
    assert reply["content"]["status"] == "ok", reply["content"]


def test_the_notebook_runs(environment: dict[str, str], platform: Platform, tmp_path: Path) -> None:
    """The example runs as it is, in this environment's Python, and holds no outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source += "\nimport sys\nprint(sys.executable)"
    manager = _kernels()
    client = NotebookClient(notebook, km=manager, resources={"metadata": {"path": str(tmp_path)}})
    environment["SESSION_BLOCK_PLATFORM_DIR"] = str(platform.info.state_dir)
    client.execute(cleanup_kc=True, env=environment)
    manager.cleanup_resources()
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert said[0]["text"].strip() == sys.executable
    assert platform.jobs_named("notebook-blocking") == 1
    assert platform.jobs_named("notebook-async") == 3
    assert "estimator" in said[-1]["data"]["text/plain"]
    view = said[-2]["data"]["text/html"]
    assert "Experiment &#x27;notebook-async&#x27;: finished" in view
    assert "data:image/svg+xml" in view


def test_blocks_are_saved_and_loaded_in_cells(environment: dict[str, str]) -> None:
    """Without await; Prefect's own methods give coroutines there, and save nothing."""
    with _kernel(environment) as (_, client):
        _run(client, SAVED)
    credentials = LocalPlatformCredentials.load("t-cell-account")
    assert credentials.seed == 3
    assert QuantumSession.load("t-cell-session").credentials.seed == 3  # type: ignore[union-attr]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("page", "experiment"),
    [("README.md", "ising-pair"), ("docs/how-to/flows-and-tasks.md", "two-spins")],
)
def test_a_page_s_cells_run(
    environment: dict[str, str], platform: Platform, page: str, experiment: str
) -> None:
    """Pasted as they are, one after another."""
    environment["SESSION_BLOCK_PLATFORM_DIR"] = str(platform.info.state_dir)
    with _kernel(environment) as (_, client):
        for cell in snippets((ROOT / page).read_text(), "python"):
            _run(client, cell.text)
    assert platform.jobs_named(experiment) > 1


@pytest.mark.nightly
@pytest.mark.parametrize("form", CELLS)
def test_an_interrupted_cell_goes_on_when_it_is_run_again(
    environment: dict[str, str],
    slow_block: QuantumSession,
    slow_platform: Platform,
    form: str,
) -> None:
    """Interrupting closes and cancels nothing; the same session has each job once in the end."""
    slow_block.save(f"t-notebook-{form}", overwrite=True)
    name = f"cell-{form}"
    with _kernel(environment) as (manager, client):
        _run(client, SETUP.format(block=f"t-notebook-{form}"))
        asked = client.execute(CELLS[form])
        wait_until(
            lambda: slow_platform.jobs_named(name) == 2,
            seconds=REPLY_SECONDS,
            what="the second job is submitted",
        )
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=REPLY_SECONDS)
        assert reply["parent_header"]["msg_id"] == asked
        assert reply["content"]["ename"] in ("KeyboardInterrupt", "CancelledError")

        jobs = [job for job in slow_platform.admin.jobs() if tagged(job, name)]
        [session_id] = {job["session_id"] for job in jobs}
        states = {one["id"]: one["state"] for one in slow_platform.admin.sessions()}
        assert states[session_id] != "closed"
        assert "cancelled" not in {job["state"] for job in jobs}

        _run(client, CELLS[form])
    jobs = [job for job in slow_platform.admin.jobs() if tagged(job, name)]
    assert [job["state"] for job in jobs] == ["completed"] * 3
    assert {job["session_id"] for job in jobs} == {session_id}
