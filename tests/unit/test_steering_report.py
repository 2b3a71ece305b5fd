"""The report of a steering run: every number from the record, texts escaped, faults named."""

import copy
import re
from xml.etree import ElementTree

import pytest

from pluralign.audit.report import write_steering_report
from pluralign.audit.report.scales import alike, number, ticks_alike
from pluralign.audit.report.steering import render_steering
from pluralign.audit.report.steering_map import DirectionMap
from pluralign.audit.report.steering_reading import Wins, read_steering
from pluralign.audit.report.steering_wins import Bar, WinBars
from pluralign.audit.report.steering_words import headline
from pluralign.errors import DataError


def target(angle, gain, **others):
    low, high = gain - 0.05, gain + 0.05
    return {
        "angle": angle,
        "direction": [0.9, 0.4],
        "scheme": "toward",
        "neighbours": [0.0, -5.0],
        "n_prompts": 200,
        "n_failed": 0,
        "rps": {"mean": 1.0 + gain, "low": 0.9 + gain, "high": 1.1 + gain},
        "baseline": {"mean": 1.0, "low": 0.9, "high": 1.1},
        "gain": {"value": gain, "low": low, "high": high},
        "wins": {"win": 120, "tie": 20, "loss": 60, "rate": 2 / 3, "low": 0.59, "high": 0.73},
        "independent": None,
        "length": {"rps": 20.0, "baseline": 21.0},
        "generations": {"rps": 1000, "baseline": 1000},
        "chosen_angles": {"0": 40, "-5": 160},
        "neighbour_means": [
            {"angle": 0.0, "mean": 0.8, "se": 0.01},
            {"angle": -5.0, "mean": 0.9, "se": 0.02},
        ],
        "one_sided": "",
        "groups": [],
        **others,
    }


def record(*targets, **others):
    return {
        "kind": "steering",
        "title": "A trial",
        "created": "2026-01-02T03:04:05+00:00",
        "attributes": ["helpful", "brief"],
        "trained": [[1.0, 0.0], [0.7071, -0.7071]],
        "scorer": "own reward",
        "independent_scorer": None,
        "targets": list(targets),
        **others,
    }


def said(run):
    line, details = headline(read_steering(run))
    return line, " ".join(details)


@pytest.mark.parametrize(
    ("gains", "line"),
    [
        ((0.2, 0.3), "Steering raised the score in 2 of 2 directions"),
        ((0.2, 0.01), "Steering raised the score in 1 of 2 directions"),
        ((-0.2, 0.01), "Steering lowered the score in 1 of 2 directions"),
        ((0.01, -0.01), "No gain from steering can be told from chance in 2 directions"),
        ((0.01,), "No gain from steering can be told from chance in 1 direction"),
    ],
)
def test_the_headline_counts_what_intervals_tell(gains, line):
    run = record(*(target(10.0 * i, gain) for i, gain in enumerate(gains)))
    assert said(run)[0] == line


def test_losses_costs_and_the_diagnosis_are_told_beside_gains():
    unequal = target(20.0, -0.2, generations={"rps": 1000, "baseline": 600})
    run = record(target(10.0, 0.2), unequal, coverage_gain=[{"helps": True}, {"helps": False}])
    _, details = said(run)
    assert "In 1 direction it was lower." in details
    assert "generated 2,000 candidates, the baseline 1,600" in details
    assert "did not cost the same" in details
    assert "no neighbour scored better than the target at 20°" in details
    assert "No independent scorer judged" in details
    assert "Each arm generated 1,000 candidates." in said(record(target(10.0, 0.2)))[1]


def test_an_independent_scorer_is_counted_and_named():
    judged = {**target(0.0, 0.01), "n": 200, "correlation": 0.3}
    run = record(
        target(10.0, 0.2, independent=judged),
        target(20.0, 0.2, independent={**judged, "gain": {"value": 0.3, "low": 0.1, "high": 0.5}}),
        independent_scorer="relevance of the answer to its prompt",
    )
    assert "it is higher in 1 of 2 directions" in said(run)[1]
    page = render_steering(read_steering(run))
    assert "10° · independent" in page
    assert "The independent scorer is \u2068relevance of the answer to its prompt\u2069." in page
    assert "\\u2068" not in page  # marks of isolation are invisible, never written out


