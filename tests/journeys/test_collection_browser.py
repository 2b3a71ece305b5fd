"""The page of a collection in a real browser: it draws, fits, and hides nothing from anyone."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from page_faults import FAULTS
from pluralign.audit.report import write_collection_report
from pluralign.collect import AdaptiveSampler, Evaluation, SamplingPlan
from pluralign.collect.forecast import collection_record, forecast
from report_sample import HOSTILE

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium"
)


def record_of(names, rounds=3):
    """A collection by measured losses, with what its curves foretell."""
    plan = SamplingPlan(
        groups=names, cost=1.5, budget=900.0 * len(names), best=2.0, pilot=40, rounds=8
    )
    sampler, rng = AdaptiveSampler(plan), np.random.default_rng(0)
    for _ in range(rounds):
        purchase = sampler.ask()
        told = [
            Evaluation(g, n, 0.1 + (1 + names.index(g) / len(names)) * n**-0.4 + error, 0.01)
            for g, sizes in purchase.evaluate_at.items()
            for n in sizes
            for error in [rng.normal(0, 0.01)]
        ]
        sampler.tell(purchase, told)
    held = np.array(list(sampler.totals.values()), dtype=float)
    ahead = forecast(plan, sampler.curves(), held=held, budget=600.0, fits=sampler.fits())
    return {**collection_record(sampler), **ahead, "title": names[0]}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, tmp_path):
    pages = []

    def opened(record, *, width=1200, scheme="light"):
        path = write_collection_report(record, tmp_path / "report.html")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1200, "light")])
@pytest.mark.parametrize("groups", [1, 3, 30])
def test_it_fits_and_no_text_lies_on_another(open_page, groups, width, scheme):
    names = tuple(f"people of the {i}th district" for i in range(groups))
    page = open_page(record_of(names), width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure").count() == 4
    assert page.evaluate(FAULTS) == []
    assert page.complaints == []


def test_arrow_keys_read_the_rounds_and_the_curves(open_page):
    page = open_page(record_of(("north", "south")))
    tip = page.locator("#tip")
    page.locator("#rounds-figure .plot").focus()
    page.keyboard.press("ArrowRight")
    assert "pilot" in tip.inner_text()
    page.locator("#learning-figure .plot").focus()
    page.keyboard.press("ArrowRight")
    assert "by the curve" in tip.inner_text()


def test_hostile_names_are_shown_and_none_runs(open_page):
    page = open_page(record_of(tuple(HOSTILE)), width=360)
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("h1").inner_text() == HOSTILE[0]
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_axe_finds_nothing(open_page, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python", reason="pip install axe-playwright-python for the scan"
    )
    page = open_page(record_of(("north", "south", "west")), width=width, scheme=scheme)
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found] == []
