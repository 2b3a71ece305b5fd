"""The studio in a real browser: it asks nobody but itself, turns at once, and ends cleanly."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from pluralign.collect import AdaptiveSampler, Evaluation, SamplingPlan
from pluralign.decide import PackageProblem, compare
from pluralign.decide.record import decision_record
from pluralign.study.steering import load_steering, run_steering
from pluralign.study.studio import ranked, read_candidates

pytest.importorskip("gradio", reason="gradio is not installed; pip install 'pluralign[studio]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the path; apt-get install chromium"
)

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from pluralign.cli.app import main; main()", "studio"]
TRIAL = {
    "name": "trial",
    "title": "A trial",
    "world": {"name": "fading", "kappa": 1.5, "prompts": 12, "batch": 12},
    "targets": {"angles": [-20, 45]},
    "audit": {"n_bootstrap": 100},
}
GROUPS = ("north", "south", "<b>islands</b>")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose prompts are given groups afterwards; a world has none."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "trial.yaml").write_text(yaml.safe_dump(TRIAL))
    recipe = load_steering(folder / "trial.yaml", [f"output_dir={folder / 'run'}"])
    run_steering(recipe, quiet=True)
    path = folder / "run" / "selections.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["group"] = GROUPS[row["prompt"] % 3]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    collect(folder / "run" / "collection.json")
    settle(folder / "run" / "decision.json")
    return folder / "run"


def collect(path):
    """The pilot of a collection, bought and measured by curves that are known."""
    plan = SamplingPlan(groups=("north", "south"), cost=1, budget=400, pilot=40, rounds=4)
    sampler = AdaptiveSampler(plan, path=path)
    purchase = sampler.ask()
    loss = {"north": lambda n: 0.1 + n**-0.5, "south": lambda n: 0.1 + 2 * n**-0.5}
    sizes = [(group, n) for group, each in purchase.evaluate_at.items() for n in each]
    sampler.tell(purchase, [Evaluation(group, n, loss[group](n)) for group, n in sizes])


def settle(path):
    """A decision between two groups whose wishes need different money."""
    problem = PackageProblem(
        [[3, 0, 1], [0, 2, 1]],
        cost=[2, 2, 1],
        budget=3,
        groups=("old", "young"),
        items=("ramp", "trees", "lights"),
    )
    record = decision_record(problem, compare(problem), chosen="utilitarian")
    path.write_text(json.dumps(record))


class Studio:
    """The command as a person starts it; ``address`` once it has said one."""

    def __init__(self, run_dir: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*COMMAND, str(run_dir)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.said = self.lines.get(timeout=100)
        self.address = next(word for word in self.said.split() if word.startswith("http"))

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def end(self, kind: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(kind)
        code = self.process.wait(timeout=30)
        rest = ""
        while line := self.lines.get(timeout=10):
            rest += line
        self.process.stdout.close()
        return code, rest


@pytest.fixture(scope="module")
def studio(run):
    started = Studio(run)
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def page(studio, browser):
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.asked, opened.complaints = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.goto(studio.address)
    opened.wait_for_selector("#candidates li", timeout=30_000)
    yield opened
    opened.close()


def places(page):
    return page.eval_on_selector_all(
        "#candidates li", "items => items.map(item => Number(item.dataset.place))"
    )


def turn(page, angle):
    page.fill("#angle input[type=number]", str(angle))
    page.keyboard.press("Enter")


def expected(run, prompt, angle):
    from pluralign.steer.sphere import at_angle

    order = ranked(read_candidates(run / "selections.jsonl").asked[prompt], at_angle(angle))
    return [one.place for one in order][:10]


def until(page, run, prompt, angle):
    """Wait for the order of this direction; fail with what is shown instead."""
    wanted, give_up = expected(run, prompt, angle), time.monotonic() + 20
    while places(page) != wanted and time.monotonic() < give_up:
        page.wait_for_timeout(50)
    assert places(page) == wanted


def test_turning_the_direction_reorders_the_candidates(page, run):
    turn(page, 45)
    until(page, run, 0, 45)
    first = page.locator("#groups").inner_text()
    assert "is served least" in first
    turn(page, -20)
    until(page, run, 0, -20)
    assert expected(run, 0, -20) != expected(run, 0, 45)
    assert page.locator("#groups").inner_text() != first
    assert "0.94 helpfulness · −0.34 verbosity" in page.locator(".direction").inner_text()


def test_dragging_the_slider_turns_too(page, run):
    turn(page, 0)
    until(page, run, 0, 0)
    page.locator("#angle input[type=range]").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    until(page, run, 0, 12)


def test_another_prompt_is_ranked_by_the_same_direction(page, run):
    turn(page, 30)
    until(page, run, 0, 30)
    page.locator("#prompt input").click()
    page.get_by_role("option").nth(4).click()
    until(page, run, 4, 30)
    assert "prompt 4" in page.locator("#candidates .prompt").inner_text()


def test_groups_are_shown_as_text_and_none_becomes_markup(page):
    shown = page.locator("#groups").inner_text()
    for name in GROUPS:
        assert name in shown
    assert page.locator("#groups b").count() == 0


def test_moving_the_money_changes_whom_it_serves(page):
    page.get_by_role("tab", name="Collection").click()
    shown = page.locator("#collection")
    page.wait_for_selector("#collection tbody")
    page.fill("#money input[type=number]", "100")
    page.keyboard.press("Enter")
    shown.get_by_text("Spending 100 by the rule isoelastic").wait_for(timeout=20_000)
    first = shown.inner_text()
    page.get_by_role("radio", name="maximin").check()
    shown.get_by_text("Spending 100 by the rule maximin").wait_for(timeout=20_000)
    assert "south is left with the largest loss" in shown.inner_text().replace(
        "\u2068", ""
    ).replace("\u2069", "")
    assert shown.inner_text() != first


def test_moving_the_budget_or_a_weight_changes_the_package(page):
    page.get_by_role("tab", name="Decision").click()
    shown = page.locator("#decision")
    shown.get_by_text("for 3 of 3 by the rule utilitarian").wait_for(timeout=20_000)
    rows = "#decision tbody tr"
    states = "rows => rows.map(r => [...r.children].map(c => c.innerText).join('|')).sort()"
    assert page.eval_on_selector_all(rows, states) == [
        "lights|1|in|",
        "ramp|2|in|",
        "trees|2|out|",
    ]
    page.fill("#group-weight-0 input[type=number]", "0")
    page.keyboard.press("Enter")
    shown.get_by_text("goes out").wait_for(timeout=20_000)
    assert page.eval_on_selector_all(rows, states) == [
        "lights|1|in|",
        "ramp|2|out|goes out",
        "trees|2|in|comes in",
    ]
    page.fill("#budget input[type=number]", "5")
    page.keyboard.press("Enter")
    shown.get_by_text("for 5 of 5").wait_for(timeout=20_000)
    assert page.eval_on_selector_all(rows, states)[1:] == ["ramp|2|in|", "trees|2|in|comes in"]


def test_nothing_is_asked_of_anybody_else(page, studio, run):
    turn(page, 20)
    until(page, run, 0, 20)
    assert [url for url in page.asked if not url.startswith((studio.address, "data:"))] == []
    assert page.complaints == []
    policy = page.request.get(studio.address).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    page.evaluate("new Image().src = 'http://127.0.0.1:9/elsewhere.png'")
    page.wait_for_timeout(200)
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def test_another_name_for_this_machine_is_refused(page, studio):
    answer = page.request.get(studio.address, headers={"Host": "example.org"})
    assert answer.status == 400


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits(page, run, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#groups svg:visible").count() == 2


def test_an_interrupt_ends_it_and_nothing_more_is_said(run):
    started = Studio(run)
    assert "this machine only" in started.said
    assert started.end(signal.SIGINT) == (0, "")


def test_a_termination_ends_it_after_all_this(studio):
    assert studio.end(signal.SIGTERM) == (0, "")