def test_words_that_may_explain_a_gain_are_told():
    page = render_steering(
        read_steering(
            record(
                target(10.0, 0.2, length={"rps": 40.0, "baseline": 20.0}),
                target(20.0, 0.2, one_sided="all turned to one side"),
            )
        )
    )
    assert "At 10° the chosen answers have 40.0 words against 20.0" in page
    assert "At 20°: all turned to one side" in page
    assert "At 20° the chosen answers" not in page


def test_groups_that_lose_are_in_the_title():
    part = {"name": "north", "n": 90, "gain": -0.2, "low": -0.3, "high": -0.1}
    other = {**part, "name": "south", "gain": 0.2, "low": 0.1, "high": 0.3}
    page = render_steering(read_steering(record(target(10.0, 0.1, groups=[part, other]))))
    assert "Some direction serves \u2068north\u2069 worse" in page
    assert "Whom does each direction serve?" in page
    unclear = {**part, "high": 0.1}
    page = render_steering(read_steering(record(target(10.0, 0.1, groups=[unclear, other]))))
    assert "No group is served worse beyond chance" in page
    assert "Whom does each" not in render_steering(read_steering(record(target(10.0, 0.1))))


def rows_of(page, name):
    """The table behind a figure as lists of texts."""
    found = next(part for part in page.split("<table")[1:] if name in part.partition("</table>")[0])
    body = found.partition("</table>")[0]
    lines = re.findall(r"<tr>(.*?)</tr>", body, flags=re.S)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, flags=re.S) for line in lines]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in line] for line in cells]


def test_the_table_behind_the_map_holds_the_record():
    page = render_steering(read_steering(record(target(-20.0, 0.25), target(45.0, -0.125))))
    rows = rows_of(page, "scheme")
    first, second = (next(row for row in rows if row[0] == name) for name in ("−20°", "45°"))
    assert first[1:10] == ["toward", "200", "1.25", "1.15", "1.35", "1", "0.9", "1.1", "+0.25"]
    assert second[9] == "−0.125"


def test_three_attributes_have_rows_instead_of_a_map():
    three = {**target(0.0, 0.2), "angle": None, "direction": [0.6, 0.0, 0.8]}
    run = record(three, attributes=["a", "b", "c"], trained=None)
    page = render_steering(read_steering(run))
    assert "Score by target" in page
    assert "\\u2068" not in page
    assert any(row[0] == "(0.6, 0, 0.8)" for row in rows_of(page, "scheme"))
    assert "its weights of \u2068a\u2069, \u2068b\u2069 and \u2068c\u2069, in this order" in page


def test_numbers_beside_each_other_have_equally_many_decimals():
    gain = {"value": 0.241, "low": 0.2313, "high": 0.2503}
    run = record(target(10.0, 0.2), overall={"gain": gain})
    assert "changes by +0.241 (+0.231 to +0.250) against" in said(run)[1]
    assert [alike([9.96, -0.2, None])(v) for v in (9.96, -0.2, None)] == ["9.96", "−0.20", "–"]
    assert [alike([119.19])(v) for v in (119.19, 3.0)] == ["119", "3"]
    assert [alike([1.054, 1.086])(v) for v in (1.054, 1.086)] == ["1.054", "1.086"]
    assert [alike([2e-9])(v) for v in (2e-9, 0.0)] == [number(2e-9), "0"]
    assert alike([])(1.0) == "1.00"
    assert [ticks_alike((0.8, 1.0, 1.2))(v) for v in (0.8, 1.0)] == ["0.8", "1.0"]
    assert [ticks_alike((0.0, 2000.0))(v) for v in (0.0, 2000.0)] == ["0", "2,000"]
    parts = [
        {"name": name, "n": 9, "gain": value, "low": value - 1, "high": value + 1}
        for name, value in (("north", 0.22), ("south", 0.2044), ("east", -0.009))
    ]
    page = render_steering(read_steering(record(target(10.0, 0.1, groups=parts))))
    for text in (">+0.220<", ">+0.204<", ">−0.009<"):
        assert text in page


def test_marks_stand_where_the_scores_are():
    run = read_steering(record(target(-20.0, 0.0), target(10.0, 0.2), target(40.0, 0.4)))
    drawing = DirectionMap(run.targets, run.cone)(840.0)
    steered, baseline = (
        [tuple(map(float, point.split(","))) for point in curve.get("points").split()]
        for curve in drawing.iter("polyline")
    )
    xs = [x for x, _ in steered]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    heights = [below - y for (_, y), (_, below) in zip(steered, baseline, strict=True)]
    assert heights[0] == pytest.approx(0, abs=0.2)
    assert heights[2] == pytest.approx(2 * heights[1], abs=0.3)
    assert heights[1] > 10


