"""The pages of a decision and of drivers in a real browser: they draw, fit, and run nothing."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from page_faults import FAULTS
from pluralign.audit.disagreement import disagreement
from pluralign.audit.report import write_decision_report, write_drivers_report
from pluralign.decide import PackageProblem, bootstrap, compare
from pluralign.decide.record import decision_record
from pluralign.learn.drivers import ChoiceDrivers, driver_report
from report_sample import HOSTILE

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium"
)


def decision(names, items):
    """A decision with everything that its page can show."""
    draw, groups = np.random.default_rng(0), len(names)
    members = np.repeat(np.eye(groups, dtype=int), 6, axis=0)
    worth = draw.random((groups, items))
    ratings = members @ worth + 0.1 * draw.random((len(members), items))
    values = members.T @ ratings / 6
    problem = PackageProblem(
        values,
        draw.integers(1, 5, items),
        2.0 * items,
        groups=names,
        items=tuple(f"measure {j} in {names[0]}" for j in range(items)),
        members=members,
    )
    made = decision_record(
        problem,
        compare(problem),
        chosen="negotiate",
        title=names[0],
        resampled=bootstrap(problem, ratings, "leximin", n=20),
    )
    apart = disagreement(
        values[:, :, None], groups=names, criteria=("all",), n_permutations=99
    ).to_json()
    return json.loads(json.dumps({**made, "disagreement": apart}, allow_nan=False))


def choice(labels, columns):
    """A report of drivers on rows whose class follows two of the columns."""
    draw = np.random.default_rng(0)
    table = draw.normal(size=(150, columns))
    scores = table[:, [0]] * np.linspace(-1, 1, len(labels)) + draw.gumbel(size=(150, len(labels)))
    y = np.array(labels)[scores.argmax(1)]
    X = {f"{labels[0]} at {j} o'clock": table[:, j] for j in range(columns)}
    told = driver_report(
        ChoiceDrivers(rule="min"), X, y, n_subsamples=10, groups={"first": [next(iter(X))]}
    )
    return json.loads(json.dumps({**told.to_json(), "title": labels[0]}, allow_nan=False))


DECISION = decision(("seniors who walk", "parents", "people in wheelchairs"), 6)
DRIVERS = choice(("below a third of a per cent", "between", "above"), 6)
PAGES = {"decision": (write_decision_report, DECISION), "drivers": (write_drivers_report, DRIVERS)}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, tmp_path):
    pages = []

    def opened(write, record, *, width=1200, scheme="light"):
        path = write(record, tmp_path / "report.html")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.complaints, page.asked = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1440, "light")])
@pytest.mark.parametrize(("name", "figures"), [("decision", 3), ("drivers", 4)])
def test_it_fits_and_no_text_lies_on_another(open_page, name, figures, width, scheme):
    page = open_page(*PAGES[name], width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure").count() == figures
    assert page.evaluate(FAULTS) == []
    assert page.complaints == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


def test_the_decision_page_says_what_was_decided_and_why(open_page):
    page = open_page(*PAGES["decision"])
    own = next(one for one in DECISION["decisions"] if one["concept"] == "negotiate")
    shown = page.locator("main").inner_text().replace("\u2068", "").replace("\u2069", "")
    for row in DECISION["explanation"]["items"]:
        assert row["reason"] in shown
    for item in own["choice"][:4]:
        assert item in page.locator("#headline").inner_text()
    assert page.locator("#trace .card").count() == len({e["round"] for e in own["trace"]})
    for text in ("What more money would buy", "How often each item is chosen"):
        assert text in shown
    tip = page.locator("#tip")
    page.locator("#raters-figure .plot").focus()
    page.keyboard.press("ArrowRight")
    assert "seniors who walk" in tip.inner_text()


def test_the_drivers_page_shows_each_selected_column_with_its_frequency(open_page):
    page = open_page(*PAGES["drivers"])
    rows = page.locator("#effects-figure table tbody tr")
    assert rows.count() == len(DRIVERS["drivers"])
    for place, one in enumerate(DRIVERS["drivers"]):
        cells = rows.nth(place).locator("td")
        assert cells.nth(1).inner_text() == one["column"]
        assert float(cells.nth(2).get_attribute("data-raw")) == one["contrast"]
        assert float(cells.nth(7).get_attribute("data-raw")) == one["frequency"]
    stable = sum(one["frequency"] >= DRIVERS["stable"] for one in DRIVERS["drivers"])
    full = page.locator("#effects-figure .wide .mark .dot:not(.hollow)")
    assert full.count() == stable
    page.locator("#strength-figure .plot").focus()
    page.keyboard.press("ArrowRight")
    assert "deviance" in page.locator("#tip").inner_text()


@pytest.mark.parametrize("name", PAGES)
def test_hostile_names_are_shown_and_none_runs(open_page, name):
    names = tuple(HOSTILE)[:3]
    made = decision(names, 4) if name == "decision" else choice(names, 3)
    page = open_page(PAGES[name][0], made, width=360)
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("h1").inner_text() == names[0]
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_axe_finds_nothing(open_page, name, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python", reason="pip install axe-playwright-python for the scan"
    )
    page = open_page(*PAGES[name], width=width, scheme=scheme)
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found] == []
