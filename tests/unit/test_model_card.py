"""The model card: figures as the audit has them, texts of the data as text, limits said."""

import copy
import re
import sys
from pathlib import Path

import pytest
import yaml

from pluralign import DataError
from pluralign.audit.model_card import escaped, model_card

sys.path.insert(0, str(Path(__file__).parents[1]))

from report_sample import HOSTILE, sample_run

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def run():
    record = sample_run()
    record["base"] = {"name": "models/tiny", "packaged": False, "sft": False, "lora_rank": 8}
    return record


def last(run):
    return run["models"][-1]["name"]


def parts(card):
    """Metadata as values, and the text below it."""
    _, head, body = card.split("---\n", 2)
    return yaml.safe_load(head), body


def table(body, heading):
    """Rows of the first table below a heading."""
    section = body.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_groups_and_intervals_are_those_of_the_audit_worst_first(run):
    _, body = parts(model_card(run, last(run)))
    frame = run["models"][-1]["frames"]["ranking_accuracy"]
    rows = table(body, "Whom it serves")
    assert [row[0] for row in rows] == [*(g["name"] for g in frame["groups"]), "all pairs"]
    for row, cell in zip(rows, [*frame["groups"], frame["overall"]], strict=True):
        assert row[1] == str(cell["n"])
        assert float(row[2].split()[0]) == pytest.approx(100 * cell["value"], abs=0.051)
        low, high = (float(part) for part in row[3].strip("[]").split(","))
        assert low == pytest.approx(100 * cell["low"], abs=0.051)
        assert high == pytest.approx(100 * cell["high"], abs=0.051)
    assert f"worst-off group, {frame['groups'][0]['name']}" in body


def test_paired_differences_are_to_the_model_that_the_run_started_from(run):
    first, name = run["models"][0]["name"], last(run)
    found = next(c for c in run["comparisons"] if (c["a"], c["b"]) == (name, first))
    cells = {cell["name"]: cell for cell in found["frame"]["groups"]}
    for row in table(parts(model_card(run, name))[1], "Whom it serves")[:-1]:
        assert float(row[4].split()[0]) == pytest.approx(100 * cells[row[0]]["value"], abs=0.051)
    _, body = parts(model_card(run, first))
    assert "minus" not in body.split("## Data")[0]


def test_metadata_are_those_of_the_hub(run):
    data, _ = parts(model_card(run, last(run)))
    assert data["base_model"] == "tiny"
    assert data["library_name"] == "peft"
    assert {"pluralign", "preference-tuning"} <= set(data["tags"])
    card = huggingface_hub.ModelCard(model_card(run, last(run)))
    assert card.data.base_model == "tiny"
    run["base"] = {"name": None, "sft": True, "lora_rank": None}
    data, body = parts(model_card(run, last(run)))
    assert "base_model" not in data
    assert data["library_name"] == "transformers"
    assert "a small model trained from scratch, fine-tuned on demonstrations" in body


def test_noise_is_set_against_what_was_assumed(run):
    run["models"][-1]["objective"] = {"name": "RDPO", "flip_rate": "per_pair"}
    _, body = parts(model_card(run, last(run)))
    for row, rate in zip(table(body, "Noise in the labels"), run["noise"], strict=True):
        assert row[0] == rate["group"]
        shown = [row[3], row[5]]
        for text, value in zip(shown, [rate["estimate"], rate["assumed"]], strict=True):
            assert text == "–" if value is None else f"{100 * value:.1f} %"
    assert "did not use them" not in body
    run["models"][-1]["objective"] = {"name": "DPO"}
    assert "This objective did not use them" in model_card(run, last(run))
    run["noise"], run["models"][-1]["objective"] = [], {"name": "RDPO", "flip_rate": 0.1}
    assert "was not estimated. The objective assumed 0.1." in model_card(run, last(run))


