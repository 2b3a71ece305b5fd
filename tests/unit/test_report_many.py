"""Many groups in the report: ranked without luck, named with allowance for their number."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pluralign import Preferences, ScoredPairs
from pluralign.audit.record import audit_models
from pluralign.audit.report.by_group import groups_section
from pluralign.audit.report.changes import changes_section
from pluralign.audit.report.reading import read_run
from pluralign.errors import DataError

SVG = "{http://www.w3.org/2000/svg}"
SIZES = {"lucky": 8} | {f"g{i:02d}": 200 for i in range(20)} | {"left out": 200}


def outcomes(shares, seed):
    """0/1 outcomes with exact shares in each group, in random order."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.arange(n) < round(shares(name) * n)) for name, n in SIZES.items()]
    return np.concatenate(parts).astype(float)


@pytest.fixture(scope="module")
def run():
    names = [name for name, n in SIZES.items() for _ in range(n)]
    size = len(names)
    pairs = Preferences(
        prompt=["p"] * size, chosen=["a"] * size, rejected=["b"] * size, group=names
    )

    def scored(values):
        return ScoredPairs(pairs, chosen=values, rejected=np.full(size, 0.5))

    start = {"lucky": 0.375, "left out": 0.45}
    before = outcomes(lambda name: start.get(name, 0.7), 0)
    after = before.copy()
    gained = np.flatnonzero((np.array(names) == "g03") & (before == 0))[:30]
    after[gained] = 1.0
    few = np.flatnonzero((np.array(names) == "g07") & (before == 0))[:6]
    after[few] = 1.0  # six of six: told by itself, not among 21 groups
    record = audit_models({"start": scored(before), "tuned": scored(after)}, n_bootstrap=500)
    return record


def rows_of(figure):
    """Rows of the wide drawing by name."""
    found = {}
    for node in ElementTree.fromstring(str(figure.wide)).iter():
        if "row" in (node.get("class") or "").split():
            found[next(node.iter(f"{SVG}text")).text.strip("\u2068\u2069")] = node
    return found


def test_the_group_that_heads_the_list_is_the_one_more_is_known_against(run):
    (figure, *_) = groups_section(read_run(run)).figures
    said = " ".join(figure.caption)
    names = list(rows_of(figure))
    assert (names[0], names[1]) == ("left out", "lucky")
    assert "has the lowest plain share, but of 8 pairs only" in said
    tips = [node.text for node in rows_of(figure)["lucky"].iter() if node.tag.endswith("title")]
    assert len(tips) == 2
    assert all("drawn towards the others" in tip for tip in tips)


def test_only_groups_that_stay_different_among_many_are_named(run):
    (figure, *_) = groups_section(read_run(run)).figures
    told = [part for part in figure.caption if part.startswith("Allowing for")]
    assert len(told) == 2
    start, tuned = (part.replace("\u2068", "").replace("\u2069", "") for part in told)
    said = {text.split("looked at, ")[1].split(" than")[0] for text in (start, tuned)}
    assert said == {"start serves left out worse", "tuned serves left out worse and g03 better"}
    assert "Of groups so named, 5 % are expected" in tuned.replace("\u202f", " ")
    assert "lucky" not in start + tuned


def test_models_of_which_the_same_is_told_share_a_sentence(run):
    twice = {"models": [run["models"][0], {**run["models"][0], "name": "b", "title": "b"}]}
    (figure, *_) = groups_section(read_run(twice)).figures
    told = [part for part in figure.caption if part.startswith("Allowing for")]
    assert len(told) == 1
    assert "start and b serve left out worse than" in re.sub("[\u2068\u2069]", "", told[0])


def test_changes_are_called_so_with_allowance_for_their_number(run):
    (figure, *_) = changes_section(read_run(run)).figures
    frame = run["comparisons"][0]["frame"]
    tests = {one["name"]: one for one in frame["tests"]["groups"]}
    assert tests["g07"]["p_value"] == pytest.approx(2 / 2**6)
    assert tests["g07"]["adjusted"] > 0.05
    rows = rows_of(figure)
    assert any("hollow" in (node.get("class") or "") for node in rows["g07"].iter())
    assert not any("hollow" in (node.get("class") or "") for node in rows["g03"].iter())
    said = " ".join(figure.caption).replace("\u2068", "").replace("\u2069", "")
    assert "tuned serves 1 better (g03) than start" in said
    assert "allowing for the number of groups" in said


def test_the_tables_hold_what_the_order_is_from(run):
    figures = groups_section(read_run(run)).figures
    table = figures[0].table
    place = table.head.index("drawn")
    shrunk = {one["name"]: one for one in run["models"][0]["frames"]["ranking_accuracy"]["shrunk"]}
    row = next(row for row in table.rows if row[0].text == "start" and row[2].text == "lucky")
    assert float(row[place].raw) == shrunk["lucky"]["value"]
    assert float(row[place + 1].raw) == shrunk["lucky"]["low"]
    assert table.head[-1] == "adjusted p"


def test_records_without_them_are_drawn_as_before(run):
    old = {"models": [dict(run["models"][0])], "comparisons": []}
    frames = old["models"][0]["frames"]
    old["models"][0]["frames"] = {
        key: {k: v for k, v in frame.items() if k not in ("shrunk", "tests")}
        for key, frame in frames.items()
    }
    (figure, *_) = groups_section(read_run(old)).figures
    assert "ordered by the lowest mark" in " ".join(figure.caption)
    assert figure.table.head[-1] == "high"
    broken = {"models": [{"name": "m", "frames": {"ranking_accuracy": {"shrunk": [3]}}}]}
    with pytest.raises(DataError, match=r"frames\.ranking_accuracy\.shrunk\[0\]"):
        read_run(broken)
