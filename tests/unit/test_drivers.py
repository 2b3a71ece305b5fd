"""Drivers: audit and encoding, refusals with their words, what the report holds."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from pluralign.errors import DataError, DataQualityWarning, ParameterError
from pluralign.learn.drivers import ChoiceDrivers, assess, driver_report, selection_frequencies
from pluralign.learn.drivers.assessment import split_rows
from pluralign.learn.drivers.columns import columns_of
from pluralign.learn.drivers.encoding import audit
from pluralign.learn.drivers.tuning import Curve, folds_by_row


def table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    price, size = rng.normal(size=(2, n))
    brand = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    score = price + (brand == "b") + 0.3 * rng.normal(size=n)
    y = np.array(["low", "middle", "high"])[np.digitize(score, [-0.4, 0.7])]
    return {"price": price, "size": size, "brand": brand}, y


def encoded(columns, **options):
    given = columns_of(columns)
    rows = len(next(iter(given.values())))
    return given, audit(given, np.ones(rows), **options)


def test_text_is_compared_with_the_most_frequent_level():
    columns, found = encoded({"brand": ["a", "b", "b", "c"] * 6})
    assert found.names == ("brand=a", "brand=c")
    assert found.write(columns)[:4].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]
    assert [f.action for f in found.findings] == ["compared with 'b'"]


def test_rare_levels_merge_and_too_few_of_them_join_the_reference():
    columns, found = encoded({"brand": ["a"] * 20 + ["b"] * 3 + ["c"] * 3})
    assert found.names == ("brand=(other)",)
    assert found.write(columns).sum() == 6
    _, fewer = encoded({"brand": ["a"] * 20 + ["b"] * 3, "x": np.arange(23.0)})
    assert fewer.names == ("x",)
    assert [f.kind for f in fewer.findings] == ["rare", "rare"]


def test_constant_repeated_and_rare_columns_are_listed():
    ones = np.array([1.0] * 4 + [0.0] * 26)
    x = np.linspace(0, 1, 30)
    _, found = encoded({"x": x, "same": np.ones(30), "rare": ones, "again": x + 0.0})
    assert found.names == ("x",)
    assert {f.column: f.kind for f in found.findings} == {
        "same": "constant",
        "rare": "rare",
        "again": "duplicate",
    }


def test_missing_values_are_filled_and_flagged_if_asked():
    x = np.arange(60.0)
    x[:6] = np.nan
    text = np.array([None] * 2 + ["a"] * 30 + ["b"] * 28, object)
    half = np.where(np.arange(60) < 30, np.nan, 1.0)
    columns, found = encoded({"x": x, "t": text, "half": half}, on_missing="impute")
    assert found.names == ("x", "x is missing", "t=b")
    written = found.write(columns)
    assert written[:6, 0].tolist() == [np.nanmedian(x)] * 6
    assert written[:, 1].sum() == 6
    assert written[:2, 2].tolist() == [0.0, 0.0]
    assert ("half", "missing") in [(f.column, f.kind) for f in found.findings]
    with pytest.raises(DataError, match=r"column 'x', row 0.*missing=\"impute\"") as caught:
        encoded({"x": x})
    assert caught.value.rows == tuple(range(6))


def test_a_new_level_counts_as_the_reference_with_a_warning():
    _, found = encoded({"brand": ["a"] * 8 + ["b"] * 6})
    with pytest.warns(DataQualityWarning, match=r"'brand'.*\['z'\].*'a'"):
        assert found.write(columns_of({"brand": ["z", "b"]})).ravel().tolist() == [0, 1]


def test_pandas_missing_values_and_categories_are_read():
    frame = pd.DataFrame({"n": pd.array([1, None], "Int64"), "c": pd.Categorical([3, 4])})
    found = columns_of(frame)
    assert np.isnan(found["n"][1])
    assert found["c"].tolist() == ["3", "4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"alpha must be a finite number in \(0.0, 1.0\]"),
        ({"rule": "best"}, "rule must be one of 'min', '1se'; got 'best'"),
        ({"folds": 1}, "folds must be an integer >= 2"),
        ({"vif_threshold": 1.0}, "vif_threshold must be a finite number > 1"),
        ({"penalty": "ridge"}, "penalty must be one of 'ungrouped', 'grouped'"),
        ({"n_lambdas": 1}, "n_lambdas must be an integer >= 2"),
        ({"lambda_ratio": 1.0}, "lambda_ratio must be"),
        ({"tol": 0.0}, "tol must be"),
        ({"penalty_factors": {"price": -1.0}}, r"penalty_factors\['price'\] must be"),
        ({"penalty_factors": {"prise": 1.0}}, "no column 'prise'; did you mean 'price'"),
    ],
)
def test_parameters_out_of_range(options, message):
    with pytest.raises(ParameterError, match=message):
        ChoiceDrivers(**options).fit(*table())


def changed(**columns):
    given, y = table()
    return {**given, **columns}, y


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((table()[0], np.zeros(120)), r"y has one class, \[0.0\]"),
        ((table()[0], ["a"] * 117 + ["b"] * 3), r"class 'b' has 3 rows, fewer than 5 folds"),
        (changed(price=np.where(np.arange(120) == 7, np.inf, 1.0)), "column 'price', row 7: inf"),
        (changed(price=np.where(np.arange(120) == 7, np.nan, 1.0)), "column 'price', row 7"),
        (changed(id=[str(i) for i in range(120)]), "price"),
    ],
)
def test_rows_that_cannot_be_used(given, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if message == "price":
            # A level a row: all merge, nothing is to be learned, the rest goes on.
            model = ChoiceDrivers(folds=5).fit(*given)
            assert "id" not in {column.source for column in model.columns_}
            return
        with pytest.raises(DataError, match=message):
            ChoiceDrivers(folds=5).fit(*given)


def test_other_refusals_name_what_is_wrong():
    columns, y = table()
    with pytest.raises(DataError, match=r"no column is left.*'x' left out: it has one value"):
        ChoiceDrivers().fit({"x": np.ones(120)}, y)
    with pytest.raises(DataError, match="sample_weight, row 3: must be finite and >= 0; got -1"):
        ChoiceDrivers().fit(columns, y, sample_weight=np.where(np.arange(120) == 3, -1.0, 1.0))
    with pytest.raises(DataError, match=r"units must have the shape \(120,\)"):
        ChoiceDrivers().fit(columns, y, units=np.arange(5))
    with pytest.raises(DataError, match="3 units for 5 folds"):
        ChoiceDrivers().fit(columns, y, units=np.arange(120) % 3)
    with pytest.raises(DataError, match="column 1, row 0: 'red' is no number"):
        ChoiceDrivers().fit(np.array([[1.0, "red"], [2.0, "blue"]], object), [0, 1])
    many = [str(i) for i in range(10_001)] * 2
    with pytest.raises(DataError, match=r"'id' has 10,001 levels.*hash them or group"):
        audit(columns_of({"id": many}), np.ones(len(many)))
    with pytest.raises(ParameterError, match="versus must be one of"):
        ChoiceDrivers(rule="min").fit(columns, y).contrasts(versus="none")
    with pytest.raises(ParameterError, match=r"test_share must be .* \(0.0, 0.5\]; got 0.7"):
        driver_report(ChoiceDrivers(), columns, y, test_share=0.7)
    with pytest.raises(ParameterError, match=r"groups\['money'\]: no column 'prise'"):
        driver_report(ChoiceDrivers(), columns, y, groups={"money": ["prise"]}, n_subsamples=0)


def test_a_small_class_stays_in_training_by_default():
    columns, _ = table()
    y = np.where(columns["price"] > 0, "a", "b").astype(object)
    y[117:] = "c"
    with pytest.warns(DataQualityWarning, match=r"\['c'\].*never held out"):
        model = ChoiceDrivers(rule="min", random_state=0).fit(columns, y)
    assert model.curve_.fold_of[117:].tolist() == [-1, -1, -1]
    assert (model.curve_.fold_of[:117] >= 0).all()


def test_an_empty_list_of_drivers_is_told():
    rng = np.random.default_rng(0)
    with pytest.warns(DataQualityWarning, match="'1se' selects no column; rule=\"min\""):
        ChoiceDrivers(random_state=0).fit(rng.normal(size=(60, 3)), rng.integers(0, 2, 60))


def test_columns_that_others_determine_are_dropped_with_their_partner():
    columns, y = table()
    more = {"sum": columns["price"] + columns["size"], "same": np.ones(120)}
    with pytest.warns(
        DataQualityWarning, match=r"\['same'\] have one value.*'price' is determined"
    ):
        model = ChoiceDrivers().fit({**columns, **more}, y)
    (dropped,) = model.screen_.dropped
    assert dropped.vif == np.inf
    assert dropped.name == "price"
    assert dropped.partner == "sum"
    assert "price" not in {column.source for column in model.columns_}


def test_many_equal_rows_are_parted_and_few_kept_together():
    codes = np.repeat([0, 1], 40)
    dummies = np.tile([0.0, 1.0], 40)[:, None]
    parted = folds_by_row(dummies, codes, 5, 0, np.ones(80))
    assert np.bincount(parted).tolist() == [16] * 5
    twice = np.repeat(np.arange(40.0), 2)[:, None]
    together = folds_by_row(twice, codes, 5, 0, np.ones(80))
    assert (together[::2] == together[1::2]).all()


def test_units_stay_whole_in_folds_and_split():
    columns, y = table()
    units = np.repeat(np.arange(40), 3)
    model = ChoiceDrivers(random_state=0).fit(columns, y, units=units)
    fold_of = model.curve_.fold_of.reshape(40, 3)
    assert (fold_of == fold_of[:, :1]).all()
    held = split_rows(np.unique(y, return_inverse=True)[1], units, 0.3, 0).reshape(40, 3)
    assert (held == held[:, :1]).all()
    assert 0.2 < held.mean() < 0.4


def test_the_list_has_effects_in_words():
    columns, y = table()
    model = ChoiceDrivers(random_state=0).fit(columns, y)
    high = [one for one in model.drivers(units={"price": 2.0}) if one.label == "high"]
    price = next(one for one in high if one.column == "price")
    k, j = model.classes_.tolist().index("high"), [c.name for c in model.columns_].index("price")
    assert price.raw == pytest.approx(model.coef_[k, j])
    assert price.odds_factor == pytest.approx(np.exp(2 * model.coef_[k, j]))
    assert [abs(one.coefficient) for one in high] == sorted(
        (abs(one.coefficient) for one in high), reverse=True
    )
    assert model.contrasts("high")[k].tolist() == [0.0] * len(model.columns_)
    assert model.contrasts().sum(0) == pytest.approx(0.0, abs=1e-12)


def test_figures_of_an_assessment_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.5, 0.3, 0.2]])
    found = assess(p, np.array([0, 1, 1, 0]), labels="abc", train_shares=np.array([0.5, 0.3, 0.2]))
    assert found.accuracy == 0.75
    assert found.balanced_accuracy == 0.75
    assert found.confusion == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found.majority_accuracy == 0.5
    assert found.brier == pytest.approx((0.14 + 0.26 + 1.04 + 0.38) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.7, 0.6, 0.2, 0.5]).mean())
    assert found.null_deviance == pytest.approx(-np.log([0.5, 0.3, 0.3, 0.5]).mean() * 2)
    assert found.low < 0.75 < found.high


def test_stability_tells_drivers_from_noise():
    columns, y = table(200)
    rng = np.random.default_rng(1)
    columns |= {f"noise{j}": rng.normal(size=200) for j in range(5)}
    model = ChoiceDrivers(random_state=0).fit(columns, y)
    found = selection_frequencies(model, columns, y, n_subsamples=40).max(0)
    by_name = dict(zip([c.name for c in model.columns_], found.tolist(), strict=True))
    assert by_name["price"] == 1.0
    assert by_name["brand=b"] > 0.9
    assert max(v for k, v in by_name.items() if k.startswith("noise")) < 0.7


def test_a_report_is_plain_json_and_leaving_out_a_driver_costs():
    columns, y = table(200)
    groups = {"price": ["price"], "nothing": ["size"]}
    found = driver_report(ChoiceDrivers(), columns, y, groups=groups, n_subsamples=20)
    assert found.group_deviance["price"] > 0.5 > 10 * abs(found.group_deviance["nothing"])
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["n_train"] + record["n_test"] == 200
    assert record["tests"]["min"]["accuracy"] > 0.7
    assert record["curve"]["index_1se"] <= record["curve"]["index_min"]
    assert {one["label"] for one in record["drivers"]} <= {"low", "middle", "high"}


def test_the_standard_error_of_a_curve_is_that_of_a_mean_over_folds():
    folds = np.random.default_rng(0).random((5, 3))
    curve = Curve(np.array([0.3, 0.2, 0.1]), folds, folds, np.full(5, 20.0), np.zeros(100))
    assert curve.mean == pytest.approx(folds.mean(0))
    assert curve.error == pytest.approx(folds.std(0, ddof=1) / np.sqrt(5))
    uneven = Curve(curve.lambdas, folds, folds, np.array([1.0, 1, 1, 1, 16]), curve.fold_of)
    mean = (folds[:4].sum(0) + 16 * folds[4]) / 20
    spread = ((folds[:4] - mean) ** 2).sum(0) + 16 * (folds[4] - mean) ** 2
    assert uneven.error == pytest.approx(np.sqrt(spread / 20 / 4))