def test_limits_name_small_and_single_groups(run):
    frame = run["models"][-1]["frames"]["ranking_accuracy"]
    assert "little is known" not in model_card(run, last(run))
    frame["groups"][1]["n"] = 12
    small = frame["groups"][1]["name"]
    assert f"Fewer than 30 held-out pairs, little is known: {small}." in model_card(run, last(run))
    frame["groups"] = frame["groups"][:1]
    card = model_card(run, last(run))
    assert "All pairs are of one group" in card
    assert "in the worst-off group" not in card
    assert "Gap between" not in card


def test_a_group_without_pairs_has_a_dash(run):
    frame = run["models"][-1]["frames"]["ranking_accuracy"]
    empty = {"name": "nobody", "n": 0, "value": None, "low": None, "high": None, "flag": "empty"}
    frame["groups"].append(empty)
    rows = table(parts(model_card(run, last(run)))[1], "Whom it serves")
    assert rows[-2][:4] == ["nobody", "0", "–", ""]


@pytest.mark.parametrize("text", [*HOSTILE, "a|b\n| c |", "---\nlicense: mit", "[x](http://e.org)"])
def test_texts_of_the_data_stay_text(run, text):
    plain = model_card(run, last(run))
    run = copy.deepcopy(run)
    name = last(run)
    run["title"] = text
    run["data"]["source"] = text
    run["base"]["name"] = text
    group = run["models"][-1]["frames"]["ranking_accuracy"]["groups"][0]
    group["name"] = text
    run["data"]["groups"] = {text: 3}
    card = model_card(run, name)
    data, body = parts(card)
    assert set(data) <= {"base_model", "library_name", "pipeline_tag", "tags"}
    assert len(table(body, "Whom it serves")) == len(table(parts(plain)[1], "Whom it serves"))
    assert all(len(row) == 5 for row in table(body, "Whom it serves"))
    assert body.count("\n## ") == plain.count("\n## ")
    assert not re.search(r"(?<!\\)<|(?<!\\)\]\(|https?://", body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flip_rate of 2.5 at 12:30", "flip_rate of 2.5 at 12:30"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
        ("a|b", r"a\|b"),
        ("http://e.org www.e.org", r"http\://e.org www\.e.org"),
        ("&lt; & c", r"\&lt; & c"),
        ("line\nnext", "line next"),
    ],
)
def test_escaping(text, expected):
    assert escaped(text) == expected


def test_paths_of_a_machine_are_left_out(run):
    run["data"]["source"] = "/srv/secret/place/pairs.jsonl"
    run["provenance"]["command"] = "pluralign run /srv/secret/place/r.yaml"
    card = model_card(run, last(run))
    assert "secret" not in card
    assert "pairs.jsonl" in card


def test_what_the_check_of_the_data_found_is_told(run):
    grave = [f for f in run["data_audit"]["findings"] if f["severity"] != "note"]
    assert grave
    _, body = parts(model_card(run, last(run)))
    for finding in grave:
        assert f"- {escaped(finding['title'])}: " in body


def test_an_unknown_model_is_refused(run):
    with pytest.raises(DataError, match="no model 'absent'"):
        model_card(run, "absent")
    run["models"][0]["frames"] = {}
    with pytest.raises(DataError, match="no ranking accuracy"):
        model_card(run, run["models"][0]["name"])


def test_a_single_pair_is_not_named_worst_off(run):
    """As in the frame itself: first in the table, but nothing is said of its group."""
    frame = run["models"][-1]["frames"]["ranking_accuracy"]
    alone = {
        **frame["groups"][0],
        "name": "hermit",
        "n": 1,
        "value": 0.0,
        "low": None,
        "high": None,
    }
    frame["worst"] = frame["groups"][0]["name"]
    frame["groups"].insert(0, alone)
    _, body = parts(model_card(run, last(run)))
    assert f"worst-off group, {frame['worst']}" in body
    assert "worst-off group, hermit" not in body
