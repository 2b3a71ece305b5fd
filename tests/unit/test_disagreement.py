"""Disagreement of groups: the figures of the street ratings, and input that cannot be used."""

from pathlib import Path

import numpy as np
import pytest

from pluralign import DataError, ParameterError
from pluralign.audit import disagreement as d

STREETS = Path(__file__).parents[3] / "shared" / "data" / "street_review"
CRITERIA = ("practicality", "inclusivity", "aesthetics", "accessibility")
FIGURES = {  # subgroup: mean by criterion, distance to the mean of the others by criterion
    "lgbtqia2+": ((2.900, 2.325, 2.500, 2.425), (0.535, 0.458, 0.658, 0.554)),
    "handicapped": ((2.300, 1.800, 1.700, 2.550), (0.881, 0.562, 0.832, 1.036)),
    "elderly_female": ((2.380, 2.165, 2.140, 2.520), (0.421, 0.490, 0.302, 0.566)),
    "elderly_male": ((2.450, 1.850, 2.000, 2.000), (0.477, 0.596, 0.678, 0.688)),
    "young_male": ((2.400, 2.250, 2.100, 1.950), (0.579, 0.554, 0.466, 0.644)),
    "young_female": ((2.385, 2.020, 1.990, 2.265), (0.107, 0.088, 0.134, 0.106)),
}
GROUPS = tuple(FIGURES)


@pytest.fixture(scope="module")
def streets():
    path = STREETS / "street_group_means.parquet"
    if not path.exists():
        pytest.skip(f"the street ratings are not at {path}")
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    columns = [[table[f"{g}_{c}"].to_numpy() for c in CRITERIA] for g in GROUPS]
    return np.array(columns, dtype=float).transpose(0, 2, 1)


@pytest.fixture(scope="module")
def found(streets):
    return d.disagreement(streets, groups=GROUPS, criteria=CRITERIA)


def within_rounding(value, published, digits=3):
    np.testing.assert_allclose(value, published, rtol=0, atol=0.5 * 10**-digits + 1e-9)


def test_means_and_distances_of_the_street_ratings(found):
    within_rounding(found.mean, [FIGURES[g][0] for g in GROUPS])
    within_rounding(found.distance, [FIGURES[g][1] for g in GROUPS])
    real = np.delete(found.distance, GROUPS.index("young_female"), axis=0)
    most = {c: GROUPS[g] for c, g in zip(CRITERIA, real.argmax(axis=0), strict=True)}
    assert [most[c] for c in ("practicality", "aesthetics", "accessibility")] == ["handicapped"] * 3


def test_spread_and_concordance_of_the_street_ratings(found):
    within_rounding(found.sd, [0.531, 0.469, 0.524, 0.598])
    within_rounding([test.value for test in found.agreement], [0.478, 0.496, 0.615, 0.385])
    assert found.least_agreed() == "accessibility"
    assert all(test.systematic and test.p_value <= 0.01 for test in found.agreement)


def test_the_filled_in_column_is_flagged_and_groups_may_run_against_each_other(streets, found):
    assert found.fill_ins == ("young_female",)
    pooled = np.corrcoef(streets.reshape(len(GROUPS), -1))
    pair = pooled[GROUPS.index("handicapped"), GROUPS.index("young_male")]
    within_rounding(pair, -0.23, digits=2)
    others = np.sort(pooled[GROUPS.index("young_female"), :5])
    within_rounding(others[[0, -1]], [0.41, 0.75], digits=2)


def test_a_record_for_the_report_is_plain(found):
    record = found.to_json()
    assert record["groups"] == list(GROUPS)
    assert record["fill_ins"] == ["young_female"]
    assert record["agreement"][3]["value"] == found.agreement[3].value
    assert np.array(record["distance"]).shape == (6, 4)


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (np.ones((1, 3, 2)), "two groups or raters"),
        (np.ones((2, 3)), "groups, options, criteria"),
        ([[[1.0], [np.nan]], [[1.0], [2.0]]], r"means\[0, 1, 0\] is nan"),
        ([[[1.0], [2.0]], [[1.0]]], "full array of numbers"),
    ],
)
def test_ratings_that_cannot_be_used_are_refused(means, message):
    with pytest.raises(DataError, match=message):
        d.distance_to_others(means)


def test_names_labels_and_shuffles_that_do_not_fit_are_refused():
    ratings = np.arange(12.0).reshape(2, 3, 2)
    with pytest.raises(DataError, match="groups must be 2 different names"):
        d.disagreement(ratings, groups=("a", "a"), criteria=("x", "y"))
    with pytest.raises(DataError, match="at least two groups"):
        d.group_effect(ratings, "aa")
    with pytest.raises(DataError, match="at least two groups"):
        d.group_effect(ratings, "ab")
    with pytest.raises(DataError, match="must be alike"):
        d.change(ratings, ratings[:, :2])
    with pytest.raises(ParameterError, match="at least 99; got 5"):
        d.agreement_test(ratings[0], n_permutations=5)
