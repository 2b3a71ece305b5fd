"""The report: geometry of its figures, its words, and what hostile names cannot do."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))
from pluralign.audit.report import scales, words, write_report
from pluralign.audit.report.fields import Estimate
from pluralign.audit.report.intervals import Intervals, Mark, Row
from pluralign.audit.report.multiples import Line, Multiples, Panel, thinned
from pluralign.audit.report.page import SECTIONS, objective_text, render
from pluralign.audit.report.parts import NARROW, WIDE
from pluralign.audit.report.reading import read_run
from pluralign.audit.report.svg import fitted, isolated, legible, plain, width_of, written
from pluralign.audit.report.training import curve, drift_lines, group_lines
from pluralign.errors import DataError
from report_sample import HOSTILE, sample_run

SVG = "{http://www.w3.org/2000/svg}"
LONG_NAME = "people who live far from the capital and answered in the second wave"


def page_of(run, tmp_path):
    return write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")


def drawings(page):
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def classed(tree, name, tag=None):
    found = [node for node in tree.iter() if name in (node.get("class") or "").split()]
    return [node for node in found if tag is None or node.tag.removeprefix(SVG) == tag]


def number_at(node, key):
    return float(node.get(key))


def centre(dot):
    if dot.get("cx"):
        return float(dot.get("cx"))
    if dot.get("x"):
        return float(dot.get("x")) + 4
    corners = [float(x) for x in re.findall(r"[ML](-?[\d.]+) ", dot.get("d"))]
    return (min(corners) + max(corners)) / 2


def read_off(tree, unit=100.0):
    """The map from pixels to values, taken from the tick labels alone."""
    ticks = [node for node in classed(tree, "tick") if node.get("text-anchor") == "middle"]
    places = [
        (float(t.get("x")), float(re.sub(r"[^\d.\-+−]", "", t.text).replace("−", "-")) / unit)
        for t in ticks
    ]
    (x0, v0), (x1, v1) = places[0], places[-1]
    return lambda x: v0 + (x - x0) * (v1 - v0) / (x1 - x0)


# --- scales -----------------------------------------------------------------------------


def test_a_scale_maps_its_ends_and_its_middle():
    made = scales.Scale(0.2, 0.8, 100.0, 400.0)
    assert (made(0.2), made(0.5), made(0.8)) == (100.0, pytest.approx(250.0), 400.0)


def test_a_scale_ends_at_round_numbers_around_the_values():
    made = scales.scale([0.62, 0.87], 0.0, 100.0)
    assert (made.low, made.high) == (pytest.approx(0.6), pytest.approx(0.9))
    assert made.ticks == pytest.approx((0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9))


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [math.nan, math.inf, -math.inf],
        [0.0],
        [0.7] * 5,
        [1.0] * 3,
        [-3.0, -3.0],
        [5e-324],
        [1e300, 0.5],
        [1e29, -1e29],
        [1.0, 1.0 + 1e-15],
        [10**9, 10**9 + 1],
    ],
    ids=str,
)
@pytest.mark.parametrize(("floor", "ceiling"), [(None, None), (0.0, 1.0)])
def test_degenerate_values_still_give_an_axis(values, floor, ceiling):
    made = scales.scale(values, 10.0, 300.0, floor=floor, ceiling=ceiling)
    assert math.isfinite(made.low)
    assert made.low < made.high
    assert len(made.ticks) >= 2
    assert all(b > a for a, b in pairwise(made.ticks))
    assert (
        all(made.low - 1e-9 <= tick <= made.high + 1e-9 for tick in made.ticks) or made.high > 1e9
    )


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6))
def test_any_values_fit_their_scale(values):
    made = scales.scale(values, 0.0, 100.0)
    for value in scales.drawable(values):
        assert -1e-6 <= made(value) <= 100.0 + 1e-6
    assert 2 <= len(made.ticks) <= 12


@pytest.mark.parametrize(
    ("raw", "step"), [(0.11, 0.2), (0.2, 0.2), (0.21, 0.25), (0.3, 0.5), (0.51, 1.0), (7, 10)]
)
def test_steps_are_round(raw, step):
    assert scales.nice_step(raw) == pytest.approx(step)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (scales.percent, 0.7123, "71.2\u202f%"),
        (scales.percent, None, "–"),
        (scales.percent, math.nan, "–"),
        (scales.points, 0.092, "+9.2"),
        (scales.points, -0.092, "−9.2"),
        (scales.points, -0.0001, "0.0"),
        (scales.number, 12345, "12,345"),
        (scales.number, 0.69314, "0.6931"),
        (scales.number, -127.04, "−127"),
        (scales.number, 1e-7, "1.00e−07"),
        (scales.signed, 0.132, "+0.132"),
        (scales.signed_tenths, -7.14, "−7.1"),
        (scales.percent_tick, 0.5, "50\u202f%"),
        (scales.points_tick, 0.025, "+2.5"),
    ],
)
def test_numbers_are_written_for_reading(write, value, text):
    assert write(value) == text


# --- interval figures -------------------------------------------------------------------


def rows_of(*values):
    return tuple(
        Row(f"group {i}", f"{i} pairs", (Mark(0, v, lo, hi, f"group {i}\nsaid", "text"),))
        for i, (v, lo, hi) in enumerate(values)
    )


def intervals(rows, **more):
    options = {"reference": 0.5, "reference_name": "guessing", "floor": 0.0, "ceiling": 1.0} | more
    return Intervals(rows, (), scales.percent_tick, "accuracy", **options)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_marks_and_whiskers_stand_where_the_ticks_say(width):
    values = [(0.62, 0.55, 0.69), (0.81, 0.78, 0.84), (0.5, 0.31, 0.77)]
    tree = intervals(rows_of(*values))(width)
    value_at = read_off(tree)
    marks = classed(tree, "mark")
    assert len(marks) == 3
    for mark, (value, low, high) in zip(marks, values, strict=True):
        (dot,) = classed(mark, "dot")
        body, *caps = classed(mark, "whisker")
        assert value_at(centre(dot)) == pytest.approx(value, abs=5e-4)
        assert value_at(number_at(body, "x1")) == pytest.approx(low, abs=5e-4)
        assert value_at(number_at(body, "x2")) == pytest.approx(high, abs=5e-4)
        assert [number_at(c, "x1") for c in caps] == [number_at(body, k) for k in ("x1", "x2")]
    (reference,) = classed(tree, "reference")
    assert value_at(number_at(reference, "x1")) == pytest.approx(0.5, abs=5e-4)


def test_every_shape_is_centred_on_its_value():
    marks = tuple(Mark(look, 0.7, 0.6, 0.8, "tip", "70") for look in range(9))
    tree = intervals((Row("group", "", marks),))(WIDE)
    dots = classed(tree, "dot")
    assert [centre(dot) for dot in dots] == pytest.approx([centre(dots[0])] * 9, abs=0.02)
    assert len({dot.tag for dot in dots}) == 3


def test_an_interval_given_backwards_is_drawn_in_order():
    (mark,) = classed(intervals(rows_of((0.6, 0.8, 0.4)))(WIDE), "mark")
    body = classed(mark, "whisker")[0]
    assert number_at(body, "x1") < number_at(body, "x2")


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_value_says_so_and_others_are_drawn(missing):
    tree = intervals(rows_of((missing, missing, missing), (0.7, None, None)))(WIDE)
    empty, alone = classed(tree, "mark")
    assert not classed(empty, "dot")
    assert "no value" in "".join(empty.itertext())
    assert len(classed(alone, "dot")) == 1
    assert not classed(alone, "whisker")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_forty_groups_with_long_names_keep_inside_the_drawing(width):
    marks = tuple(Mark(look, 0.5 + look / 20, 0.5, 0.8, "tip", "text") for look in range(3))
    rows = tuple(Row(f"{i} {LONG_NAME}", "1,234 pairs", marks) for i in range(40))
    tree = intervals(rows)(width)
    height = float(tree.get("height"))
    names = classed(tree, "name")
    places = [number_at(name, "y") for name in names]
    assert len(names) == 40
    assert all(name.text.endswith("…") for name in names)
    assert all(b - a >= 40 for a, b in pairwise(places))
    assert max(places) < height
    room = width if width == NARROW else min(centre(dot) for dot in classed(tree, "dot"))
    assert all(10 + width_of(name.text) <= room for name in names)
    for node in tree.iter():
        for key in ("x", "x1", "x2", "cx"):
            assert 0 <= float(node.get(key, 0)) <= width, ElementTree.tostring(node)
        for key in ("y", "y1", "y2", "cy"):
            assert 0 <= float(node.get(key, 0)) <= height


def test_an_accented_row_has_a_band_and_a_heading_has_no_mark():
    rows = (
        Row("DPO − start", "", ()),
        Row("north", "", rows_of((0.6, 0.5, 0.7))[0].marks, "worst"),
    )
    tree = intervals(rows)(WIDE)
    assert [node.text for node in classed(tree, "heading")] == ["DPO − start"]
    assert len(classed(tree, "band")) == 1
    assert "worst" in [node.text for node in classed(tree, "tagged")]


def test_no_row_at_all_still_draws():
    assert intervals(())(NARROW).tag == "svg"


# --- small multiples --------------------------------------------------------------------


def multiples(*lines, panels=2, **more):
    made = tuple(Panel(f"model {i}", tuple(lines)) for i in range(panels))
    return Multiples(made, (("chosen", "chosen"),), scales.percent_tick, **more)


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_curves_pass_through_their_values(width):
    points = ((0.0, 0.5), (50.0, 0.6), (100.0, 0.8))
    tree = multiples(Line("chosen", "chosen", points), panels=1)(width)
    (path,) = [node for node in tree.iter() if node.tag.endswith("polyline")]
    places = [tuple(map(float, pair.split(","))) for pair in path.get("points").split()]
    ticks = {node.text: number_at(node, "y") - 4 for node in classed(tree, "tick")}
    low, high = ticks["50\u202f%"], ticks["80\u202f%"]
    for (_, y), (_, value) in zip(places, points, strict=True):
        assert y == pytest.approx(low + (value - 0.5) / 0.3 * (high - low), abs=0.1)
    assert places[1][0] == pytest.approx((places[0][0] + places[2][0]) / 2, abs=0.1)


def test_panels_share_a_scale_unless_told_otherwise():
    panels = (
        Panel("a", (Line("x", "chosen", ((0.0, 0.0), (1.0, 1.0))),)),
        Panel("b", (Line("x", "chosen", ((0.0, 0.0), (1.0, 0.4))),)),
    )
    ends = {}
    for shared in (True, False):
        tree = Multiples(panels, (), scales.number, shared=shared)(WIDE)
        paths = [node.get("points") for node in tree.iter() if node.tag.endswith("polyline")]
        ends[shared] = [float(path.split()[-1].split(",")[1]) for path in paths]
    assert ends[True][0] < ends[True][1]
    assert ends[False][0] == ends[False][1]


def test_one_point_equal_values_and_no_point_still_draw():
    for points in (((5.0, 0.7),), ((0.0, 0.7), (9.0, 0.7)), ()):
        tree = multiples(Line("chosen", "chosen", points), reference=0.5)(NARROW)
        assert "nan" not in written(tree).lower()


def test_thinning_keeps_the_ends():
    assert thinned(range(1000), 5) == [0, 250, 500, 749, 999]
    assert thinned([1, 2], 5) == [1, 2]


# --- reading training rows --------------------------------------------------------------


def test_held_out_values_go_before_training_values():
    rows = [{"step": s, "x": 0.1, "eval_x": 0.2 + s} for s in (1, 2)]
    assert curve(rows, "x") == ((1.0, 1.2), (2.0, 2.2))
    assert curve(
        [{"step": 1, "x": 3}, {"step": 2, "x": None}, {"step": 3, "x": math.nan}], "x"
    ) == ((1.0, 3.0),)


def model_with(rows):
    run = sample_run()
    run["models"][1]["training"] = rows
    return read_run(run).models[1]


def test_drift_is_the_change_since_the_first_step():
    rows = [
        {"step": s, "eval_logps/chosen": -100.0 - s, "eval_logps/rejected": -110.0 - 3 * s}
        for s in (0, 5)
    ]
    chosen, rejected = drift_lines(model_with(rows))
    assert (chosen.points, rejected.points) == (((0, 0), (5, -5)), ((0, 0), (5, -15)))


def test_batches_of_other_pairs_tell_no_drift():
    rows = [
        {"step": s, "logps/chosen": -100.0 * s, "logps/rejected": -110.0 * s} for s in (1, 2, 3)
    ]
    assert drift_lines(model_with(rows)) == ()


def test_drift_against_the_reference_is_taken_as_logged():
    rows = [{"step": 3, "log_ratio/chosen": -1.0, "log_ratio/rejected": -2.0, "logps/chosen": 9.0}]
    assert [line.points for line in drift_lines(model_with(rows))] == [((3, -1),), ((3, -2),)]


def test_groups_with_odd_names_are_found_and_the_worst_is_first():
    rows = [
        {"step": s, "group/a/b/ranking_accuracy": 0.5, "eval_group/north/ranking_accuracy": 0.9}
        for s in (0, 1)
    ]
    lines = group_lines(model_with(rows))
    assert [(line.name, line.look) for line in lines] == [
        (isolated("north"), "worst"),
        (isolated("a/b"), "rest"),
    ]


# --- words ------------------------------------------------------------------------------


def found_headline(run):
    line, details = words.headline(read_run(run))
    return re.sub("[\u2066-\u2069]", "", " ".join([line, *details]))


def set_worst(run, place, value, low, high, name="north"):
    frame = run["models"][place]["frames"]["ranking_accuracy"]
    frame["worst"] = name
    for group in frame["groups"]:
        if group["name"] == name:
            group.update(value=value, low=low, high=high)


def test_the_headline_names_the_model_that_serves_its_worst_off_group_best():
    text = found_headline(sample_run())
    assert text.startswith("rDPO serves its worst-off group best")
    assert "north" in text
    assert "71.9\u202f% (67.6 to 76.3)" in text
    assert "+4.8 percentage points" in text


def test_a_paired_interval_that_holds_zero_is_not_separable():
    run = sample_run()
    for group in run["comparisons"][-1]["frame"]["groups"]:
        group["low"] = -0.01
    text = found_headline(run)
    assert text.startswith("rDPO and DPO are not separable at this size")
    assert "the interval holds zero" in text


def test_a_comparison_the_other_way_round_is_turned():
    run = sample_run()
    last = run["comparisons"][-1]
    last["a"], last["b"] = last["b"], last["a"]
    for group in last["frame"]["groups"]:
        value, low, high = group["value"], group["low"], group["high"]
        group.update(value=-value, low=-high, high=-low)
    assert "+4.8 percentage points (+0.4 to +9.3)" in found_headline(run)


@pytest.mark.parametrize(
    ("low", "verdict"), [(0.60, "are not separable"), (0.75, "serves its worst-off group best")]
)
def test_without_a_paired_difference_the_intervals_decide(low, verdict):
    run = sample_run()
    run["comparisons"] = []
    set_worst(run, 2, 0.8, low, 0.9)
    set_worst(run, 1, 0.66, 0.6, 0.7)
    assert verdict in found_headline(run)


def test_one_model_at_chance_is_said_to_be_at_chance():
    run = sample_run(n_models=1)
    set_worst(run, 0, 0.52, 0.47, 0.57)
    text = found_headline(run)
    assert text.startswith("start serves north worst")
    assert "not distinguishable from guessing" in text


def test_captions_say_which_groups_gain_and_which_lose():
    run = sample_run(n_models=2)
    for group, (low, high) in zip(
        run["comparisons"][0]["frame"]["groups"],
        [(-0.3, -0.1), (-0.1, 0.1), (0.1, 0.2), (0.1, 0.3)],
        strict=True,
    ):
        group.update(value=(low + high) / 2, low=low, high=high)
    checked = read_run(run)
    caption = words.differences_caption(checked, checked.comparisons)
    names = [isolated(g.name) for g in checked.comparisons[0].frame.groups]
    assert any(f"2 better ({names[2]} and {names[3]})" in said for said in caption)
    assert any(f"1 worse ({names[0]})" in said for said in caption)


def test_honest_words_only():
    text = Path(words.__file__).read_text(encoding="utf-8")
    assert not re.search(r"\b(unbiased|debiased|aligned)\b", text)
    assert not re.search(r"\b(is|are|be) fair\b", text)


def test_estimates_know_what_they_can_tell():
    assert Estimate(0.5, 0.4, 0.6).overlaps(Estimate(0.7, 0.6, 0.8))
    assert not Estimate(0.5, 0.4, 0.6).overlaps(Estimate(0.7, 0.61, 0.8))
    assert Estimate(0.5).overlaps(Estimate(0.9, 0.8, 1.0))
    # Intervals that meet, of a difference that is told: 0.043 > hypot(0.027, 0.026).
    south, north = Estimate(0.742, 0.714, 0.768), Estimate(0.785, 0.758, 0.809)
    assert south.overlaps(north)
    assert north.is_above(south)
    assert not south.is_above(north)
    assert not Estimate(0.77, 0.743, 0.79).is_above(south)
    assert not Estimate(0.9).is_above(south)
    assert Estimate(0.1, 0.05, 0.2).excludes(0.0)
    assert not Estimate(0.1, 0.0, 0.2).excludes(0.0)
    assert not Estimate(0.1).excludes(0.0)


def test_objectives_in_one_line():
    assert objective_text({"name": "RDPO", "beta": 0.1, "flip_rate": 0.2, "link": None}) == (
        "RDPO, beta 0.1, flip rate 0.2"
    )
    nested = {"name": "DPO", "repr": "DPO(beta=0.1)", "fields": {"beta": 0.1}}
    assert objective_text(nested) == "DPO, beta 0.1"
    assert objective_text({}) == ""


# --- the page ---------------------------------------------------------------------------


FIGURES = (
    "groups-figure",
    "measures-figure",
    "change-figure",
    "differences-figure-0",
    "drift-figure",
    "drift-curve-figure",
    "margin-figure",
    "margin-groups-figure",
    "difficulty-figure",
    "difficulty-groups-figure",
    "threshold-figure",
    "length-figure",
    "reliability-figure",
    "claims-figure",
    "noise-figure",
    "loss-figure",
    "curves-figure",
    "checkpoints-figure",
)


def test_figures_stand_in_their_order(tmp_path):
    page = page_of(sample_run(), tmp_path)
    assert tuple(re.findall(r'<figure id="([^"]*)"', page)) == FIGURES


def test_a_typical_page_is_small_whole_and_loads_nothing(tmp_path):
    page = page_of(sample_run(), tmp_path)
    assert len(page.encode()) < 600_000
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")", page)
    assert not re.search(r"\b(src|srcset|action|data)=|@import|url\(", page)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))
    for word in ("nan", "None", "undefined"):
        assert not re.search(rf">\s*{word}\s*<", page)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_every_drawing_is_valid_xml_with_a_name_and_a_description(tmp_path):
    trees = drawings(page_of(sample_run(), tmp_path))
    assert len(trees) == 2 * len(FIGURES)
    for tree in trees:
        assert tree.get("role") == "img"
        by_id = {node.get("id"): node for node in tree.iter() if node.get("id")}
        assert by_id[tree.get("aria-labelledby")].text
        assert by_id[tree.get("aria-describedby")].text
        assert all(mark.find(f"{SVG}title").text for mark in classed(tree, "mark"))
    ids = [node.get("id") for tree in trees for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids))


def test_the_policy_allows_exactly_the_texts_of_the_page(tmp_path):
    page = page_of(sample_run(), tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    texts = re.findall(r"<(?:script|style)[^>]*>(.*?)</(?:script|style)>", page, re.DOTALL)
    assert len(texts) == 3
    for text in texts:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_report_is_a_function_of_the_run(tmp_path):
    assert page_of(sample_run(), tmp_path) == page_of(sample_run(), tmp_path)


def test_exact_numbers_stand_behind_the_figures(tmp_path):
    run = sample_run()
    page = page_of(run, tmp_path)
    for model in run["models"]:
        for group in model["frames"]["ranking_accuracy"]["groups"]:
            assert f'data-raw="{group["value"]!r}"' in page


PARTS = {
    "groups": ({"groups"}, lambda run: [m.pop("frames") for m in run["models"]]),
    "differences": ({"differences"}, lambda run: run.pop("comparisons")),
    "distributions": (
        {"spread", "score"},
        lambda run: [m.pop("distributions") for m in run["models"]],
    ),
    "data": ({"data"}, lambda run: run.pop("data_audit")),
    "noise": ({"noise"}, lambda run: run.pop("noise")),
    "training": (
        {"training"},
        lambda run: [m.pop(k, None) for m in run["models"] for k in ("training", "checkpoints")],
    ),
    "drift": (
        {"drift", "spread", "score", "training"},
        lambda run: [m.pop(k, None) for m in run["models"] for k in DYNAMIC],
    ),
    "reach": ({"reach"}, lambda run: [m.pop("summary") for m in run["models"]]),
}
DYNAMIC = ("training", "checkpoints", "distributions")
KEYS = {key for gone, _ in PARTS.values() for key in gone}


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_leaves_its_sections_out_and_only_those(part, tmp_path):
    run = sample_run()
    gone, remove = PARTS[part]
    remove(run)
    page = page_of(run, tmp_path)
    present = {key for key in KEYS if f'<section id="{key}"' in page}
    assert present == KEYS - gone
    assert not [key for key in gone if f'href="#{key}"' in page]
    assert len(SECTIONS) == len(KEYS)


def test_the_least_record_is_enough(tmp_path):
    frame = {"overall": {"value": 0.6, "n": 9}, "groups": []}
    page = page_of({"models": [{"frames": {"ranking_accuracy": frame}}]}, tmp_path)
    assert "all pairs" in page
    assert "What this audit found" in page


def test_nulls_and_empty_groups_are_shown_as_missing(tmp_path):
    run = sample_run()
    frame = run["models"][0]["frames"]["ranking_accuracy"]
    frame["groups"][-1].update(value=None, low=None, high=None, n=0, flag="empty")
    frame["groups"][-2].update(low=None, high=None, n=1, flag="single")
    frame["gap"] = None
    run["noise"][0].update(estimate=math.nan, low=None, high=None)
    page = page_of(run, tmp_path)
    assert "no pair in this group" in page
    assert "one pair only" in page
    assert "nan" not in page


BROKEN = [
    ({}, "nothing to report"),
    ([], "audit record must be a mapping"),
    ("audit.json", "audit record must be a mapping"),
    ({"models": []}, "nothing to report"),
    ({"title": "x", "models": [{"name": "a"}]}, "['models', 'title']"),
    ({"models": "dpo"}, "models must be a list; got 'dpo'"),
    ({"models": ["dpo"]}, "models[0] must be a mapping; got 'dpo'"),
    ({"models": [{"frames": []}]}, "models[0].frames must be a mapping"),
    ({"models": [{"frames": {"m": {"groups": 3}}}]}, "models[0].frames.m.groups must be a list"),
    (
        {"models": [{"frames": {"m": {"groups": [{"name": "a", "value": "high"}]}}}]},
        "models[0].frames.m.groups[0].value must be a number or null; got 'high'",
    ),
    ({"noise": [{"group": "a", "estimate": True}]}, "noise[0].estimate must be a number"),
    ({"comparisons": [{"frame": 1}]}, "comparisons[0].frame must be a mapping"),
    ({"noise": [{}], "data": 3}, "data must be a mapping"),
]


@pytest.mark.parametrize(("run", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_record_that_cannot_be_drawn_is_refused_and_the_old_report_stays(run, message, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(DataError, match=re.escape(message)):
        write_report(run, path)
    assert path.read_text() == "old"


def test_forty_groups_in_every_part(tmp_path):
    groups = {f"{i} {LONG_NAME}": 0.5 + i / 100 for i in range(40)}
    page = page_of(sample_run(groups), tmp_path)
    assert len(page.encode()) < 2_300_000
    assert len(drawings(page)) == 2 * len(FIGURES)


def test_reach_digests_and_lays_out_what_it_does_not_know(tmp_path):
    run = sample_run()
    run["models"][1]["summary"]["win_rate"] = {"by_judge": {"first": 0.61}, "votes": [3, 4]}
    page = page_of(run, tmp_path)
    assert "of the wrong, turned right" in page
    assert "by judge · first" in page
    assert ">0.61<" in page


def test_a_real_audit_is_drawn(tmp_path):
    import numpy as np

    from pluralign.audit.record import audit_models
    from pluralign.data import Preferences, ScoredPairs

    draw = np.random.default_rng(0)
    groups = draw.choice(["north", "south"], 80)
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "group": str(g)} for g in groups]
    pairs = Preferences.from_records(rows)
    start, tuned = (
        ScoredPairs(pairs, chosen=draw.normal(-40 + lift, 4, 80), rejected=draw.normal(-42, 4, 80))
        for lift in (0, 4)
    )
    record = json.loads(json.dumps(audit_models({"start": start, "tuned": tuned})))
    page = page_of(record, tmp_path)
    worst = record["models"][1]["frames"]["ranking_accuracy"]["worst"]
    assert f"worst-off group: <strong>\u2068{worst}\u2069</strong>" in page


# --- hostile texts ----------------------------------------------------------------------


class Skeleton(HTMLParser):
    """Tags with the names of their attributes, and all text outside script and style."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self._raw = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        if not self._raw:
            self.text.append(data)


