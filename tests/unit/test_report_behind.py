"""The figures behind the means: each says what its record says, in place, size and words."""

from __future__ import annotations

import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from pluralign.audit.quality import check_data
from pluralign.audit.record import audit_models
from pluralign.audit.report import write_report
from pluralign.audit.report.cards import data_section
from pluralign.audit.report.changes import changes_section
from pluralign.audit.report.drift import drift_section
from pluralign.audit.report.histograms import Histograms, Panel
from pluralign.audit.report.intervals import Intervals, Mark, Row
from pluralign.audit.report.page import render
from pluralign.audit.report.parts import NARROW, WIDE
from pluralign.audit.report.reading import read_run
from pluralign.audit.report.reliability import Curve, Point, Reliability
from pluralign.audit.report.scales import number, percent_tick
from pluralign.audit.report.score import score_section
from pluralign.audit.report.spread import spread_section
from pluralign.data import Preferences, ScoredPairs
from pluralign.errors import DataError
from report_sample import HOSTILE, data_audit, sample_run

SVG = "{http://www.w3.org/2000/svg}"


def classed(tree, name):
    return [node for node in tree.iter() if name in (node.get("class") or "").split()]


def at(node, key):
    return float(node.get(key))


def words(text):
    return re.sub("[\u2066-\u2069]", "", text).replace("\u202f", " ")


def figure(section, key):
    return next(made for made in section.figures if made.key == key)


def said(made):
    return words(" ".join(made.caption))


def drawn(made):
    return ElementTree.fromstring(made.wide)


# --- from before to after ---------------------------------------------------------------


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_way_leads_from_before_to_after_and_the_whisker_is_around_its_end(width):
    mark = Mark(6, 0.7, 0.6, 0.8, "tip", "+20", before=0.5)
    tree = Intervals((Row("group", "", (mark,)),), (), percent_tick, "axis")(width)
    ticks = [node for node in classed(tree, "tick") if node.get("text-anchor") == "middle"]
    first, last = ticks[0], ticks[-1]
    values = [float(re.sub(r"[^\d.]", "", node.text)) / 100 for node in (first, last)]
    per_unit = (at(last, "x") - at(first, "x")) / (values[1] - values[0])

    def place(value):
        return pytest.approx(at(first, "x") + (value - values[0]) * per_unit, abs=0.1)

    (way,), (origin,) = classed(tree, "way"), classed(tree, "origin")
    assert at(origin, "cx") == at(way, "x1") == place(0.5)
    assert at(way, "x2") == place(0.7)
    body = classed(tree, "whisker")[0]
    assert (at(body, "x1"), at(body, "x2")) == (place(0.6), place(0.8))
    hit = classed(tree, "hit")[0]
    assert at(hit, "x") < at(origin, "cx")


def test_the_change_figure_lays_paired_differences_on_the_start():
    run = sample_run(n_models=2)
    made = figure(changes_section(read_run(run)), "change-figure")
    before = {g["name"]: g for g in run["models"][0]["frames"]["ranking_accuracy"]["groups"]}
    change = {g["name"]: g for g in run["comparisons"][0]["frame"]["groups"]}
    rows = {row[1].text: row for row in made.table.rows}
    for name in before:
        raw = [float(cell.raw) for cell in rows[name][3:]]
        diff = change[name]
        assert raw[0] == before[name]["value"]
        assert raw[1] == pytest.approx(before[name]["value"] + diff["value"])
        assert raw[2:] == [diff["value"], diff["low"], diff["high"]]
    hollow = [node for node in classed(drawn(made), "hollow") if "key" not in node.get("class")]
    unclear = [diff for diff in change.values() if diff["low"] <= 0 <= diff["high"]]
    assert len(hollow) == len(unclear)


