"""The page of groups and domains: what it says, and what it refuses."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from groups_sample import densities, domains, drifts, groups_record, strengths
from pluralign import DataError, ParameterError
from pluralign.audit.densities import cell_densities
from pluralign.audit.domains import domain_table
from pluralign.audit.report import write_groups_report
from pluralign.learn.tabular_strength import StrengthTable


def page(tmp_path, **parts):
    return write_groups_report(groups_record(**parts), tmp_path / "p.html").read_text("utf-8")


def test_it_says_the_price_of_the_chosen_strength(tmp_path):
    rows = [(0, 0.10, 0.04), (5, 0.101, 0.01), (50, 0.12, 0.008)]
    table = StrengthTable.measure(
        lambda s, _: next((score, jsd, 0.0) for at, score, jsd in rows if at == s), [0, 5, 50], [0]
    )
    useless = StrengthTable.measure(lambda s, _: (0.1 + s, 0.04, 0.0), [0, 5], [0])
    records = [
        useless.record("sum_marginal", chosen=5.0),  # the headline is of the one that helps most
        table.record("ccdcov", score="RPS", chosen=5, rule="hand"),
    ]
    text = page(tmp_path, strength=records)
    assert "At strength 5 \u2068ccdcov\u2069 leaves 75.0\u202f% less dependence" in text
    assert "for a loss 1.0\u202f% higher" in text
    assert "chosen by hand" in text
    assert table.record("x")["rule"] == "the elbow"
    with pytest.raises(ParameterError, match="chosen must be one of the strengths"):
        table.record("x", chosen=7.0)


def test_each_part_may_stand_alone(tmp_path):
    parts = {"strength", "densities", "domains", "weight_drift"}
    for part in parts:
        others = dict.fromkeys(parts - {part})
        assert page(tmp_path, **others).count("<figure") == 1
    with pytest.raises(DataError, match="needs one of strength, densities, domains, weight_drift"):
        write_groups_report({"title": "nothing"}, tmp_path / "p.html")


def test_the_heads_of_the_worst_off_domain(tmp_path):
    right = [[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]]
    table = domain_table(right, ["a", "a", "b", "b"], ["first", "second", "shared"])
    assert table["rows"][1]["values"] == [0.0, 0.5, 0.5]
    text = page(tmp_path, domains=table)
    assert "\u2068shared\u2069 does best by the worst-off domain, 50.0\u202f%" in text
    with pytest.raises(DataError, match=r"\(columns, rows\) = \(2, 4\); got \(3, 4\)"):
        domain_table(right, ["a", "a", "b", "b"], ["first", "second"])


def test_a_density_integrates_to_one_and_means_are_means():
    rng = np.random.default_rng(0)
    values, cells = rng.normal(size=300), rng.choice(["a", "b"], 300)
    found = cell_densities({"one": values, "two": 2 * values}, cells, bandwidth=0.2, points=400)
    step = found["points"][1] - found["points"][0]
    for one, scale in zip(found["series"], (1, 2), strict=True):
        for cell in one["cells"]:
            part = values[cells == cell["name"]]
            assert sum(cell["density"]) * step == pytest.approx(1, abs=0.02)
            assert cell["mean"] == pytest.approx(scale * part.mean())
            assert cell["n"] == len(part)
    at, height = found["points"][200], found["series"][0]["cells"][0]["density"][200]
    part = values[cells == "a"]
    kernel = np.exp(-0.5 * ((part - at) / 0.2) ** 2) / (0.2 * math.sqrt(2 * math.pi))
    assert height == pytest.approx(kernel.mean())
    alone = cell_densities({"one": [3.0, 3.0]}, "ab")
    assert alone["points"][0] < 3 < alone["points"][-1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cell_densities({}, "ab"), DataError, "at least one model"),
        (lambda: cell_densities({"m": [1.0]}, "ab"), DataError, "must be equal"),
        (lambda: cell_densities({"m": [1.0, math.nan]}, "ab"), DataError, "row 1 is not finite"),
        (lambda: cell_densities({"m": [1.0, 2.0]}, "ab", points=5), ParameterError, "points must"),
        (lambda: cell_densities({"m": [1.0]}, "a", bandwidth=-1), ParameterError, "bandwidth must"),
    ],
)
def test_what_densities_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def spoiled(part, path, value):
    """A part of the record with one value replaced."""
    made = {
        "strength": strengths,
        "densities": densities,
        "domains": domains,
        "weight_drift": drifts,
    }[part]()
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return {part: made}


@pytest.mark.parametrize(
    ("part", "path", "value", "message"),
    [
        ("strength", [0, "rows"], [], r"strength\[0\].rows is empty"),
        ("strength", [0, "rows", 1, "jsd"], "low", r"strength\[0\].rows\[1\].jsd must be a number"),
        ("strength", [0, "rows", 1, "strength"], None, r"rows\[1\].strength is missing"),
        ("densities", ["points"], [0.1], "2 or more"),
        ("densities", ["points"], "wide", "densities.points must be a list of numbers"),
        ("densities", ["series", 0, "cells", 1, "density"], [1.0], "must have 120 numbers"),
        ("domains", ["rows", 0, "values"], [0.5], r"domains.rows\[0\].values must be 6 numbers"),
        ("domains", ["columns"], [], "needs 'columns' and 'rows'|must be 0 numbers"),
        ("weight_drift", [0, "points", 1], [1.0], r"points\[1\] must be \[update, distance\]"),
        ("weight_drift", [0, "points"], [[0.0, 1.0]], "no update from 1 on"),
        ("weight_drift", [0, "fit"], [1], r"weight_drift\[0\].fit must be a mapping"),
    ],
)
def test_what_the_page_refuses(tmp_path, part, path, value, message):
    with pytest.raises(DataError, match=message):
        page(tmp_path, **spoiled(part, path, value))


def test_missing_values_are_drawn_as_missing(tmp_path):
    record = groups_record()
    record["domains"]["rows"][0]["values"][1] = None
    record["strength"][0]["rows"][2]["jsd"] = None
    record["densities"]["series"][1]["cells"].pop()
    record["weight_drift"][0]["fit"] = {}
    text = write_groups_report(record, tmp_path / "p.html").read_text("utf-8")
    assert text.count("<figure") == 4
    assert "nan" not in text.lower().replace("finance", "")