def hostile_run(text):
    """A run in which a text stands in the place of every name."""
    run = sample_run({text: 0.6, "other": 0.8})
    for model in run["models"]:
        model.update(title=text, objective={"name": text, text: text})
    run["provenance"].update(command=text, versions={text: text}, machine={text: text}, seed=text)
    run["provenance"]["recipe"] = {text: text}
    run["data"].update(source=text, fingerprint=text)
    run.update(title=text, created=text)
    for finding in run["data_audit"]["findings"]:
        finding.update(dict.fromkeys(("key", "severity", "title", "what", "why", "remedy"), text))
        finding.update(ids=[text] * 3, data={"examples": [text] * 2, text: text})
    for rate in run["noise"]:
        rate["estimator"] = text
    return run


def test_there_are_fifty_hostile_texts():
    assert len(set(HOSTILE)) >= 50


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:30]))
def test_hostile_texts_are_shown_as_text(text):
    page = render(read_run(hostile_run(text)))
    page.encode("utf-8")
    seen = Skeleton(page)
    assert plain(text) in " ".join(seen.text)
    assert {tag for tag, _ in seen.tags} <= KNOWN_TAGS
    assert not [name for _, names in seen.tags for name in names if name.startswith("on")]
    assert [tag for tag, _ in seen.tags].count("script") == 1
    for tree in drawings(page):
        assert {node.tag.removeprefix(SVG) for node in tree.iter()} <= KNOWN_TAGS
    assert len(page) < 650_000