def test_comparisons_with_the_start_are_shown_once():
    section = changes_section(read_run(sample_run()))
    keys = [made.key for made in section.figures]
    assert keys == ["change-figure", "differences-figure-0"]
    assert {row[1].text for row in section.figures[1].table.rows} == {"DPO"}
    pair = changes_section(read_run(sample_run(n_models=2)))
    assert [made.key for made in pair.figures] == ["change-figure"]


def test_without_the_start_differences_stand_alone():
    run = sample_run()
    run["models"] = run["models"][1:]
    section = changes_section(read_run(run))
    told = {row[1].text for made in section.figures for row in made.table.rows}
    assert told >= {"start"}
    del run["models"]
    (alone,) = changes_section(read_run(run)).figures
    assert alone.key == "differences-figure-0"


# --- histograms -------------------------------------------------------------------------


def histograms(counts, edges, reference=0.0):
    panels = tuple(Panel(f"model {i}", "note", i, tuple(c)) for i, c in enumerate(counts))
    return Histograms(panels, tuple(edges), number, "axis", reference, "from here on")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_bars_are_as_high_as_their_counts_and_change_colour_at_the_reference(width):
    tree = histograms([[2, 0, 8, 4]], [-2, -1, 0, 1, 2])(width)
    bars = classed(tree, "bar")
    heights = [at(bar, "height") for bar in bars]
    assert heights == pytest.approx([heights[1] / 4, heights[1], heights[1] / 2], rel=1e-3)
    assert [bar.get("class") for bar in bars] == ["bar s7", "bar s0", "bar s0"]
    line = at(classed(tree, "reference")[0], "x1")
    assert at(bars[1], "x") == pytest.approx(line + 0.5, abs=0.02)
    foot = {round(at(bar, "y") + at(bar, "height"), 1) for bar in bars}
    assert len(foot) == 1


def test_panels_share_the_axis_and_each_fills_its_height():
    tree = histograms([[1, 1, 0, 0], [0, 0, 50, 100]], [0, 1, 2, 3, 4])(WIDE)
    bars = classed(tree, "bar")
    assert max(at(bar, "height") for bar in bars[:2]) == max(at(bar, "height") for bar in bars[2:])
    xs = [at(bar, "x") for bar in bars]
    assert xs == sorted(xs)


def test_an_edge_that_rounding_moved_still_parts_right_from_wrong():
    edges = [place * math.log(2) / 10 for place in range(21)]
    tree = histograms([[1] * 20], edges, reference=math.log(2))(WIDE)
    assert [bar.get("class") for bar in classed(tree, "bar")] == ["bar s7"] * 10 + ["bar s0"] * 10


def test_no_pair_at_all_still_draws():
    assert not classed(histograms([[0, 0]], [-1, 0, 1])(NARROW), "bar")


def test_margins_say_how_many_pairs_are_right():
    run = read_run(sample_run())
    made = figure(spread_section(run), "margin-figure")
    part = run.models[2].behind.log_ratio
    right = sum(part.overall.counts[20:]) / part.overall.n
    notes = [words(node.text) for node in classed(drawn(made), "muted")]
    assert any(note.startswith(f"{100 * right:.1f} % right") for note in notes)
    shown = sum(float(row[3].raw) for row in made.table.rows if row[0].text == "rDPO")
    assert shown == part.overall.n


def test_one_reference_and_one_beta_make_one_panel_of_difficulty():
    run = sample_run()
    first, second = (run["models"][i]["distributions"] for i in (1, 2))
    made = figure(spread_section(read_run(run)), "difficulty-figure")
    assert {row[0].text for row in made.table.rows} == {"DPO", "rDPO"}
    second["difficulty"] = first["difficulty"]
    made = figure(spread_section(read_run(run)), "difficulty-figure")
    assert {row[0].text for row in made.table.rows} == {"all models"}


