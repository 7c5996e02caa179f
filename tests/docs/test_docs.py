"""The documentation builds strictly and offline, what it shows runs, and its tables are true."""

from __future__ import annotations

import ast
import difflib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from kubernetes_asyncio.client import V1Secret
from playwright.sync_api import expect, sync_playwright
from postgres import Postgres
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from snippets import ROOT, Snippet, check_command, commands, run, run_page, snippets
from support import Platform

import session_block
from session_block import errors
from session_block.crashpoints import CRASH_AT, CRASH_LOG
from session_block.local_platform import LocalPlatform, environment
from session_block.submissions import decisions

pytestmark = pytest.mark.rest

DOCS = ROOT / "docs"
OTHERS = ("benchmarks.md", "local-platform.md")  # theirs are other tests
CHROMIUM = shutil.which("chromium")
PAGES = {
    str(path.relative_to(DOCS)): path.read_text()
    for path in sorted(DOCS.rglob("*.md"))
    if path.name not in OTHERS
}
RUN = [name for name, page in PAGES.items() if snippets(page, "python") or snippets(page, "bash")]
BY_THEMSELVES = ("how-to/move-a-script.md", "how-to/postgresql.md", "how-to/recover.md")
LONG = (
    "tutorial.md",
    "how-to/kubernetes.md",
    "how-to/mitigate.md",
    "how-to/own-algorithm.md",
    "how-to/subflows.md",
    "how-to/test.md",
    "explanation/crash-points.md",
)

_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "srcset"}
_NOT_LOADED = ("canonical", "next", "prev")


class _Loaded(HTMLParser):
    """Collects the addresses that a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_LOADED.get(tag, ""))
        if address and given.get("rel") not in _NOT_LOADED:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as ``make docs`` builds it."""
    directory = tmp_path_factory.mktemp("site")
    run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)], ROOT)
    return directory


def _words(site: Path, page: str) -> str:
    """Return what a page of the site says, without its markup."""
    return unescape(re.sub(r"<[^>]+>", "", (site / page).read_text()))


def _reader(platform: Platform, home: Path) -> dict[str, str]:
    """The environment of a reader who has a Prefect home and a local platform of their own."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PREFECT_HOME": str(home),
        "SESSION_BLOCK_PLATFORM_DIR": str(platform.info.state_dir),
    }


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """The site is whole: scripts, styles, fonts and pictures are in it."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = _Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        outside = [one for one in loaded.addresses if re.match(r"(https?:)?//", one)]
        assert not outside, f"{page.relative_to(site)} loads {outside}"
        for address in loaded.addresses:
            target = page.parent / address.partition("#")[0].partition("?")[0]
            assert address.startswith("data:") or page.name == "404.html" or target.exists()
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text())


@pytest.mark.skipif(CHROMIUM is None, reason="No Chromium: `make browser` installs it.")
def test_the_search_works_from_disk(site: Path) -> None:
    """Opened without a server, where a browser fetches no index and starts no worker."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "how-to/budget.html").as_uri())
        page.get_by_role("textbox", name="Search").press_sequentially("orphan")
        found = page.locator(".md-search-result__item > a").first
        expect(found).to_be_visible(timeout=60_000)
        assert Path(str(found.get_attribute("href")).removeprefix("file://")).is_relative_to(site)
        browser.close()
    assert [one for one in asked if not one.startswith(("file:", "data:"))] == []


def _own_words() -> list[str]:
    """Return the words that the glossary explains."""
    glossary = PAGES["index.md"].partition("## Words")[2].partition("\n## ")[0]
    return re.findall(r"^\| ([^|]+) \|", glossary, re.MULTILINE)[2:]


def test_few_words_are_our_own() -> None:
    """At most seven; all others are IBM's and Prefect's."""
    words = _own_words()
    assert {"experiment", "ledger", "twin"} <= set(words)
    assert len(words) <= 7


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_word_of_our_own_leads_to_the_glossary(page: str) -> None:
    """Where a reader meets it first, code aside."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / page).read_text(), flags=re.DOTALL)
    used = 0
    for word in _own_words():
        if first := re.search(rf"\[?\b{word}s?\b(\]\(\S*index\.md#words\))?", prose, re.IGNORECASE):
            assert first[1], f"{page}: {prose[first.start() - 40 : first.end() + 20]!r}"
            used += 1
    assert used >= 2