TAG_NAMES = (
    "html head meta title style body a header p h1 h2 h3 bdi span main section div article "
    "strong dl dt dd nav ul li figure svg desc text line rect circle path polyline g "
    "figcaption details summary table caption thead tbody tr th td button pre code footer "
    "script "
)
KNOWN_TAGS = frozenset(TAG_NAMES.split())


def test_escaping_keeps_the_skeleton_of_the_page():
    tame = Skeleton(render(read_run(hostile_run("tame"))))
    wild = Skeleton(render(read_run(hostile_run("<img src=x onerror=alert(1)>"))))
    assert set(tame.tags) == set(wild.tags)


def test_names_cannot_turn_the_sentence_around():
    assert plain("a\u202eb\u2067c") == r"a\u202eb\u2067c"
    assert plain("a\x00b\ud800\uffff") == "a␀b\ufffd\ufffd"
    assert plain("  \n ") == "(blank)"
    assert legible("tab\tline\n") == "tab\tline\n"
    assert len(plain("x" * 100_000)) == 120


@given(st.text(max_size=300), st.floats(0, 400))
def test_fitted_text_fits(text, room):
    made = fitted(text, room)
    assert made in ("…", legible(text)) or width_of(made) <= room
    ElementTree.fromstring(f"<a>{made.replace('&', '').replace('<', '').replace('>', '')}</a>")


def test_the_record_is_not_changed():
    run = sample_run()
    before = copy.deepcopy(run)
    render(read_run(run))
    assert run == before