def test_flip_threshold_curves_are_the_shares_that_a_loss_turns():
    rng = np.random.default_rng(0)
    groups = ["north"] * 300 + ["south"] * 100
    pairs = Preferences.from_records(
        [{"prompt": "p", "chosen": "a", "rejected": "b", "group": g} for g in groups]
    )
    lead = rng.normal(np.where(np.array(groups) == "south", -4.0, 1.0), 5.0)
    tuned = ScoredPairs(
        pairs, lead, np.zeros(400), ref_chosen=lead, ref_rejected=np.zeros(400), beta=0.1
    )
    run = read_run({"title": "t", **audit_models({"dpo": tuned}, n_bootstrap=100)})
    made = figure(spread_section(run), "threshold-figure")
    thresholds = np.log1p(np.exp(0.1 * lead))
    head, rows = made.table.head, made.table.rows
    assert head == ("model", "loss, nats", "south", "all pairs", "north")
    found = {
        (name, round(float(row[1].raw), 6)): float(cell.raw)
        for row in rows
        for name, cell in zip(head[2:], row[2:], strict=True)
    }
    assert len(found) == 3 * 20
    for name in ("north", "south", "all pairs"):
        kept = thresholds[[name in (group, "all pairs") for group in groups]]
        for place in range(20):
            loss = place * math.log(2) / 10
            assert found[name, round(loss, 6)] == pytest.approx((kept >= loss).mean())
    # Where tuning starts, at log 2, the share is the accuracy of the reference.
    assert found["south", round(math.log(2), 6)] == (lead[300:] >= 0).mean()
    curves = [node for node in classed(drawn(made), "curve") if node.get("points")]
    assert [node.get("class") for node in curves] == ["curve worst", "curve all", "curve rest"]
    first = [float(pair.split(",")[1]) for pair in curves[0].get("points").split()]
    assert first == sorted(first)  # y grows downwards: fewer pairs at a higher loss
    assert "loss reached by each pair 0" in words(drawn(made).find(f".//{SVG}g/{SVG}title").text)


def test_figures_by_group_are_folded_and_hold_every_group():
    section = spread_section(read_run(sample_run()))
    folded = [made for made in section.figures if made.folded]
    assert [made.key for made in folded] == ["margin-groups-figure", "difficulty-groups-figure"]
    assert {row[1].text for row in folded[0].table.rows} == {"north", "south", "islands", "capital"}


# --- drift ------------------------------------------------------------------------------


def test_drift_tells_what_fell_and_raises_no_alarm_without_cause():
    section = drift_section(read_run(sample_run()))
    made = figure(section, "drift-figure")
    assert words(made.title) == "Under DPO and rDPO both log-probabilities fell"
    assert "alone is no fault" in section.lead
    assert made.alert == ""


def test_an_alarm_says_how_much_was_lost_and_what_to_do():
    run = sample_run()
    run["models"][2]["distributions"]["drift"].update(
        alarm=True, relative={"overall": -0.41, "groups": {}}
    )
    made = figure(drift_section(read_run(run)), "drift-figure")
    assert "Under rDPO chosen responses lost 41.0 % of their log-probability" in words(made.alert)
    assert "more than the 25.0 %" in words(made.alert)
    assert "DPO chosen" not in words(made.alert).replace("rDPO", "")
    assert "smaller learning rate" in made.alert
    assert 'class="alert" role="note"' in render(read_run(run))


def test_an_alarm_of_one_group_names_it():
    run = sample_run()
    run["models"][1]["distributions"]["drift"].update(alarm=True, alarmed=["islands"])
    alert = words(figure(drift_section(read_run(run)), "drift-figure").alert)
    assert "Under DPO chosen responses of islands lost" in alert


def test_a_rise_is_not_called_a_fall():
    run = sample_run()
    drift = run["models"][1]["distributions"]["drift"]
    drift["chosen"]["overall"]["value"] = 2.0
    made = figure(drift_section(read_run(run)), "drift-figure")
    assert words(made.title) == "Under rDPO both log-probabilities fell"


# --- length and calibration -------------------------------------------------------------


