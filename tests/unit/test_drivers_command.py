"""``pluralign drivers`` and its page: what is found is in the record, what is wrong is told."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign import DataError
from pluralign.audit.report.drivers import render_drivers
from pluralign.learn.drivers import ChoiceDrivers, driver_report

ROOT = Path(__file__).parents[2]


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pluralign.cli", "drivers", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def table(path, rows=120):
    """Buyers whose brand follows the price alone; ``pages`` says the price again."""
    draw = np.random.default_rng(0)
    price, size = draw.normal(size=(2, rows))
    pages = price + 0.01 * draw.normal(size=rows)
    share = 1 / (1 + np.exp(-3 * price))
    lines = ["buyer,brand,share,price,size,pages"]
    for i in range(rows):
        brand = "dear" if draw.random() < share[i] else "cheap"
        lines.append(f"{i // 2},{brand},{share[i]:.4f},{price[i]:.4f},{size[i]:.4f},{pages[i]:.4f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def buyers(tmp_path_factory):
    return table(tmp_path_factory.mktemp("choices") / "buyers.csv")


def test_a_table_is_read_fitted_tested_and_drawn(buyers, tmp_path):
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    options = ["--outcome", "brand", "--unit", "buyer", "--leave-out", "share"]
    result = call(buyers, *options, "--report", page, "--output", record)
    assert result.returncode == 0, result.stderr
    told = json.loads(record.read_text())
    # Of two columns that say the same one is left out, with the other named.
    (left_out,) = told["dropped"]
    assert {left_out["name"], left_out["partner"]} == {"price", "pages"}
    first = max(told["drivers"], key=lambda one: abs(one["contrast"]))
    assert first["column"] == left_out["partner"]
    assert first["frequency"] == 1.0
    assert f"left out: {left_out['name']}" in result.stdout
    assert told["tests"]["min"]["accuracy"] > told["tests"]["min"]["majority_accuracy"]
    text = page.read_text()
    assert "What goes with brand" in text
    assert "pluralign drivers" in text


def test_classes_parameters_and_json(buyers):
    options = ["--outcome", "share", "--classes", "thirds", "--leave-out", "brand", "--json"]
    result = call(buyers, *options, "--set", "rule=min", "--set", "vif_threshold=null")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["labels"] == [0, 1, 2]
    assert told["rule"] == "min"
    assert told["dropped"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--outcome", "brnd"], "no column 'brnd'; did you mean 'brand'"),
        (["--outcome", "brand", "--set", "alhpa=1"], "did you mean 'alpha'"),
        (["--outcome", "brand", "--set", "alpha=0"], "ChoiceDrivers.alpha must be"),
        (["--outcome", "brand", "--classes", "halves"], "classes 'halves' is unknown"),
        (["--outcome", "brand", "--classes", "thirds"], "column 'brand' must hold numbers"),
        (["--outcome", "brand", "--test-share", "0.9"], "test_share must be"),
    ],
)
def test_the_command_ends_with_one_message(buyers, options, words):
    result = call(buyers, *options)
    assert result.returncode == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_table_that_is_not_there_is_named():
    result = call("nowhere.csv", "--outcome", "brand")
    assert result.returncode == 2
    assert "there is no table at nowhere.csv" in result.stderr


def page(record):
    return re.sub("[\u2068\u2069]", "", render_drivers(record))


def test_the_headline_counts_columns_and_stable_ones():
    one = {"column": "price", "label": "dear", "contrast": 1.0, "frequency": 0.9}
    other = {"column": "size", "label": "dear", "contrast": 0.1, "frequency": 0.2}
    record = {"labels": ["dear", "cheap"], "columns": ["price", "size", "pages"], "stable": 0.7}
    assert "2 of 3 columns go with the choice, 1 of them stably." in page(
        {**record, "drivers": [one, other]}
    )
    assert "1 of 3 columns goes with the choice, none of them stably." in page(
        {**record, "drivers": [other]}
    )
    assert "No column is selected by the rule 1se." in page({**record, "rule": "1se"})
    unmeasured = {**one, "frequency": None}
    assert "how stable they are was not measured" in page({**record, "drivers": [unmeasured]})


def test_a_test_that_is_no_better_than_a_guess_says_so():
    record = {"labels": ["a", "b"], "tests": {"min": {"accuracy": 0.6, "majority_accuracy": 0.55}}}
    sure = {"accuracy": 0.6, "low": 0.56, "high": 0.7, "majority_accuracy": 0.55}
    unsure = {**sure, "low": 0.5}
    warning = "not surely better than the guess"
    assert warning not in page({**record, "tests": {"min": sure}})
    assert warning in page({**record, "tests": {"min": unsure}})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "needs 'labels'"),
        ({"labels": "a"}, "labels must be a list"),
        ({"labels": ["a"], "drivers": [1]}, r"drivers\[0\] must be a mapping"),
        ({"labels": ["a"], "curve": {"lambdas": [1.0, 0.5], "mean": [2.0]}}, "of one length"),
    ],
)
def test_records_that_cannot_be_drawn_are_named(record, words):
    with pytest.raises(DataError, match=words):
        render_drivers(record)


def test_a_model_that_selects_nothing_is_drawn():
    draw = np.random.default_rng(1)
    X = {"noise": draw.normal(size=80)}
    with pytest.warns(match="selects no column"):
        told = driver_report(ChoiceDrivers(), X, np.tile(["a", "b"], 40), n_subsamples=5)
    assert "no column is selected" in page(told.to_json())