@pytest.mark.parametrize("width", [344.0, 840.0])
def test_the_name_of_the_shaded_angles_is_clear_of_every_mark(width):
    run = read_steering(record(target(-20.0, 0.9), target(-10.0, 0.9), target(30.0, 0.0)))
    drawing = DirectionMap(run.targets, run.cone)(width)
    named = [text for text in drawing.iter("text") if text.text == "trained directions"]
    (baseline,) = (float(text.get("y")) for text in named)
    groups = [group for group in drawing.iter("g") if group.get("class") == "mark"]
    marks = [float(dot.get("cy")) for group in groups for dot in group.iter("circle")]
    whiskers = [
        min(float(line.get("y1")), float(line.get("y2")))
        for line in drawing.iter("line")
        if "whisker" in line.get("class")
    ]
    assert min(marks) - 4.5 > baseline
    assert min(whiskers) > baseline


def test_the_cone_is_shaded_from_first_to_last_trained_direction():
    run = read_steering(record(target(10.0, 0.2)))
    assert run.cone == pytest.approx((-45.0, 0.0), abs=0.01)
    wide = read_steering(record(target(10.0, 0.2), trained=[[-1.0, 0.1], [-1.0, -0.1]]))
    low, high = wide.cone  # across the end of the angles' range: no cone of 348 degrees
    assert high - low == pytest.approx(11.42, abs=0.01)
    assert read_steering(record(target(10.0, 0.2), trained=None)).cone is None


def test_bars_are_as_long_as_their_shares():
    wins = Wins(30, 10, 60, read_steering(record(target(1.0, 0.0))).targets[0].outcome.gain)
    drawing = WinBars((Bar("10°", "", wins),))(840.0)
    widths = [
        float(rect.get("width")) for rect in drawing.iter("rect") if "bar" in rect.get("class")
    ]
    total = sum(widths[-3:])
    assert [w / total for w in widths[-3:]] == pytest.approx([0.3, 0.1, 0.6], abs=1e-3)


def test_examples_and_names_cannot_become_markup():
    hostile = "<script>window.hacked=1</script>"
    example = {
        "prompt": hostile,
        "target": 0,
        "rps": hostile,
        "baseline": "\u202eplain",
        "scores": {"rps": 1.5, "baseline": None},
    }
    run = record(
        target(10.0, 0.1, one_sided=hostile),
        title=hostile,
        attributes=[hostile, "brief"],
        scorer=hostile,
        examples=[example],
    )
    page = render_steering(read_steering(run))
    assert "<script>window" not in page
    assert page.count("<script") == 1
    assert "\u202e" not in page
    assert "score 1.5" in page


def test_what_is_absent_is_left_out_and_the_page_is_one_file(tmp_path):
    bare = {"angle": 20.0, "direction": [0.9, 0.3]}
    run = {"kind": "steering", "attributes": ["a", "b"], "targets": [bare]}
    path = write_steering_report(run, tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    for part in ("How often the steered", "Are the neighbours", "What do the answers"):
        assert part not in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.lower().replace("finance", "")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("kind",), "run", "needs kind 'steering'"),
        (("targets",), [], "one or more 'targets'"),
        (("targets",), {"a": 1}, "targets"),
        (("attributes",), "helpful", "attributes must be a list"),
        (("trained",), [[1.0]], r"trained\[0\] must have 2 numbers"),
        (("trained",), [[1.0, None]], r"trained\[0\] must hold finite numbers"),
        (("targets", 0, "gain"), 3, r"targets\[0\]\.gain"),
        (("targets", 0, "angle"), "north", r"targets\[0\]\.angle"),
        (("targets", 0, "direction"), "north", r"targets\[0\]\.direction"),
        (("targets", 0, "chosen_angles"), {"north": 3}, "must have angles as keys"),
        (("targets", 0, "groups"), [3], r"targets\[0\]\.groups"),
    ],
)
def test_a_wrong_record_is_refused_by_place(place, value, message):
    run = copy.deepcopy(record(target(10.0, 0.1)))
    inner = run
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(DataError, match=message):
        read_steering(run)