def test_length_says_which_models_lean_further_than_the_labels():
    made = figure(score_section(read_run(sample_run())), "length-figure")
    assert words(made.title) == "By the labels, the longer response wins 58.0 % of pairs"
    assert "Under rDPO longer responses win less often" in said(made)
    assert "start" not in said(made)


def test_lengths_that_never_differ_leave_the_figure_out():
    run = sample_run()
    for model in run["models"]:
        model["distributions"]["length"]["labels_longer"] = {"n": 0, "value": None}
    keys = [made.key for made in score_section(read_run(run)).figures]
    assert keys == ["reliability-figure", "claims-figure"]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_points_on_the_diagonal_keep_their_word(width):
    points = tuple(Point(v, v, v - 0.1, min(v + 0.05, 1.0), "tip") for v in (0.55, 0.75, 0.95))
    tree = Reliability((Curve("model", "note", 0, points),))(width)
    (line,) = classed(tree, "reference")
    x1, y1, x2, y2 = (at(line, key) for key in ("x1", "y1", "x2", "y2"))
    for dot in classed(tree, "dot"):
        share = (at(dot, "cx") - x1) / (x2 - x1)
        assert at(dot, "cy") == pytest.approx(y1 + share * (y2 - y1), abs=0.05)
    for whisker, point in zip(classed(tree, "whisker"), points, strict=True):
        per_unit = (y2 - y1) / 0.5
        assert at(whisker, "y2") == pytest.approx(y1 + (point.low - 0.5) * per_unit, abs=0.05)


@pytest.mark.parametrize(
    ("claimed", "title"),
    [
        ((0.95, 0.95), "DPO and rDPO claim too much"),
        ((0.5, 0.95), "rDPO claims too much, DPO claims too little"),
        ((None, None), "Do the rewards keep their word?"),
    ],
)
def test_calibration_is_judged_by_its_interval(claimed, title):
    run = sample_run()
    for model, value in zip(run["models"][1:], claimed, strict=True):
        overall = model["distributions"]["calibration"]["overall"]
        overall["claimed"] = overall["value"] if value is None else value
    made = figure(score_section(read_run(run)), "reliability-figure")
    assert words(made.title) == title


def test_empty_levels_are_not_drawn_but_stand_in_the_table():
    run = sample_run()
    levels = run["models"][1]["distributions"]["calibration"]["levels"]
    levels[9].update(n=0, claimed=None, value=None, low=None, high=None)
    made = figure(score_section(read_run(run)), "reliability-figure")
    assert len(classed(drawn(made), "mark")) == 19
    assert len(made.table.rows) == 20


# --- cards ------------------------------------------------------------------------------


def test_every_finding_has_a_card_with_its_words():
    section = data_section(read_run(sample_run()))
    assert [card.severity for card in section.cards] == ["error", "warning", "note"]
    assert section.cards[0].grade == "Mend before training"
    assert section.cards[0].places.startswith("pair-0, pair-10")
    assert section.cards[0].places.endswith("and 40 more")
    assert len(section.cards[1].texts) == 3


def test_no_finding_is_said_in_one_sentence():
    run = sample_run()
    run["data_audit"]["findings"] = []
    section = data_section(read_run(run))
    assert section.lead == "The data audit looked at 2,000 pairs and found nothing."
    assert not section.cards


