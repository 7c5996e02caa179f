from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError, RuntimeJobNotFound
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block import local_platform

from .support import bell, isa, stats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

    from session_block.local_platform import PlatformInfo


def tagged(mode: object, *tags: str) -> Sampler:
    """Return a sampler whose jobs bear these tags."""
    return Sampler(mode, options={"environment": {"job_tags": list(tags)}})


def test_list_filters_and_pages(service: QiskitRuntimeService, backend: IBMBackend) -> None:
    """Jobs are found by all their tags, session, program, state and time, and paged through."""
    circuit, tag = isa(bell(), backend), uuid4().hex
    session = Session(backend)
    jobs = [tagged(session, tag, f"n{n}").run([circuit]) for n in range(3)]
    jobs.append(tagged(backend, tag, "outside").run([circuit]))
    for job in jobs:
        job.wait_for_final_state()
    ids = [job.job_id() for job in jobs]

    def found(**filters: object) -> list[str]:
        return [job.job_id() for job in service.jobs(limit=None, job_tags=[tag], **filters)]

    assert found() == ids[::-1]
    assert found(descending=False) == ids
    assert found(session_id=session.session_id) == ids[2::-1]
    assert found(pending=True) == []
    assert found(pending=False, program_id="executor", backend_name=backend.name) == ids[::-1]
    assert found(program_id="sampler") == []
    assert found(created_after=datetime.now() - timedelta(hours=1)) == ids[::-1]  # noqa: DTZ005
    assert found(created_before=datetime.now() - timedelta(hours=1)) == []  # noqa: DTZ005
    both = service.jobs(job_tags=[tag, "n1"])
    assert [job.job_id() for job in both] == [ids[1]]
    pages = [service.jobs(limit=1, skip=skip, job_tags=[tag]) for skip in range(5)]
    assert [job.job_id() for page in pages for job in page] == ids[::-1]


def test_a_job_comes_back_whole(service: QiskitRuntimeService, backend: IBMBackend) -> None:
    """A job looked up by its ID has its inputs, tags, session, metrics and result."""
    session = Session(backend)
    sent = tagged(session, "whole").run([isa(bell(), backend)])
    job = service.job(sent.job_id())
    assert job.result()[0].data.meas.num_shots == 4096
    assert job.session_id == session.session_id
    assert job.tags == ["whole"]
    assert job.inputs["quantum_program"].shots == 4096
    timestamps = job.metrics()["timestamps"]
    assert timestamps["created"] <= timestamps["running"] <= timestamps["finished"]
    assert job.metrics()["usage"]["status"] == "complete"
    assert job.usage() > 0
    assert job.logs() == ""


def test_tags_are_replaced(
    service: QiskitRuntimeService, backend: IBMBackend, platform: PlatformInfo
) -> None:
    """New tags take the place of the old ones, in the job, in searches and in the counts."""
    old, new = uuid4().hex, uuid4().hex
    job = tagged(backend, old).run([isa(bell(), backend)])
    assert job.update_tags([new]) == [new]
    assert service.jobs(job_tags=[old]) == []
    assert [found.job_id() for found in service.jobs(job_tags=[new])] == [job.job_id()]
    assert stats(platform)["jobs"]["by_tag"][new] == 1


@pytest.mark.parametrize("tags", [["x"] * 9, ["x" * 87], [""], [1], "x"])
def test_tags_have_limits(api: httpx.Client, tags: object) -> None:
    """More than 8 tags, or one of more than 86 characters, are refused."""
    body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}, "tags": tags}
    assert api.post("/jobs", json=body).status_code == 400


def test_cancel(tmp_path: Path, connect: Callable[..., QiskitRuntimeService]) -> None:
    """Queued and running jobs are cancelled at once; one that has ended cannot be."""
    info = local_platform.start(tmp_path, charges="simulated", job_seconds=300)
    try:
        service = connect(info)
        backend = service.backend("ibm_manila")
        jobs = [Sampler(backend).run([isa(bell(), backend)]) for _ in range(3)]
        for job in jobs[::-1]:
            job.cancel()
            assert service.job(job.job_id()).status() == "CANCELLED"
        with pytest.raises(RuntimeInvalidStateError):
            jobs[0].cancel()
    finally:
        local_platform.stop(tmp_path)


def test_delete(service: QiskitRuntimeService, backend: IBMBackend, platform: PlatformInfo) -> None:
    """A deleted job is gone for the client, yet it stays counted."""
    job = Sampler(backend).run([isa(bell(), backend)])
    job.result()
    before = stats(platform)["jobs"]["total"]
    service.delete_job(job.job_id())
    with pytest.raises(RuntimeJobNotFound):
        service.job(job.job_id())
    assert stats(platform)["jobs"]["total"] == before


def test_private(backend: IBMBackend) -> None:
    """A private job gives its result but never its parameters."""
    job = Sampler(backend, options={"environment": {"private": True}}).run([isa(bell(), backend)])
    assert job.result() is not None
    assert job.inputs == {}


def test_stats_count_every_request(platform: PlatformInfo, api: httpx.Client) -> None:
    """The server counts requests by route, refused ones too."""
    before = stats(platform)["requests"].get("GET /sessions/{session_id}", 0)
    assert api.get("/sessions/unknown").status_code == 404
    assert stats(platform)["requests"]["GET /sessions/{session_id}"] == before + 1


def test_the_answer_to_a_submission(api: httpx.Client) -> None:
    """It names the job and its backend, and of session and calibration what was asked for."""
    body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
    plain = api.post("/jobs", json=body).json()
    assert plain == {"id": plain["id"], "backend": "ibm_manila"}
    session_id = api.post("/sessions", json={"mode": "batch", "backend": "ibm_manila"}).json()["id"]
    calibration = api.get("/backends/ibm_manila/properties").json()["calibration_id"]
    asked = {"session_id": session_id, "calibration_id": calibration, "private": True}
    full = api.post("/jobs", json={**body, **asked}).json()
    assert full == {"id": full["id"], "backend": "ibm_manila", **asked}
    api.delete(f"/sessions/{session_id}/close")


def test_the_caller(backend: IBMBackend, api: httpx.Client) -> None:
    """A job's metrics have the name that the client gives itself; without one they have none."""
    job = Sampler(backend).run([isa(bell(), backend)])
    assert "qiskit" in job.metrics()["caller"]
    body = {"program_id": "sampler", "backend": "ibm_manila", "params": {"pubs": []}}
    mine = {"X-Qx-Client-Application": "qiskit/2.2/mine"}
    for headers, caller in ((mine, "qiskit/2.2/mine"), ({}, None)):
        job_id = api.post("/jobs", json=body, headers=headers).json()["id"]
        assert api.get(f"/jobs/{job_id}/metrics").json()["caller"] == caller
