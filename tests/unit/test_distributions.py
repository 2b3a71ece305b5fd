"""What lies behind the means: bins that add up, drift that is noticed, honest calibration."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pluralign.audit import ranking_accuracy
from pluralign.audit.distributions import DRIFT_ALARM, LENGTH_CLASSES, QUANTILES, distributions
from pluralign.audit.intervals import wilson
from pluralign.audit.record import audit_models
from pluralign.data import Preferences, ScoredPairs
from pluralign.errors import DataError

N = 600


def preferences(n=N, **columns):
    groups = [("north", "south", "islands")[i % 3] for i in range(n)]
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "group": g} for g in groups]
    return Preferences.from_records(rows).with_columns(**columns)


def scores(seed=0, *, n=N, beta=0.5, **more):
    draw = np.random.default_rng(seed)
    arrays = {
        "ref_chosen": draw.normal(-40, 6, n),
        "ref_rejected": draw.normal(-40, 6, n),
        "chosen_length": draw.integers(5, 60, n),
        "rejected_length": draw.integers(5, 60, n),
    }
    arrays["chosen"] = arrays["ref_chosen"] + draw.normal(1, 2, n)
    arrays["rejected"] = arrays["ref_rejected"] + draw.normal(-2, 2, n)
    columns = {k: more.pop(k) for k in ("label_prob",) if k in more}
    return ScoredPairs(preferences(n, **columns), **(arrays | more), beta=beta)


def of(pairs, **options):
    return distributions({"it": pairs}, n_bootstrap=200, **options)["it"]


def cells(part):
    return [part["overall"], *part["groups"]]


# --- histograms -------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["log_ratio", "difficulty"])
def test_every_pair_lies_in_one_bin_and_groups_add_up(key):
    part = of(scores())[key]
    for cell in cells(part):
        assert sum(cell["counts"]) + cell["below"] + cell["above"] == cell["n"]
        assert len(cell["counts"]) == len(part["edges"]) - 1
    for index in range(len(part["edges"]) - 1):
        inside = sum(cell["counts"][index] for cell in part["groups"])
        assert inside == part["overall"]["counts"][index]
    assert part["overall"]["n"] == N


def test_bins_at_or_above_zero_hold_the_pairs_that_are_ranked_rightly():
    pairs = scores()
    chosen = pairs.chosen.copy()
    chosen[:5] = pairs.rejected[:5]  # equal scores count as right
    pairs = scores(chosen=chosen)
    part = of(pairs)["log_ratio"]
    at = part["edges"].index(0.0)
    right = sum(part["overall"]["counts"][at:]) + part["overall"]["above"]
    assert right == ranking_accuracy(pairs).sum()


def test_thresholds_from_log_2_on_are_pairs_that_the_reference_ranks_rightly():
    pairs = scores()
    part = of(pairs)["difficulty"]
    at = int(np.argmin(np.abs(np.array(part["edges"]) - math.log(2))))
    assert part["edges"][at] == pytest.approx(math.log(2))
    right = sum(part["overall"]["counts"][at:]) + part["overall"]["above"]
    assert right == (pairs.ref_chosen >= pairs.ref_rejected).sum()


def test_quantiles_are_those_of_the_values():
    pairs = scores()
    values = pairs.chosen - pairs.rejected
    found = of(pairs)["log_ratio"]["overall"]["quantiles"]
    assert found == {k: pytest.approx(np.quantile(values, q)) for k, q in QUANTILES.items()}


def test_models_share_their_bins_and_groups_come_largest_first():
    wide = scores(seed=1, chosen=np.full(N, -1.0), rejected=np.full(N, -900.0))
    found = distributions({"a": scores(), "b": wide}, n_bootstrap=200)
    assert found["a"]["log_ratio"]["edges"] == found["b"]["log_ratio"]["edges"]
    part = of(scores(n=100))["log_ratio"]
    assert [cell["n"] for cell in part["groups"]] == [34, 33, 33]


def test_equal_scores_and_missing_ones_still_give_bins():
    same = scores(chosen=np.full(N, -3.0), rejected=np.full(N, -3.0))
    part = of(same)["log_ratio"]
    assert sum(part["overall"]["counts"]) == N
    chosen = scores().chosen.copy()
    chosen[:7] = np.nan
    reference = scores().ref_rejected.copy()
    reference[5:9] = np.inf
    found = of(scores(chosen=chosen, ref_rejected=reference))
    assert found["log_ratio"]["overall"]["n"] == N - 7
    assert found["difficulty"]["overall"]["n"] == N - 4
    assert found["calibration"]["overall"]["n"] == N - 9
    assert found["drift"]["chosen"]["overall"]["n"] == N - 9


# --- drift ------------------------------------------------------------------------------


def shifted(chosen, rejected, rows=slice(None)):
    pairs = scores()
    moved = {"chosen": pairs.ref_chosen.copy(), "rejected": pairs.ref_rejected.copy()}
    moved["chosen"][rows] += chosen
    moved["rejected"][rows] += rejected
    return scores(**moved)


def test_drift_is_the_change_against_the_reference():
    found = of(shifted(-3.0, -5.0))["drift"]
    assert found["chosen"]["overall"]["value"] == pytest.approx(-3.0)
    assert found["rejected"]["overall"]["value"] == pytest.approx(-5.0)
    assert found["both_fell"] == 1.0
    assert not found["alarm"]


@pytest.mark.parametrize(("share", "alarm"), [(0.95, False), (1.05, True)])
def test_the_alarm_goes_where_the_chosen_response_loses_a_quarter(share, alarm):
    before = abs(scores().ref_chosen.mean())
    found = of(shifted(-share * DRIFT_ALARM * before, 0.0))["drift"]
    assert found["relative"]["overall"] == pytest.approx(-share * DRIFT_ALARM)
    assert found["alarm"] is alarm
    assert found["threshold"] == -DRIFT_ALARM


def test_one_group_that_falls_is_named_although_the_mean_does_not():
    found = of(shifted(-16.0, 0.0, rows=slice(0, None, 3)))["drift"]
    assert found["relative"]["overall"] > -DRIFT_ALARM
    assert found["alarmed"] == ["north"]
    assert found["alarm"]


def test_a_rise_is_no_alarm():
    assert not of(shifted(30.0, -30.0))["drift"]["alarm"]


# --- length -----------------------------------------------------------------------------


def test_classes_of_length_part_the_pairs_and_hold_their_lower_end():
    found = of(scores())["length"]
    assert sum(part["n"] for part in found["classes"]) == N
    assert [part["name"] for part in found["classes"]] == [name for name, *_ in LENGTH_CLASSES]
    lengths = {
        "chosen_length": np.array([4, 5, 8, 10, 20, 9]),
        "rejected_length": np.array([10, 10, 10, 8, 10, 10]),
    }
    found = of(scores(n=6, **lengths))["length"]
    assert [part["n"] for part in found["classes"]] == [1, 1, 2, 1, 1]


def test_a_model_that_counts_tokens_is_found_out():
    pairs = scores()
    by_length = {
        side: getattr(pairs, f"{side}_length").astype(float) for side in ("chosen", "rejected")
    }
    found = of(scores(**by_length))["length"]
    unequal = pairs.chosen_length != pairs.rejected_length
    assert found["model_longer"]["value"] == 1.0
    assert found["model_longer"]["n"] == unequal.sum()
    longer = (pairs.chosen_length > pairs.rejected_length)[unequal]
    low, high = wilson(float(longer.sum()), len(longer))
    assert found["labels_longer"] == {
        "n": len(longer),
        "value": pytest.approx(longer.mean()),
        "low": pytest.approx(low),
        "high": pytest.approx(high),
    }
    assert (found["classes"][0]["value"], found["classes"][-1]["value"]) == (0.0, 1.0)


def test_an_empty_class_has_no_value():
    same = {"chosen_length": np.full(N, 7), "rejected_length": np.full(N, 7)}
    found = of(scores(**same))["length"]
    assert found["classes"][0] == {
        "name": LENGTH_CLASSES[0][0],
        "low_ratio": 0.0,
        "high_ratio": 0.5,
        "n": 0,
        "value": None,
        "low": None,
        "high": None,
    }
    assert found["labels_longer"]["value"] is None


# --- calibration ------------------------------------------------------------------------


def rewards_that_claim(claimed, agree):
    """Rewards that claim a probability each; the label agrees where the flag says so."""
    margin = np.log(claimed / (1 - claimed)) * np.where(agree, 1.0, -1.0)
    n = len(margin)
    return ScoredPairs(preferences(n), chosen=margin, rejected=np.zeros(n), kind="reward")


def test_calibrated_rewards_have_a_small_error_and_bold_ones_a_large_one():
    draw = np.random.default_rng(3)
    claimed = draw.uniform(0.5, 0.999, 30_000)
    honest = of(rewards_that_claim(claimed, draw.uniform(size=30_000) < claimed))["calibration"]
    assert honest["error"] < 0.01
    for level in honest["levels"]:
        assert level["from"] <= level["claimed"] <= level["to"]
        assert level["low"] - 0.02 < level["claimed"] < level["high"] + 0.02
    bold = of(rewards_that_claim(claimed, draw.uniform(size=30_000) < 0.6))["calibration"]
    assert bold["error"] == pytest.approx(0.75 - 0.6, abs=0.02)
    assert bold["overall"]["claimed"] > bold["overall"]["high"]


def test_beta_scales_what_the_margin_claims():
    pairs = scores()
    margin = (pairs.chosen - pairs.ref_chosen) - (pairs.rejected - pairs.ref_rejected)
    claimed = 1 / (1 + np.exp(-0.5 * np.abs(margin)))
    found = of(pairs)["calibration"]
    assert found["overall"]["claimed"] == pytest.approx(claimed.mean())
    assert found["overall"]["value"] == pytest.approx((margin > 0).mean())
    assert sum(level["n"] for level in found["levels"]) == N
    assert sum(group["n"] for group in found["groups"]) == N


def test_shares_of_raters_stand_for_labels_and_equal_rewards_for_half():
    pairs = ScoredPairs(
        preferences(3, label_prob=np.array([0.75, 0.75, 1.0])),
        chosen=np.array([2.0, 0.0, 1.0]),
        rejected=np.array([0.0, 2.0, 1.0]),
        kind="reward",
    )
    found = of(pairs)["calibration"]
    assert found["overall"]["value"] == pytest.approx((0.75 + 0.25 + 0.5) / 3)


def test_certainty_falls_into_the_last_level():
    found = of(rewards_that_claim(np.array([0.5, 1 - 1e-16]), np.array([True, True])))
    assert [level["n"] for level in found["calibration"]["levels"]] == [1, *[0] * 8, 1]


# --- the record -------------------------------------------------------------------------


def test_parts_that_the_scores_do_not_allow_are_none():
    whole = scores()
    bare = ScoredPairs(whole.pairs, chosen=whole.chosen, rejected=whole.rejected)
    found = of(bare)
    absent = [key for key in found if found[key] is None]
    assert absent == ["difficulty", "drift", "length", "calibration"]
    assert of(scores(beta=None))["difficulty"] is None
    reward = of(rewards_that_claim(np.array([0.6, 0.7]), np.array([True, False])))
    assert reward["drift"] is None
    assert reward["calibration"] is not None


def test_the_record_is_plain_holds_no_rows_and_does_not_depend_on_their_order():
    pairs = scores()
    found = of(pairs)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert len(text) < 12_000
    order = np.random.default_rng(5).permutation(N)
    again = of(pairs.select(order))
    assert again["log_ratio"]["overall"] == found["log_ratio"]["overall"]
    assert again["difficulty"]["overall"] == found["difficulty"]["overall"]
    assert again["length"] == found["length"]
    assert again["drift"]["chosen"] == found["drift"]["chosen"]


def test_an_unknown_column_is_named():
    with pytest.raises(DataError, match="regoin"):
        of(scores(), by="regoin")


def test_an_audit_of_models_carries_them():
    found = audit_models(
        {"start": scores(seed=1, ref_chosen=None, ref_rejected=None), "tuned": scores()},
        n_bootstrap=200,
    )
    start, tuned = (model["distributions"] for model in found["models"])
    assert start["drift"] is None
    assert tuned["drift"]["chosen"]["overall"]["n"] == N
    json.dumps(found, allow_nan=False)
