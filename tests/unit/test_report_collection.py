"""The page of a collection: what it says follows from the record, whatever the record lacks."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pluralign import DataError
from pluralign.audit.report import write_collection_report
from pluralign.audit.report.collection import render_collection
from pluralign.audit.report.collection_reading import read_collection
from pluralign.collect import (
    AdaptiveSampler,
    Evaluation,
    Isoelastic,
    Maximin,
    PowerCurves,
    SamplingPlan,
)
from pluralign.collect.forecast import collection_record, forecast

NAMES = ("north", "south", "west")
TRUTH = PowerCurves([0.1, 0.15, 0.12], [0.8, 1.6, 2.4], [0.45, 0.40, 0.35], names=NAMES)


def plan(**options):
    usual = {"groups": NAMES, "cost": [1, 1.5, 2], "budget": 6000, "best": 1.5, "pilot": 40}
    return SamplingPlan(**{**usual, "population": [7, 2, 1], **options})


def collected(rounds, **options):
    """The record of a collection after some rounds, measured without noise."""
    sampler = AdaptiveSampler(plan(**options))
    for _ in range(rounds):
        purchase = sampler.ask()
        sizes = [(g, n) for g, each in purchase.evaluate_at.items() for n in each]
        told = [Evaluation(g, n, float(TRUTH.loss(n)[NAMES.index(g)]), 0.01) for g, n in sizes]
        sampler.tell(purchase, told)
    return collection_record(sampler)


def page(record):
    return re.sub("[\u2068\u2069]", "", render_collection(read_collection(record)))


def drawing(text, key):
    """The wide drawing of a figure."""
    start = text.index("<svg", text.index(f'<figure id="{key}"'))
    return ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])


def marks(text, key):
    found = drawing(text, key).iter("{http://www.w3.org/2000/svg}g")
    return [node for node in found if "mark" in node.get("class", "").split()]


def test_every_round_and_group_has_a_bar_as_high_as_its_money():
    record = collected(4)
    found = marks(page(record), "rounds-figure")
    money, heights = [], []
    for cost, name in zip((1, 1.5, 2), NAMES, strict=True):
        money += [cost * one["bought"][name] for one in record["rounds"]]
    for mark in found:
        heights.append(float(mark[-1].get("height")))
    assert len(found) == 12
    assert np.corrcoef(money, heights)[0, 1] > 0.9999
    assert found[0][0].text.endswith(f"pilot\n40 bought for {money[0]:g}")


def test_curves_are_drawn_with_every_measured_loss_where_it_lies():
    record = collected(5)
    text = page(record)
    found = marks(text, "learning-figure")
    assert len(found) == sum(len(group["curve"]["points"]) for group in record["groups"])
    lines = [n for n in drawing(text, "learning-figure").iter() if n.tag.endswith("polyline")]
    assert len(lines) == 3
    curve = np.array([tuple(map(float, p.split(","))) for p in lines[0].get("points").split()])
    dots = [mark[-1] for mark in found][: len(record["groups"][0]["curve"]["points"])]
    for dot in dots:  # noise-free: every dot lies on its curve
        x, y = float(dot.get("cx")), float(dot.get("cy"))
        assert y == pytest.approx(np.interp(x, curve[:, 0], curve[:, 1]), abs=0.5)


def test_the_next_gain_has_its_interval_and_the_order_of_the_objective():
    record = collected(3)
    worth = {group["name"]: group["welfare_gain_per_cost"] for group in record["groups"]}
    order = sorted(worth, key=worth.get, reverse=True)
    tips = [mark[0].text.split("\n") for mark in marks(page(record), "gain-figure")]
    assert [tip[0] for tip in tips] == order
    assert all(" to " in tip[1] for tip in tips)


def test_under_maximin_the_next_money_is_for_the_worst_off():
    record = collected(2, objective=Maximin())
    worst = max(record["groups"], key=lambda group: group["loss"])["name"]
    assert f"The next money is for {worst}, which is worst off" in page(record)


def test_a_forecast_names_the_worst_off_of_the_plan_and_what_would_serve_it_better():
    made = plan()
    record = forecast(made, TRUTH, held=np.full(3, 40.0))
    text = page(record)
    own = record["strategies"][0]
    assert f"Under this plan {own['worst_group']} would be worst off" in text
    assert f"By maximin the largest would be {record['strategies'][2]['worst_loss']:.4f}" in text
    assert "no interval can be given before something is measured" in text
    assert len(marks(text, "forecast-figure")) == 3 * 6


def test_a_strategy_that_cannot_be_met_is_told():
    poor = plan(best=1.0, objective=Isoelastic(eps=0.0))
    record = forecast(poor, TRUTH, held=np.full(3, 1.0), budget=3.0)
    text = page(record)
    assert "isoelastic (eps 1) cannot be met: performance above 0 in every group costs" in text
    assert len(marks(text, "forecast-figure")) == 3 * 5


def test_with_transfer_a_group_stands_where_all_samples_bring_it():
    tau = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    record = forecast(plan(transfer=tau), TRUTH, held=np.array([100.0, 200.0, 300.0]))
    group = read_collection(record).groups[0]
    assert group.worth == pytest.approx(100 + 0.5 * 500)
    assert group.loss == pytest.approx(group.loss_at(group.worth))


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_collection_that_has_hardly_begun_has_a_page(rounds, tmp_path):
    path = write_collection_report(collected(rounds), tmp_path / "page.html")
    assert ("rounds-figure" in path.read_text("utf-8")) == bool(rounds)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, r"nothing to report: it needs a 'plan' with 'groups'; got keys \[\]"),
        ({"plan": {"groups": ["a"]}, "rounds": 3}, "rounds must be a list; got 3"),
        ({"plan": {"groups": "ab"}}, r"plan\.groups must be a list"),
        (
            {"plan": {"groups": ["a"]}, "groups": [{"name": "a", "n": "many"}]},
            r"groups\[0\]\.n must be a number or null; got 'many'",
        ),
        (
            {"plan": {"groups": ["a"]}, "rounds": [{"bought": {"a": "x"}}]},
            r"rounds\[0\]\.bought\.a must be a number or null",
        ),
    ],
)
def test_records_that_are_none(record, message, tmp_path):
    with pytest.raises(DataError, match=message):
        write_collection_report(record, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_many_groups_keep_the_page_short():
    names = tuple(f"g{i}" for i in range(40))
    many = SamplingPlan(groups=names, cost=1, budget=9000)
    curves = PowerCurves(0.1, np.linspace(0.5, 2, 40), 0.4, names=names)
    text = page(forecast(many, curves, held=np.full(40, 30.0)))
    assert len(marks(text, "forecast-figure")) == 3 * 40
    assert "28 more in the table" in text
    assert "3 more strategies in the table" in text