def test_the_python_of_every_page_runs_somewhere() -> None:
    """Here, by its parametrised test or one by itself, or with the README."""
    elsewhere = {name for name in OTHERS if snippets((DOCS / name).read_text(), "python")}
    assert elsewhere == {"local-platform.md"}
    assert set(BY_THEMSELVES) <= set(RUN)
    assert {"how-to/flows-and-tasks.md", "how-to/sessions.md"} <= set(RUN)


def test_the_decision_table_is_the_codes_own(site: Path) -> None:
    """Each row of the table is on the page, and those of the policy ``hold``."""
    said = _words(site, "explanation/decisions.html")
    rows = [(*pair, action) for pair, action in decisions.TABLE.items()]
    held = (decisions.Situation.INTENT_ORPHANED, decisions.Answer.NO_JOB, decisions.Action.HOLD)
    for row in [*rows, held]:
        assert re.search(r"\s+".join(map(re.escape, row)), said), row


def test_the_reference_has_all_that_is_public(site: Path) -> None:
    """Every public name is on a page of the reference, with what its docstring says."""
    pages = [_words(site, f"reference/{path.stem}.html") for path in DOCS.glob("reference/*.md")]
    said = re.sub(r"\s+", " ", " ".join(pages))
    for name in session_block.__all__:
        documented = inspect.getdoc(getattr(session_block, name))
        assert documented
        first = re.sub(r"`", "", documented.partition("\n")[0])
        assert name in said
        assert first in said, f"{name}: {first}"
    assert "session-block platform advance" in said


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.nightly] if name in LONG else [])
        for name in RUN
        if name not in BY_THEMSELVES
    ],
)
def test_what_a_page_shows_runs(
    name: str,
    prefect_server: str,
    platform: Platform,
    tmp_path: Path,
) -> None:
    """A page's files, Python and commands work in the order in which they are shown."""
    reader = {**_reader(platform, tmp_path / "home"), "PREFECT_API_URL": prefect_server}
    before = platform.stats()["jobs"]["total"]
    printed = run_page(PAGES[name], tmp_path, reader)
    jobs = platform.stats()["jobs"]["total"] - before
    if name == "tutorial.md":
        assert "9 evaluations are recorded already" in printed
        assert platform.jobs_named("chain-of-three") == 20
    if name == "how-to/subflows.md":  # two VQEs, and five more flows
        assert jobs == 2 * 10 + 3 + 2 + 1 + 3
        assert printed.count("alike: True") == 2
        assert "'my-chain' is about another problem: field differs." in printed


def test_the_page_about_postgresql_runs(
    postgres: Postgres, platform: Platform, tmp_path: Path
) -> None:
    """Its Block keeps its ledger in a PostgreSQL, and never shows the password."""
    url = postgres.new_store()
    reader = {**_reader(platform, tmp_path), "LAB_LEDGER_URL": url}
    printed = run_page(PAGES["how-to/postgresql.md"], tmp_path, reader)
    assert "postgresql" in printed
    assert platform.jobs_named("on-postgresql") == 1


