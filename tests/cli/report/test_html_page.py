"""The page in a real browser: its content, no requests, and no effect of hostile names."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from indigo_async.cli.report.history import build_history
from indigo_async.cli.report.html import render_page, write_page
from indigo_async.cli.report.statistics import compute_statistics
from indigo_async.workflows import Stage
from indigo_async.workflows.journal import Journal
from tests.support.journals import (
    hostile_journal,
    open_job_log,
    record_intent,
    record_outcome,
    record_progress,
    record_result,
)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
HOSTILE = [
    "</script><img src=https://evil.example/x onerror=document.title='owned'>",
    "../../x",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "<svg onload=document.title='owned'>",
    "<!--<script>",
    "\u2028'\"`${document.title='owned'}",
]

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@attrs.define
class RenderedPage:
    """A page in the browser, with its console messages and requests."""

    page: Page
    console_errors: list[str]
    requests: list[str]

    async def text(self, selector: str) -> str:
        return await self.page.locator(selector).inner_text()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base class's name


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    """The address of a loopback server for the test's folder."""
    handler = functools.partial(_QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def open_page(browser: Browser, address: str, **options: Any) -> RenderedPage:
    page = await browser.new_page(viewport=DESKTOP, **options)
    rendered_page = RenderedPage(page, [], [])
    page.on("console", lambda message: rendered_page.console_errors.append(message.text))
    page.on("pageerror", lambda error: rendered_page.console_errors.append(str(error)))
    page.on("request", lambda request: rendered_page.requests.append(request.url))
    await page.goto(address)
    await page.wait_for_function("document.getElementById('found').textContent !== ''")
    return rendered_page


async def write_report(journal: Path) -> str:
    """Write the page next to the journal and return its name."""
    return await asyncio.to_thread(_write_report, journal)


def _write_report(journal: Path) -> str:
    history = build_history(journal)
    write_page(
        journal.with_suffix(".html"), render_page(journal.name, history, compute_statistics(history, in_use=False))
    )
    return journal.with_suffix(".html").name


async def write_journal(path: Path) -> None:
    """Two runs of forty jobs: the first stopped with some failures, the second a day later."""
    timings = {"upload": 10.0, "match": 30.0, "lookalike": 40.0, "preview": 0.5, "purchase": 0.7, "download": 0.3}
    async with Journal.open(path) as journal:
        batch_log = await journal.batch_log()
        for number in range(40):
            job_log = await open_job_log(journal, f"customer-{number % 4}", f"List {number}")
            at = 90.0 + number
            if number % 8 == 3:
                error = {"type": "AudienceFailedError", "message": f"match: audience aud-{number} failed"}
                record_outcome(job_log, at, 45.0, timings={"upload": 10.0}, stage="match", error=error)
            else:
                await record_intent(job_log, Stage.PURCHASE, at - 2, export_id=f"e-{number}", cost_cents=1_000)
                await record_result(job_log, Stage.PURCHASE, at - 1, export_id=f"e-{number}", cost_cents=1_000)
                record_outcome(job_log, at, 81.5, timings=timings, match=[60 + number, 100], quoted_cents=1_000)
        requests = {"POST /upload_csv": 40, "GET /audiences": 12}
        setbacks = {"503": 3}
        record_progress(
            batch_log,
            0.0,
            140.0,
            ended=True,
            requests=requests,
            reads_saved=988,
            setbacks=setbacks,
            budget_cents=100_000,
        )
        retried = await open_job_log(journal, "customer-3", "List 3")
        record_outcome(retried, 86_500.0, 60.0, timings={"match": 60.0})
        record_progress(batch_log, 86_440.0, 86_510.0, ended=True, requests={"GET /audience": 2}, budget_cents=100_000)


@pytest.fixture
async def rendered_page(tmp_path: Path, browser: Browser, server_url: str) -> AsyncIterator[RenderedPage]:
    path = tmp_path / "run.sqlite"
    await write_journal(path)
    rendered_page = await open_page(browser, f"{server_url}/{await write_report(path)}")
    yield rendered_page
    await rendered_page.page.close()


async def test_the_page_shows_the_numbers_and_makes_no_requests(rendered_page: RenderedPage, server_url: str):
    assert rendered_page.console_errors == []
    assert rendered_page.requests == [f"{server_url}/run.html"]
    assert await rendered_page.page.title() == "run.sqlite: batch report"
    tiles = await rendered_page.text(".tiles")
    for text in ("36", "4", "$350.00", "of a budget of $1,000.00", "14 made, 988 saved"):
        assert text in tiles.replace("\N{NO-BREAK SPACE}", " ")
    assert "40 jobs for 4 customers" in await rendered_page.text("header")
    assert "2 runs" in await rendered_page.text("header")
    failures = await rendered_page.text("#failures")
    assert "AudienceFailedError at match" in " ".join(failures.split())
    assert "then run the batch again" in failures
    money = await rendered_page.page.locator(".money tbody tr").all_inner_texts()
    assert len(money) == 4
    assert "$100.00" in money[0]
    assert "3 x 503" in (await rendered_page.text("main")).replace("×", "x")  # noqa: RUF001 - the page's own sign
    assert "23 h 58 min pause" in (await rendered_page.page.locator("svg").first.text_content() or "")


async def test_every_job_is_drawn_and_can_be_found(rendered_page: RenderedPage):
    page = rendered_page.page
    assert await page.locator("#found").text_content() == "40 jobs"
    await page.fill("#find", "list 39")
    assert await page.locator("#found").text_content() == "1 job"
    await page.locator("#job-list summary").click()
    assert (await page.locator("#rows tr").all_inner_texts())[0].split("\t")[:3] == ["customer-3", "List 39", "done"]
    await page.fill("#find", "")
    await page.select_option("#state", "1")
    assert await page.locator("#found").text_content() == "4 jobs"
    assert "failed at match: AudienceFailedError" in await page.locator("#rows").inner_text()
    await page.select_option("#state", "")
    await page.locator("#lines").hover(position={"x": 100, "y": 5})
    assert "customer customer-" in await page.locator("#tip").inner_text()
    before = await page.evaluate("document.getElementById('lines').toDataURL()")
    await page.locator("#zoom-in").click()
    await page.wait_for_function("before => document.getElementById('lines').toDataURL() !== before", arg=before)
    await page.locator("#show-all").click()
    await page.wait_for_function("before => document.getElementById('lines').toDataURL() === before", arg=before)
    await page.locator("#lines").focus()
    await page.keyboard.press("+")
    await page.wait_for_function("before => document.getElementById('lines').toDataURL() !== before", arg=before)
    assert rendered_page.console_errors == []


async def test_hostile_names_are_shown_as_text(tmp_path: Path, browser: Browser, server_url: str):
    path = tmp_path / "run.sqlite"
    await hostile_journal(path, HOSTILE)
    rendered_page = await open_page(browser, f"{server_url}/{await write_report(path)}")
    await rendered_page.page.locator("#job-list summary").click()
    for number in range(len(HOSTILE)):
        await rendered_page.page.locator("#lines").hover(position={"x": 300, "y": 8 + number * 16})
    listed = [
        await row.locator("td").nth(1).text_content() for row in await rendered_page.page.locator("#rows tr").all()
    ]
    assert sorted(listed) == sorted(HOSTILE)
    assert await rendered_page.page.title() == "run.sqlite: batch report"
    assert await rendered_page.page.locator("img, svg[onload]").count() == 0
    assert rendered_page.requests == [f"{server_url}/run.html"]
    assert rendered_page.console_errors == []
    await rendered_page.page.close()


async def test_injected_code_does_not_run(rendered_page: RenderedPage):
    await rendered_page.page.evaluate(
        "() => { const code = document.createElement('script'); code.textContent = \"document.title = 'owned'\";"
        " document.body.append(code) }"
    )
    assert await rendered_page.page.title() == "run.sqlite: batch report"
    assert any("Content Security Policy" in complaint for complaint in rendered_page.console_errors)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_has_enough_contrast(tmp_path: Path, browser: Browser, server_url: str, scheme: str):
    path = tmp_path / "run.sqlite"
    await write_journal(path)
    rendered_page = await open_page(browser, f"{server_url}/{await write_report(path)}", color_scheme=scheme)
    contrasts = await rendered_page.page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const light = (name) => {
            const paint = document.createElement("canvas").getContext("2d");
            paint.fillStyle = style.getPropertyValue(name).trim(); paint.fillRect(0, 0, 1, 1);
            const parts = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
            const [r, g, b] = parts.map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const contrast = (one, other) => {
            const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
          };
          const pairs = [["--ink", "--card"], ["--muted", "--card"], ["--muted", "--ground"], ["--accent", "--card"],
            ["--bad", "--card"], ["--bad", "--bad-soft"], ["--good", "--ground"], ["--ink", "--bad-soft"]];
          return Object.fromEntries(pairs.map(([one, other]) => [`${one} on ${other}`, contrast(one, other)]));
        }"""
    )
    assert {pair: contrast for pair, contrast in contrasts.items() if contrast < 4.5} == {}
    await rendered_page.page.close()


CLIPPED = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const box = element.getBoundingClientRect(), visible = box.width > 0 && getComputedStyle(element).clipPath === "none";
  return visible && (box.right > innerWidth + 0.5 || box.left < -0.5) && !element.closest("details .scroll");
}).map((element) => `${element.tagName} ${element.className.baseVal ?? element.className}`)"""
"""Elements that reach over the edge of the window. Tables that open on request scroll in containers of their own."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone(tmp_path: Path, browser: Browser, server_url: str, scheme: str):
    path = tmp_path / "run.sqlite"
    await write_journal(path)
    page = (await open_page(browser, f"{server_url}/{await write_report(path)}", color_scheme=scheme)).page
    await page.set_viewport_size({"width": 390, "height": 800})
    for summary in await page.locator("summary").all():
        await summary.click()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await page.evaluate(CLIPPED) == []
    charts = await page.locator("svg[role=img]:visible").all()
    assert len(charts) == 3 + len(Stage)
    text_sizes = await page.evaluate(
        "() => [...document.querySelectorAll('svg .tick')].map((tick) => tick.getBoundingClientRect().height)"
        ".filter((height) => height > 0)"
    )
    assert min(text_sizes) > 9
    money = await page.locator(".money tbody tr").all_inner_texts()
    assert len(money) == 4
    assert "$100.00" in money[0]
    for cell in await page.locator(".money .price").all():
        box = await cell.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    await page.close()


async def test_the_page_can_be_printed(tmp_path: Path, browser: Browser, server_url: str):
    path = tmp_path / "run.sqlite"
    await write_journal(path)
    page = (await open_page(browser, f"{server_url}/{await write_report(path)}", color_scheme="dark")).page
    await page.set_viewport_size({"width": 700, "height": 900})
    await page.emulate_media(media="print")
    assert await page.evaluate(CLIPPED) == []
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert await page.locator(".money .price").first.is_visible()
    assert (await page.pdf(prefer_css_page_size=True)).startswith(b"%PDF-")
    await page.close()
