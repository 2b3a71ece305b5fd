"""The page of groups and domains in a real browser: it draws, fits, and hides nothing."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from groups_sample import densities, domains, drifts, groups_record, strengths
from page_faults import FAULTS
from pluralign.audit.report import write_groups_report
from report_sample import HOSTILE

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium"
)


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
        path = write_groups_report(record, tmp_path / "report.html")
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


LONG = [f"people of the {i}th district" for i in range(24)]
WORLDS = {
    "usual": groups_record(),
    "least": groups_record(
        strength=strengths(["ccdcov"]),
        densities=densities(1, ["plain"]),
        domains=domains(1),
        weight_drift=drifts(["one"]),
    ),
    "many": groups_record(
        strength=strengths([f"penalty {i} of many" for i in range(5)]),
        densities=densities(labels=LONG),
        domains=domains(names=LONG),
        weight_drift=drifts([f"a training with a long name, number {i}" for i in range(5)]),
    ),
}


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1200, "light")])
@pytest.mark.parametrize("world", WORLDS)
def test_it_fits_and_no_text_lies_on_another(open_page, world, width, scheme):
    page = open_page(WORLDS[world], width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure").count() == 4
    assert page.evaluate(FAULTS) == []
    assert page.complaints == []


def test_arrow_keys_read_the_values(open_page):
    page = open_page(WORLDS["usual"])
    tip = page.locator("#tip")
    for figure, said in [
        ("strength", "ccdcov, strength 0"),
        ("densities", "ccdcov, strength 20: mean"),
        ("domains", "domain 0 · domain 0"),
        ("travel", "after 1 updates"),
    ]:
        page.locator(f"#{figure}-figure .plot").focus()
        page.keyboard.press("Home")
        assert said in tip.inner_text()


def test_hostile_names_are_shown_and_none_runs(open_page):
    names = list(HOSTILE)
    record = groups_record(
        title=names[0],
        strength=strengths(names[:2]),
        densities=densities(names=names[:2], labels=names),
        domains=domains(names=names),
        weight_drift=drifts(names[:3]),
    )
    page = open_page(record, width=360)
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("h1").inner_text() == names[0]
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_axe_finds_nothing(open_page, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python", reason="pip install axe-playwright-python for the scan"
    )
    page = open_page(WORLDS["usual"], width=width, scheme=scheme)
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found] == []