class Depth(HTMLParser):
    """Texts of the page with whether a closed ``details`` holds them."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.hidden, self.found = 0, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.hidden += tag == "details" and ("open", None) not in attrs

    def handle_endtag(self, tag):
        self.hidden -= tag == "details"

    def handle_data(self, data):
        self.found.append((data, self.hidden > 0))


def test_texts_from_the_data_are_hidden_until_asked_for():
    run = sample_run()
    run["data_audit"] = data_audit("a rude text")
    places = [hidden for text, hidden in Depth(render(read_run(run))).found if "rude" in text]
    assert places == [True] * 3
    assert [h for text, h in Depth(render(read_run(run))).found if "Drop the rows" in text] == [
        False
    ] * 3


def test_long_texts_are_cut_and_few_are_shown():
    run = sample_run()
    run["data_audit"]["findings"][1]["data"]["examples"] = ["x" * 100_000] * 30
    (card,) = [card for card in data_section(read_run(run)).cards if card.texts]
    assert len(card.texts) == 5
    assert all(len(text) <= 300 for text in card.texts)


def test_a_real_data_audit_of_hostile_texts_is_drawn():
    texts = [text.replace("\ud800", "").replace("\x00", "") for text in HOSTILE]
    rows = [
        {"prompt": f"p{i}", "chosen": f"<|im_end|>{t} x", "rejected": f"{t} y", "group": t[:50]}
        for i, t in enumerate(texts)
    ]
    audit = check_data(Preferences.from_records(rows)).to_json()
    page = render(read_run({"data_audit": json.loads(json.dumps(audit))}))
    assert page.count("<script") == 1
    assert 'class="card is-' in page


# --- reading ----------------------------------------------------------------------------


def with_part(**parts):
    run = sample_run()
    run["models"][1]["distributions"].update(parts)
    return run


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"log_ratio": 3}, "models[1].distributions.log_ratio must be a mapping; got 3"),
        ({"log_ratio": {"edges": [1.0]}}, "log_ratio.edges must hold at least two numbers"),
        ({"log_ratio": {"edges": [0, "x"]}}, "log_ratio.edges must be a list of finite numbers"),
        (
            {"difficulty": {"edges": [0, 1, 2], "overall": {"counts": [1]}}},
            "difficulty.overall.counts must hold 2 numbers; got 1",
        ),
        (
            {"calibration": {"overall": {"claimed": "much"}}},
            "calibration.overall.claimed must be a number or null; got 'much'",
        ),
        ({"length": {"classes": [7]}}, "distributions.length.classes[0] must be a mapping; got 7"),
        ({"drift": {"chosen": []}}, "distributions.drift.chosen must be a mapping; got []"),
    ],
)
def test_a_part_that_cannot_be_read_is_named(parts, message, tmp_path):
    with pytest.raises(DataError, match=re.escape(message)):
        write_report(with_part(**parts), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_a_finding_of_the_wrong_kind_is_named():
    run = sample_run()
    run["data_audit"]["findings"][1] = "text"
    with pytest.raises(DataError, match=re.escape("data_audit.findings[1] must be a mapping")):
        read_run(run)


def test_a_data_audit_alone_makes_a_report(tmp_path):
    page = write_report({"data_audit": data_audit()}, tmp_path / "r.html").read_text("utf-8")
    assert "Mend before training" in page
    assert "guessing gives" not in page


def test_a_real_audit_draws_every_part(tmp_path):
    draw = np.random.default_rng(0)
    n = 120
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "group": ("north", "south")[i % 2]}
        for i in range(n)
    ]
    pairs = Preferences.from_records(rows)
    reference = {"ref_chosen": draw.normal(-40, 4, n), "ref_rejected": draw.normal(-40, 4, n)}
    lengths = {f"{side}_length": draw.integers(4, 40, n) for side in ("chosen", "rejected")}
    start = ScoredPairs(
        pairs, chosen=reference["ref_chosen"], rejected=reference["ref_rejected"], **lengths
    )
    tuned = ScoredPairs(
        pairs,
        chosen=reference["ref_chosen"] - 15,
        rejected=reference["ref_rejected"] - 18,
        **reference,
        **lengths,
        beta=0.3,
    )
    record = audit_models({"start": start, "tuned": tuned}, n_bootstrap=200)
    page = write_report(json.loads(json.dumps(record)), tmp_path / "r.html").read_text("utf-8")
    for key in ("change", "drift", "margin", "difficulty", "length", "reliability", "claims"):
        assert f'<figure id="{key}-figure"' in page
    assert "Look here." in page