@pytest.mark.nightly
def test_a_script_moves_over_in_six_changed_lines(tmp_path: Path) -> None:
    """Both print the same; the new one, killed, goes on in its session with no job twice."""
    before, after = snippets(PAGES["how-to/move-a-script.md"], "python")
    changes = [
        line[0]
        for line in difflib.ndiff(before.text.splitlines(), after.text.splitlines())
        if line[0] in "+-"
    ]
    assert 0 < max(changes.count("-"), changes.count("+")) <= 6
    new = [
        line[2:]
        for line in difflib.ndiff(before.text.splitlines(), after.text.splitlines())
        if line[0] == "+"
    ]
    for script in (before, after):
        assert script.title is not None
        (tmp_path / script.title).write_text(script.text)
    with LocalPlatform(interactive_seconds=1) as platform:
        reader = {**os.environ, "PREFECT_HOME": str(tmp_path), **environment(platform.info)}
        bare = run([sys.executable, "before.py"], tmp_path, reader)
        jobs = platform.stats()["jobs"]["total"]
        assert jobs > 10
        killed = subprocess.run(
            [sys.executable, "after.py"],
            cwd=tmp_path,
            env={**reader, CRASH_AT: "record outcome, after:4"},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert run([sys.executable, "after.py"], tmp_path, reader) == bare
        stats = platform.stats()
        assert stats["jobs"]["total"] == 2 * jobs
        assert sorted(stats["jobs"]["by_session"].values()) == [jobs, jobs]
    lit = _lit_lines(PAGES["how-to/move-a-script.md"], after)
    assert lit == new


def _lit_lines(page: str, snippet: Snippet) -> list[str]:
    """Return the lines of a snippet that its page emphasises."""
    found = re.search(rf'title="{snippet.title}" hl_lines="([\d ]+)"', page)
    assert found is not None
    return [snippet.text.splitlines()[int(number) - 1] for number in found[1].split()]


def test_every_command_exists() -> None:
    """What the pages tell to type of our programs and of Prefect's takes its arguments."""
    told = [words for page in PAGES.values() for words in commands(page)]
    assert len(told) > 30
    for words in told:
        check_command(words)


def test_every_yaml_snippet_is_what_it_says() -> None:
    """Manifests are Kubernetes' own; deployments name what there is, and schedules are valid."""
    found = [one for page in PAGES.values() for one in snippets(page, "yaml")]
    assert {one.title for one in found} == {"prefect.yaml", "secret.yaml"}
    example = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    keys = {key for one in example["deployments"] for key in one}
    for snippet in found:
        content = yaml.safe_load(snippet.text)
        if snippet.title == "secret.yaml":
            assert content == yaml.safe_load(
                (ROOT / "deployments/kubernetes/secret.yaml").read_text()
            )
            V1Secret(
                **{
                    re.sub("(?<=[a-z])[A-Z]", lambda m: f"_{m[0].lower()}", key): value
                    for key, value in content.items()
                }
            )
            continue
        for deployment in content["deployments"]:
            assert set(deployment) <= keys
            if limit := deployment.get("concurrency_limit"):
                ConcurrencyLimitConfig(**limit)
            for schedule in deployment["schedules"]:
                CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


def test_recovering_passes_the_crash_points_that_are_told(
    site: Path, platform: Platform, tmp_path: Path
) -> None:
    """The page about recovery runs; every point that it passes is on the page of crash points."""
    log = tmp_path / "points"
    reader = {**_reader(platform, tmp_path / "home"), CRASH_LOG: str(log)}
    assert "2 results, 1 session" in run_page(PAGES["how-to/recover.md"], tmp_path, reader)
    passed = set(log.read_text().splitlines())
    assert len(passed) > 30
    page = (site / "explanation/crash-points.html").read_text()
    told = set(re.findall("<code>([^<]+)</code>", page))
    for point in passed:
        kind = re.fullmatch(r"record ([\w-]+), (?:before|after)", point)
        assert (kind[1] if kind else point) in told


def _messages() -> Iterator[tuple[str, str]]:
    """Yield each error's class and message in the code, with … in the place of what differs."""
    for path in (ROOT / "session_block").rglob("*.py"):
        if "local_platform" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[first, *_]) if hasattr(errors, name):
                    yield name, _template(first)


def _template(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_template(part) for part in parts)
        case _:
            return "…"


def _headings() -> dict[str, list[str]]:
    """Return the message beginnings that the page about troubleshooting has for each class."""
    lines = [line for line in PAGES["troubleshooting.md"].splitlines() if line.startswith("##")]
    found: dict[str, list[str]] = {}
    for level, group in groupby(lines, key=lambda line: line.partition(" ")[0]):
        titles = [line.partition(" ")[2] for line in group]
        if level == "##":
            found.update({title: [] for title in titles})
        else:
            found[next(reversed(found))] = titles
    return found


def test_troubleshooting_knows_every_error(site: Path) -> None:
    """Every class has a section, every message a heading; those of wrong input may be in a list."""
    headings = _headings()
    classes = {
        name
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.SessionBlockError)
    }
    assert classes == set(headings) - {"Without an error"}
    said = _words(site, "troubleshooting.html")
    for name, message in _messages():
        if name == "InvalidInputError":
            assert message in said, message
            continue
        if message.startswith("… ") or len(re.findall(r"\w+", message)) < 2:
            continue
        known = headings[name]
        assert any(message.startswith(one) for one in known), f"{name}: {message}"


def test_troubleshooting_tells_of_nothing_that_is_not_there() -> None:
    """Every heading is the beginning of a message in the code."""
    texts = {
        _template(node)
        for path in (ROOT / "session_block").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr | ast.Constant)
    }
    for name, known in _headings().items():
        for one in known:
            assert any(text.startswith(one) for text in texts), f"{name}: {one}"
