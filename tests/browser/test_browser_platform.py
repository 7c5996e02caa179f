"""The local platform's own page in a browser."""

from __future__ import annotations

from pages import aside
from playwright.sync_api import Page, expect
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.executor_sampler import Sampler

from session_block.local_platform import LocalPlatform


def test_the_page_knows_its_owner_until_the_server_ends(page: Page) -> None:
    """It opens with a key, which its tab alone keeps, and which no later server of the port takes.

    A page that is refused says what to do, and sends the old key no more.
    """
    with LocalPlatform() as platform:
        page.goto(platform.info.page)
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        page.reload()
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        assert page.url == f"{platform.info.origin}/"
        assert page.evaluate("localStorage.length") == 0
        first = platform.info
        platform.restart()
        assert platform.info.origin == first.origin
        expect(page.get_by_role("status")).to_contain_text("open it anew with 'session-block")
        assert page.evaluate("sessionStorage.length") == 0
        page.goto(platform.info.page)
        expect(page.get_by_text("ibm_fez")).to_be_visible()
        expect(page.get_by_role("status")).to_be_empty()


def _sampled(platform: LocalPlatform, tags: list[str]) -> tuple[str, str]:
    """Run a job in a session of its own; return their IDs."""
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    backend = platform.service().backend("ibm_manila")
    with Session(backend) as session:
        sampler = Sampler(session)
        sampler.options.environment.job_tags = tags
        job = sampler.run([circuit], shots=8)
        job.result()
        return str(session.session_id), str(job.job_id())


def test_a_session_opens_its_jobs_and_a_job_its_tags(page: Page) -> None:
    """Each job is one line; an address that names a job or a session shows that one alone."""
    many = ["team-red", "a-long-tag-" + "x" * 60, "another"]
    with LocalPlatform() as platform:
        (first, _), (second, job) = aside(
            lambda: [_sampled(platform, tags) for tags in (["team-blue"], many)]
        )
        page.goto(platform.info.page)
        sessions, jobs = (
            page.locator(f"[data-list={name}] tr[tabindex]") for name in ("sessions", "jobs")
        )
        expect(jobs).to_have_count(2)
        expect(jobs.filter(has_text="3 tags")).to_have_count(1)
        heights = {round(row.bounding_box()["height"]) for row in jobs.all()}  # type: ignore[index]
        assert len(heights) == 1

        sessions.filter(has_text=second).click()
        expect(jobs).to_have_count(1)
        expect(sessions).to_have_count(1)
        jobs.click()
        told = page.get_by_text("Tags: team-red, a-long-tag-")
        expect(told).to_be_visible()
        jobs.press("Enter")
        expect(told).to_have_count(0)

        box = page.get_by_role("searchbox")
        box.fill("TEAM-BLUE")
        expect(sessions).to_contain_text([first])
        expect(jobs).to_contain_text(["1 tag"])
        box.fill("nothing has this")
        expect(page.get_by_text("none has this text")).to_have_count(2)
        box.fill("")
        expect(jobs).to_have_count(2)

        page.goto(f"{platform.info.origin}/#{job}")
        expect(jobs).to_have_count(1)
        expect(jobs).to_contain_text([job])
        expect(told).to_be_visible()
        expect(sessions).to_contain_text([second])
