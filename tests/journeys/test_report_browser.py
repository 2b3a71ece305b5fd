"""The report in a real browser: it draws, stays inside its page, and asks nobody for anything."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from pluralign.audit.report import write_report
from report_sample import HOSTILE, sample_run

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium"
)

WIDTHS = (360, 719, 1440)
LONG = "people who live far from the capital and answered in the second wave"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open the report of a run; what the page complained of and asked for is in its lists."""
    pages = []

    def opened(run, *, width=1440, scheme="light"):
        path = write_report(run, tmp_path / "report.html")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.complaints, page.asked = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        page.at = path.as_uri()
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def quiet(page):
    assert page.complaints == []
    assert {url.split("#")[0] for url in page.asked} == {page.at}


def fits(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(node => {
            const apart = node.closest(".scroll, pre, svg, .skip, .unseen");
            if (apart || !node.checkVisibility()) return false;
            const box = node.getBoundingClientRect();
            return box.width && (box.right > innerWidth + 1 || box.left < -1);
        }).map(node => node.outerHTML.slice(0, 120))"""
    )
    assert beyond == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_drawn_and_the_layout_holds(open_page, width, scheme):
    page = open_page(sample_run(), width=width, scheme=scheme)
    fits(page)
    unfold(page)
    shown = page.evaluate(
        """() => [...document.querySelectorAll("figure")].map(figure =>
            [...figure.querySelectorAll(".drawing")].filter(d => d.getClientRects().length).map(d =>
                [d.getBoundingClientRect().height, d.querySelectorAll(".mark").length]))"""
    )
    assert len(shown) == 18
    for drawn in shown:
        ((height, marks),) = drawn
        assert height > 100
        assert marks > 3
    fits(page)
    quiet(page)


@pytest.mark.parametrize("width", [360, 1440])
def test_forty_groups_with_long_names_fit(open_page, width):
    page = open_page(sample_run({f"{i} {LONG}": 0.5 + i / 100 for i in range(40)}), width=width)
    unfold(page)
    fits(page)
    quiet(page)


@pytest.mark.parametrize("width", [360, 1440])
def test_text_stays_inside_its_drawing_and_apart(open_page, width):
    page = open_page(sample_run({f"group {i} {LONG}": 0.5 + i / 20 for i in range(6)}), width=width)
    unfold(page)
    faults = page.evaluate(
        """() => [...document.querySelectorAll(".drawing")].filter(d => d.getClientRects().length)
            .flatMap(drawing => {
                const frame = drawing.getBoundingClientRect();
                const texts = [...drawing.querySelectorAll("text")].filter(t => t.textContent)
                    .map(t => [t.textContent, t.getBoundingClientRect()]);
                const outside = ([, b]) => b.left < frame.left - 2 || b.right > frame.right + 2;
                const meet = (p, q) => p.left < q.right - 1 && q.left < p.right - 1
                    && p.top < q.bottom - 4 && q.top < p.bottom - 4;
                const clashes = texts.flatMap(([a, p], i) => texts.slice(i + 1)
                    .filter(([, q]) => meet(p, q)).map(([b]) => `${a} / ${b}`));
                return [...texts.filter(outside).map(([text]) => `outside: ${text}`), ...clashes];
            })"""
    )
    assert faults == []


def test_hostile_texts_are_shown_and_none_runs(open_page):
    groups = {text: 0.5 + place / 200 for place, text in enumerate(HOSTILE)}
    run = sample_run(groups, n_models=2)
    run["title"] = run["models"][0]["title"] = HOSTILE[2]
    run["provenance"]["command"] = HOSTILE[0]
    template = run["data_audit"]["findings"][1]
    run["data_audit"]["findings"] = [
        {**template, "title": text, "what": text, "ids": [text], "data": {"examples": [text]}}
        for text in HOSTILE
    ]
    for width in (360, 1440):
        page = open_page(run, width=width)
        assert page.get_by_text("These are texts from the data").first.is_hidden()
        unfold(page)
        page.keyboard.press("Tab")
        page.locator(".plot").first.focus()
        for _ in range(2 * len(HOSTILE)):
            page.keyboard.press("ArrowDown")
        assert page.evaluate("window.hacked === undefined")
        assert page.locator("h1").inner_text() == HOSTILE[2]
        assert page.locator("script").count() == 1
        assert (
            page.evaluate("document.querySelectorAll('img, iframe, object, embed, a b').length")
            == 0
        )
        fits(page)
        quiet(page)


def test_the_policy_stops_a_script_that_got_in(open_page, tmp_path):
    page = open_page(sample_run())
    path = tmp_path / "report.html"
    text = path.read_text(encoding="utf-8")
    broken = text.replace("</main>", "<script>window.hacked=1</script></main>")
    path.write_text(broken, encoding="utf-8")
    page.reload()
    assert page.evaluate("window.hacked === undefined")
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_arrow_keys_read_the_values(open_page):
    page = open_page(sample_run())
    plot, tip = page.locator("#groups-figure .plot"), page.locator("#tip")
    plot.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_text()
    assert "north" in first
    assert "412 pairs" in first
    page.keyboard.press("End")
    assert "all pairs" in tip.inner_text()
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    plot.locator(".wide .mark").nth(2).hover()
    assert "rDPO" in tip.inner_text()
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_tips_stay_inside_a_phone(open_page):
    page = open_page(sample_run({LONG * 3: 0.6, "b": 0.7}), width=360)
    page.locator("#curves-figure .plot").focus()
    for key in ("ArrowRight", "End"):
        page.keyboard.press(key)
        box = page.locator("#tip").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["y"] >= 0


def test_a_figure_is_saved_as_a_drawing_that_stands_alone(open_page):
    page = open_page(sample_run(), scheme="dark", width=360)
    with page.expect_download() as caught:
        page.locator("#groups-figure [data-save=svg]").click()
    assert caught.value.suggested_filename == "groups-figure.svg"
    text = Path(caught.value.path()).read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)
    assert tree.get("width") == "840"
    assert "var(" not in text
    assert "#0069a8" in text
    titles = [node.text for node in tree.iter() if node.tag.endswith("title")]
    assert len(titles) == 1 + 15
    assert all(titles)
    quiet(page)


def test_data_are_saved_exactly_and_safe_for_spreadsheets(open_page):
    run = sample_run({"=1+1": 0.6, 'a "quoted", name': 0.8})
    page = open_page(run)
    with page.expect_download() as caught:
        page.locator("#groups-figure [data-save=csv]").click()
    text = Path(caught.value.path()).read_text(encoding="utf-8-sig")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["model", "measure", "group", "pairs", "value", "low", "high"]
    frame = run["models"][0]["frames"]["ranking_accuracy"]
    expected = {group["name"]: group for group in frame["groups"]}
    first = [row for row in rows if row[:2] == ["start", "Ranking accuracy"]]
    assert [row[2] for row in first] == ["'=1+1", 'a "quoted", name', "all pairs"]
    for row in first[:2]:
        group = expected[row[2].removeprefix("'")]
        assert [float(v) for v in row[3:]] == [group[k] for k in ("n", "value", "low", "high")]


def test_every_figure_can_be_saved_with_its_data(open_page):
    page = open_page(sample_run())
    # A browser asks before it lets one page save many files: keep what would be saved.
    page.evaluate(
        """() => {
            window.saved = [];
            URL.createObjectURL = blob => { window.saved.push(blob.text()); return "#"; };
            HTMLAnchorElement.prototype.click = () => {};
            document.querySelectorAll("[data-save]").forEach(button => button.click());
        }"""
    )
    saved = page.evaluate("Promise.all(window.saved)")
    assert len(saved) == 2 * 18
    for drawing, data in zip(saved[::2], saved[1::2], strict=True):
        assert ElementTree.fromstring(drawing).get("width") == "840"
        assert "var(" not in drawing
        rows = list(csv.reader(io.StringIO(data.removeprefix("\ufeff"))))
        assert len(rows) > 2
        assert len(set(map(len, rows))) == 1
    quiet(page)


def test_cards_open_by_keyboard_and_show_texts_only_then(open_page):
    page = open_page(sample_run(), width=360)
    text = page.locator(".texts li").first
    assert text.is_hidden()
    summary = page.locator(".card summary", has_text="from the data").first
    summary.focus()
    page.keyboard.press("Enter")
    assert text.is_visible()
    assert "<|im_end|>" in text.inner_text()
    fits(page)
    quiet(page)


def test_folded_figures_open_and_their_values_can_be_read(open_page):
    page = open_page(sample_run())
    page.locator("summary", has_text="Margins by group").click()
    plot = page.locator("#margin-groups-figure .plot")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert "middle half" in page.locator("#tip").inner_text()
    quiet(page)


def test_it_prints_in_light_colours_with_wide_figures(open_page):
    page = open_page(sample_run(), scheme="dark", width=360)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.set_viewport_size({"width": 660, "height": 900})
    assert page.locator("#groups-figure .wide").is_visible()
    assert page.locator("#groups-figure .narrow").is_hidden()
    assert page.locator(".save").first.is_hidden()
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark"), (1440, "light")])
def test_axe_finds_no_serious_violation(open_page, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python", reason="pip install axe-playwright-python for the scan"
    )
    run = sample_run()
    run["models"][1]["distributions"]["drift"].update(alarm=True, alarmed=["north"])
    page = open_page(run, width=width, scheme=scheme)
    unfold(page)
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    told = [(v["id"], v["impact"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found]
    assert [v for v in told if v[1] in ("serious", "critical")] == []
    assert told == []
