"""The page in a headless Chromium: figures are drawn, questions can be filtered, nothing is loaded or complained of.

Left out where no Chromium is installed (Debian: `apt-get install chromium`); `-m "not browser"` leaves it out anyway.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from litestage.report.page import write_report

pytestmark = pytest.mark.browser

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
EVIL = "</script><img src=x onerror=\"document.title = 'owned'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page and wait until it is drawn; at the end nothing may have been loaded or complained of."""
    contexts, heard = [], []

    def opened(path: Path, size: str = "desktop", scheme: str = "light") -> Any:
        phone = size == "phone"
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme, has_touch=phone, is_mobile=phone)
        contexts.append(context)
        context.set_default_timeout(100_000)
        page = context.new_page()
        page.on("console", lambda said: heard.append(said.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda asked: heard.append(asked.url) if asked.url[:5] in ("http:", "https") else None)
        page.goto(path.as_uri())
        page.wait_for_selector(f"body[data-drawn={scheme}]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert heard == []


def _color(page: Any, selector: str) -> str:
    return page.eval_on_selector(selector, "e => getComputedStyle(e).fill")


@pytest.mark.parametrize("size", SIZES)
def test_figures_have_points_in_light_and_dark(size: str, folder: Path, show: Callable[..., Any]) -> None:
    page = show(write_report(folder), size, "light")
    counts = page.eval_on_selector_all(
        "[data-chart]",
        "all => all.map(e => [e.dataset.chart, e.querySelectorAll('.points path, .points .point path').length])",
    )
    assert len(counts) == 8
    assert all(count > 0 for _, count in counts), counts
    assert page.locator("[data-chart=accuracy] .errorbar").count() == 5
    names = page.locator("[data-chart=accuracy] .legendtext").all_text_contents()
    assert names == [m["name"] for m in json.loads((folder / "results.json").read_text())["methods"]]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    widest = page.eval_on_selector_all(
        ".chart .main-svg", "all => all.map(e => e.clientWidth - e.parentNode.clientWidth)"
    )
    assert max(widest) <= 0
    light = _color(page, "[data-chart=accuracy] .xtitle")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("body[data-drawn=dark]")
    assert {light, _color(page, "[data-chart=accuracy] .xtitle")} == {"rgb(27, 33, 38)", "rgb(232, 234, 237)"}


def test_questions_are_filtered_opened_and_paged(
    folder: Path, write_questions: Callable[..., Path], show: Callable[..., Any]
) -> None:
    write_questions(folder, 50, text=EVIL)
    page = show(write_report(folder), "phone", "dark")
    items, count = page.locator("#list > li"), page.locator("#count")
    assert items.count() == 20
    assert count.text_content() == "50 of 50 questions match; this is 1 to 20."
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Next").click()
    assert items.count() == 10
    assert page.get_by_role("button", name="Next").is_disabled()
    page.get_by_label("answers differ").check()
    assert count.text_content() == "12 of 50 questions match."
    page.get_by_label("Filter by text").fill("(7)")
    assert items.count() == 1
    page.locator("#list summary").click()
    assert "plan: none ✗" in (page.locator(".chips").text_content() or "")
    assert page.locator("#list del").all_text_contents() == ["floats on water.", "B."]
    assert page.locator("#list ins").all_text_contents() == ["sinks.", "None."]
    assert "5 tokens, stopped early" in (page.locator("#list .texts").first.text_content() or "")
    page.get_by_label("answers differ").uncheck()
    page.get_by_label("Filter by text").fill("no such words")
    assert (items.count(), count.text_content()) == (0, "0 of 50 questions match.")
    page.get_by_label("Filter by text").fill("")
    page.get_by_label("Answers", exact=True).select_option("wrong: plan")
    assert count.text_content() == "12 of 50 questions match."
    page.get_by_label("Answers", exact=True).select_option("wrong: full depth")
    assert items.count() == 0
    assert "owned" not in page.title()
    assert page.locator("#list img").count() == 0
