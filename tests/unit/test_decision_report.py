"""The page of a decision: what it draws follows from the record, whatever the record lacks."""

import re
from xml.etree import ElementTree

import pytest

from pluralign import DataError
from pluralign.audit.disagreement import disagreement
from pluralign.audit.report.decision import render_decision

GROUPS = ["seniors", "<script>hacked=1</script>"]
TRACE = [
    {"event": "opening", "round": 0, "group": "seniors", "choice": ["ramp"]},
    {"event": "proposal", "round": 1, "choice": ["ramp", "tree"], "accepts": ["seniors"]},
    {"event": "counter", "round": 1, "group": "seniors", "drop": 0, "add": 2},
    {"event": "agreement", "round": 2, "utilities": [3.0, 2.0]},
]
RECORD = {
    "title": "Streets",
    "chosen": "negotiate",
    "before": {"utilities": [1.0, 1.0]},
    "decisions": [
        {
            "concept": "negotiate",
            "groups": GROUPS,
            "choice": ["ramp", "tree"],
            "utilities": [3.0, 2.0],
            "normalised": [1.0, 0.5],
            "cost": 4.0,
            "budget": 5.0,
            "measures": {"total": 5.0, "worst": {"group": GROUPS[1], "value": 2.0}, "gini": 0.1},
            "trace": TRACE,
        },
        {"concept": "nash", "groups": GROUPS, "utilities": [4.0, 1.5]},
    ],
}


def page(record, told=None):
    return re.sub("[\u2068\u2069]", "", render_decision(record, told))


def marks(text, key):
    start = text.index("<svg", text.index(f'<figure id="{key}"'))
    drawing = ElementTree.fromstring(text[start : text.index("</svg>", start) + 6])
    found = drawing.iter("{http://www.w3.org/2000/svg}g")
    return [node for node in found if node.get("class") == "mark"]


def test_every_group_has_a_mark_for_every_rule():
    tips = [mark[0].text for mark in marks(page(RECORD), "utilities-figure")]
    assert len(tips) == 4
    assert tips[0].endswith("negotiate\n3, from 1")
    assert tips[3].endswith("nash\n1.5, from 1")


def test_names_are_shown_and_never_run():
    text = page(RECORD)
    assert "<script>hacked" not in text
    assert "&lt;script&gt;hacked=1" in text


def test_the_timeline_tells_rounds_in_order():
    text = page(RECORD)
    said = ["What each group asks for", "1 of 2 groups accept", "All groups accept"]
    places = [text.index(part) for part in said]
    assert places == sorted(places)
    assert "Counter-offer of seniors: item 0 out, item 2 in." in text
    named = page({**RECORD, "problem": {"items": ["ramp", "tree", "kerb"]}})
    assert "Counter-offer of seniors: ramp out, kerb in." in named
    assert "\\u2068" not in named


def test_disagreement_has_a_mark_for_each_group_and_criterion():
    ratings = [[[1, 2], [3, 1], [2, 2]], [[4, 2], [1, 3], [2, 1]], [[2, 2], [2, 2], [1, 1]]]
    found = disagreement(ratings, groups=("a", "b", "c"), criteria=("x", "y"), n_permutations=99)
    text = page(RECORD, found.to_json())
    assert len(marks(text, "disagreement-figure")) == 6
    assert text.count("farthest") >= 2


def test_a_record_without_decisions_or_with_ragged_ones_is_refused():
    with pytest.raises(DataError, match="needs 'decisions'"):
        render_decision({})
    ragged = {"decisions": [{"concept": "nash", "groups": GROUPS, "utilities": [1.0]}]}
    with pytest.raises(DataError, match=r"decisions\[0\].utilities must be 2 numbers"):
        render_decision(ragged)


def test_no_agreement_is_said():
    one = {**RECORD["decisions"][0], "status": "disagreement", "trace": []}
    assert "No package leaves every group" in page({"decisions": [one]})
