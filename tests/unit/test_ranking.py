"""The ranking audit at its edges: bad input, missing parts, the report's record."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from pluralign import (
    DataError,
    DataQualityWarning,
    IncompatibleError,
    ParameterError,
    Preferences,
    ScoredPairs,
)
from pluralign.audit import (
    flip_threshold,
    idealised_accuracy,
    implicit_margin,
    ranking_accuracy,
    ranking_report,
    reward_accuracy,
)
from pluralign.audit.difficulty import (
    alignment_gap,
    flip_table,
    perfect_log_ratio,
    perfect_log_ratio_from_perplexity,
    triage,
)
from pluralign.audit.ranking import (
    ranking_accuracy_with_ties,
    ranking_agreement,
    sequence_score,
    template_mean,
)
from pluralign.audit.winning import win_rate_relation


def scored(chosen, rejected, columns=None, **more):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}] * len(chosen)
    pairs = Preferences.from_records(rows).with_columns(**(columns or {}))
    return ScoredPairs(pairs, chosen=np.array(chosen), rejected=np.array(rejected), **more)


def full(size=40, seed=0, **more):
    rng = np.random.default_rng(seed)
    reference = rng.normal(-60, 10, (2, size))
    policy = reference + rng.normal([[1.0], [-3.0]], 4, (2, size))
    lengths = rng.integers(5, 40, (2, size))
    return scored(
        policy[0],
        policy[1],
        ref_chosen=reference[0],
        ref_rejected=reference[1],
        chosen_length=lengths[0],
        rejected_length=lengths[1],
        **more,
    )


def test_normalisation_and_equality():
    pairs = scored(
        [-40.0, -10.0, -5.0],
        [-35.0, -12.0, -5.0],
        chosen_length=np.array([20, 5, 4]),
        rejected_length=np.array([10, 8, 4]),
    )
    assert ranking_accuracy(pairs).tolist() == [0, 1, 1]
    assert ranking_accuracy(pairs, normalise="token_mean").tolist() == [1, 0, 1]
    assert ranking_accuracy(pairs, strict=True).tolist() == [0, 1, 0]


def test_reward_accuracy_of_a_reward_model_and_of_a_policy():
    assert reward_accuracy(scored([1.0, 2.0], [1.0, 0.0], kind="reward")).tolist() == [0, 1]
    policy = scored([-38.0], [-33.0], ref_chosen=np.array([-40.0]), ref_rejected=np.array([-30.0]))
    assert implicit_margin(policy).tolist() == [5.0]
    assert (reward_accuracy(policy).item(), ranking_accuracy(policy).item()) == (1, 0)


@pytest.mark.parametrize("metric", [ranking_accuracy, implicit_margin])
def test_unusable_scores_are_left_out_up_to_a_share(metric):
    chosen = np.zeros(40)
    chosen[[3, 7]] = np.nan, -np.inf
    values = metric(scored(chosen, np.ones(40)))
    assert np.flatnonzero(np.isnan(values)).tolist() == [3, 7]
    chosen[9] = np.inf
    with pytest.raises(DataError, match="3 of 40") as error:
        metric(scored(chosen, np.ones(40)))
    assert error.value.rows == (3, 7, 9)


@pytest.mark.parametrize("normalise", ["none", "token_mean"])
def test_empty_responses_are_refused_with_their_rows(normalise):
    lengths = {"chosen_length": np.array([3, 0, 2]), "rejected_length": np.array([1, 1, 1])}
    with pytest.raises(DataError, match=r"chosen_length: 1 responses have no token \(rows \[1\]"):
        ranking_accuracy(scored([-1.0] * 3, [-2.0] * 3, **lengths), normalise=normalise)


def test_missing_parts_are_named():
    pairs = scored([-1.0], [-2.0])
    with pytest.raises(IncompatibleError, match="no chosen_length"):
        ranking_accuracy(pairs, normalise="token_mean")
    with pytest.raises(IncompatibleError, match="reference"):
        reward_accuracy(pairs)
    with pytest.raises(IncompatibleError, match="use reward_accuracy"):
        ranking_accuracy(scored([1.0], [0.0], kind="reward"))
    with pytest.raises(ParameterError, match="'token_mean'"):
        ranking_accuracy(pairs, normalise="mean")


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_shares_outside_their_range(share):
    for call in (
        lambda: ranking_accuracy_with_ties([1.0, 2.0], [0.0, 0.0], [0.5, share]),
        lambda: idealised_accuracy([1.0, 2.0], [0.5, share]),
        lambda: ranking_report(scored([-1.0, -1.0], [-2.0, -2.0]), alpha=[0.5, share]),
    ):
        with pytest.raises(DataError, match="row 1") as error:
            call()
        assert error.value.rows == (1,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: flip_threshold([1.0], beta=0.0),
        lambda: flip_threshold([1.0], beta=np.inf),
        lambda: flip_threshold([1.0], beta=0.1, gamma=-1.0),
        lambda: idealised_accuracy([1.0], [0.7], []),
        lambda: idealised_accuracy([1.0], [0.7], [1.0, -1.0]),
        lambda: idealised_accuracy([1.0], [0.7], eps=0.5),
        lambda: idealised_accuracy([1.0], [0.7], eps_rule="none"),
        lambda: idealised_accuracy([1.0], [0.5]),
        lambda: triage([1.0], 0.1, loss_budget=0.0),
        lambda: ranking_accuracy_with_ties([1.0], [0.0], [0.5], tie_tolerance=-1),
    ],
)
def test_numbers_out_of_range(call):
    with pytest.raises(ParameterError):
        call()


def test_the_two_rules_for_unanimous_raters():
    clip = perfect_log_ratio([0.0, 0.0], [1.0, 0.0], 1.0)
    paper = perfect_log_ratio([0.0, 0.0], [1.0, 0.0], 1.0, eps_rule="paper")
    np.testing.assert_allclose(clip, np.log([999, 1 / 999]))
    np.testing.assert_allclose(paper, np.log([1000, 1 / 1000]))
    mixed = perfect_log_ratio([0.0], [0.8], 1.0, eps_rule="paper")
    np.testing.assert_allclose(mixed, np.log(4))


def test_tied_raters_are_dropped_or_judged_by_a_ratio_near_one():
    kept = idealised_accuracy([0.04, 0.06, 3.0], [0.5, 0.5, 0.9], [1.0], drop_ties=False)
    assert (kept.n_used, kept.accuracy) == (3, (pytest.approx(2 / 3),))
    dropped = idealised_accuracy([0.04, 0.06, 3.0], [0.5, 0.5, 0.9], [1.0])
    assert (dropped.n_used, dropped.accuracy) == (1, (1.0,))


def test_gap_in_points_over_betas():
    ideal = idealised_accuracy([-60.0, -8.0, 5.0], [1.0, 0.75, 0.6], [0.01, 0.1, 1.0])
    assert alignment_gap(ideal, 0.5) == pytest.approx(
        {"min": 100 / 3 - 50, "median": 50.0, "max": 50.0}
    )


def test_perplexities_equal_scores():
    rng = np.random.default_rng(0)
    totals, lengths = -rng.uniform(5, 80, (2, 30)), rng.integers(3, 30, (2, 30))
    alpha = rng.uniform(0.1, 0.9, 30)
    perplexities = tuple(np.exp(-totals / lengths))
    for normalise, scores in (("none", totals), ("token_mean", totals / lengths)):
        np.testing.assert_allclose(
            perfect_log_ratio_from_perplexity(
                perplexities, tuple(lengths), alpha, 0.3, normalise=normalise
            ),
            perfect_log_ratio(scores[0] - scores[1], alpha, 0.3),
            atol=1e-10,
        )


def test_triage_classes():
    c = np.array([-5.0, 2.0, 30.0, 2.0, -5.0])
    kinds = triage(c, 0.1, loss_budget=0.5)
    assert kinds.tolist() == ["already correct", "easy", "hard", "easy", "already correct"]
    with_votes = triage(c, 0.1, loss_budget=0.5, alpha=[0.9, 0.9, 0.97, 0.5, 0.2])
    assert with_votes.tolist() == ["already correct", "easy", "hard", "infeasible", "infeasible"]


def test_flip_table_counts_and_means():
    table = flip_table([1, 1, 0, 0, 0], [1, 0, 1, 0, 1], loss=[1, 2, 3, 4, 5], margin=[0] * 5)
    assert [table[k]["count"] for k in ("c->c", "c->i", "i->c", "i->i")] == [1, 1, 2, 1]
    assert table["i->c"] == {"count": 2, "share": 0.4, "mean_loss": 4.0, "mean_margin": 0.0}
    assert table["flipped_share_of_wrong"] == pytest.approx(2 / 3)
    none_wrong = flip_table([1], [1], loss=[1], margin=[0])
    assert none_wrong["flipped_share_of_wrong"] is None
    assert none_wrong["i->i"]["mean_loss"] is None


def test_rankings_of_unequal_shape_or_with_gaps():
    with pytest.raises(DataError, match="K >= 2"):
        ranking_agreement([[1.0, 2.0]], [[1, 2, 3]])
    with pytest.raises(DataError, match="rows \\[1\\]"):
        ranking_agreement([[1.0, 2.0], [np.nan, 1.0]], [[1, 2], [1, 2]])
    tied = ranking_agreement([[1.0, 2.0]], [[1, 1]])
    assert np.isnan(tied.pairwise).all()
    assert np.isnan(tied.kendall).all()


def test_a_mask_without_response_is_refused():
    with pytest.raises(DataError, match="rows \\[1\\]"):
        sequence_score([[-1.0, -1.0]] * 2, [[0, 1], [0, 0]])


def test_report_is_plain_and_adds_up():
    pairs = full(beta=0.1, columns={"label_prob": np.linspace(0.5, 1.0, 40)})
    report = json.loads(json.dumps(ranking_report(pairs), allow_nan=False))
    assert (report["n_pairs"], report["n_used"], report["n_ties"]) == (40, 40, 1)
    assert report["beta"] == 0.1
    assert report["betas"] == [0.1]
    accuracy = report["ranking_accuracy"]
    assert accuracy["value"] == ranking_accuracy(pairs).mean()
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]
    assert report["idealised"]["n_used"] == 39
    ideal = report["idealised"]
    untied = ranking_accuracy(pairs)[1:].mean()
    assert ideal["gap"]["median"] == pytest.approx(100 * (ideal["median"] - untied))
    classes = report["triage"]["classes"].values()
    assert sum(one["count"] for one in classes) == 40
    assert sum(report["flips"][k]["count"] for k in ("c->c", "c->i", "i->c", "i->i")) == 40
    c = pairs.ref_rejected - pairs.ref_chosen
    assert report["ref_log_ratio"]["median"] == pytest.approx(np.median(c))
    assert report["flip_threshold"]["max"] == pytest.approx(flip_threshold(c.min(), 0.1))
    assert report["logps"]["chosen_change"] == pytest.approx(
        (pairs.chosen - pairs.ref_chosen).mean()
    )
    assert report["chance"] == {"pairs": 0.5}


def test_report_without_reference_lengths_or_beta():
    report = ranking_report(scored([-1.0, -3.0], [-2.0, -2.0]))
    assert report["ranking_accuracy"]["value"] == 0.5
    assert report["betas"] == [0.01, 0.1, 1.0, 5.0, 10.0]
    absent = ("ranking_accuracy_normalised", "reward_accuracy", "idealised", "triage", "length")
    assert all(report[key] is None for key in absent)
    assert ranking_report(full(), beta=None)["triage"] is None


def test_report_of_a_reward_model():
    report = ranking_report(scored([1.0, 2.0, 0.0], [0.0, 0.0, 1.0], kind="reward"))
    assert report["reward_accuracy"]["value"] == pytest.approx(2 / 3)


def test_report_says_when_the_score_measures_length():
    length = np.array([10, 10, 40, 40])
    pairs = scored(
        -np.array([10.0, 10.5, 40.0, 40.0]),
        -np.array([40.0, 10.0, 10.0, 41.0]),
        chosen_length=length,
        rejected_length=np.array([40, 10, 10, 40]),
    )
    found = ranking_report(pairs)["length"]
    assert (found["chosen_shorter"], found["chosen_longer"]) == (0.25, 0.25)
    assert found["ranking_accuracy_similar"]["n"] == 2
    assert found["ranking_accuracy_similar"]["value"] == 0.5


def test_labels_against_the_majority_warn_with_their_count():
    with pytest.warns(DataQualityWarning, match="2 of 40"):
        report = ranking_report(full(), 0.1, alpha=np.r_[np.full(2, 0.25), np.full(38, 0.75)])
    assert report["share_alpha_below_half"] == 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranking_report(full(), 0.1, alpha=np.full(40, 0.75))


def test_alpha_of_the_wrong_length():
    with pytest.raises(DataError, match="40 pairs"):
        ranking_report(full(), 0.1, alpha=[0.7])


def test_win_rate_relation_splits_at_the_peak():
    rising, falling = np.linspace(0.5, 0.6, 5), np.linspace(0.59, 0.5, 4)
    found = win_rate_relation(np.linspace(0.5, 0.9, 9), np.r_[rising, falling])
    assert found["to_peak"]["pearson"] == pytest.approx(1)
    assert found["after_peak"]["spearman"] == pytest.approx(-1)
    assert (found["to_peak"]["n"], found["after_peak"]["n"]) == (5, 5)
    assert win_rate_relation([0.5, 0.6], [0.5, 0.6])["all"]["pearson"] is None
    assert win_rate_relation([0.5] * 4, [0.5, 0.6, 0.7, 0.8])["all"]["spearman"] is None
    with pytest.raises(DataError, match="one length"):
        win_rate_relation([0.5, 0.6], [0.5])
    with pytest.raises(DataError, match="finite"):
        win_rate_relation([0.5, np.nan], [0.5, 0.6])


def test_label_confidence_is_votes_before_estimated_noise():
    """Without votes, how sure a label is follows from the flip rate of its pair."""
    flips = {"flip_rate": np.tile([0.3, 0.05], 20)}
    assert ranking_report(full(beta=0.1))["alpha_from"] is None
    estimated = ranking_report(full(columns=flips, beta=0.1))
    assert estimated["alpha_from"] == "flip_rate"
    given = ranking_report(full(beta=0.1), alpha=1 - flips["flip_rate"])
    assert given["alpha_from"] == "given"
    assert estimated["idealised"] == given["idealised"]
    assert estimated["triage"] == given["triage"]
    votes = {"label_prob": np.full(40, 0.9), **flips}
    voted = ranking_report(full(columns=votes, beta=0.1))
    assert voted["alpha_from"] == "label_prob"
    assert voted["idealised"] == ranking_report(full(beta=0.1), alpha=[0.9] * 40)["idealised"]
    assert voted["idealised"] != estimated["idealised"]


def test_means_over_templates():
    first, second = full(seed=0, beta=0.1), full(seed=1, beta=0.1)
    again = replace(first, chosen=second.chosen, ref_rejected=second.ref_rejected)
    mean = template_mean([first, again, again])
    assert mean.chosen == pytest.approx((first.chosen + 2 * again.chosen) / 3)
    assert mean.ref_rejected == pytest.approx((first.ref_rejected + 2 * again.ref_rejected) / 3)
    assert mean.rejected == pytest.approx(first.rejected)
    assert (mean.beta, mean.pairs) == (0.1, first.pairs)
    assert template_mean([first]).chosen.tolist() == first.chosen.tolist()
    gap = first.chosen.copy()
    gap[3] = np.nan
    assert np.isnan(template_mean([first, replace(first, chosen=gap)]).chosen).sum() == 1
    with pytest.raises(DataError, match="no scores"):
        template_mean([])
    for other, what in (
        (replace(first, beta=0.2), "template 1 differ .* in beta"),
        (second, "chosen_length, rejected_length"),
        (scored([-1.0], [-2.0]), "pairs, beta, columns"),
        (replace(first, ref_chosen=None, ref_rejected=None), "columns"),
    ):
        with pytest.raises(IncompatibleError, match=what):
            template_mean([first, other])


def test_every_figure_of_a_report_by_hand():
    """Wrong and hard; turned; right throughout; turned wrong; turned against its raters."""
    pairs = scored(
        [-38.0, -20.0, -10.0, -30.0, -50.0],
        [-33.0, -25.0, -12.0, -10.0, -55.0],
        ref_chosen=np.array([-40.0, -22.0, -10.0, -12.0, -60.0]),
        ref_rejected=np.array([-30.0, -21.0, -15.0, -14.0, -20.0]),
        beta=0.1,
    )
    with pytest.warns(DataQualityWarning, match="1 of 5 pairs"):
        report = ranking_report(pairs, alpha=[0.75, 0.9, 0.7, 0.3, 0.6])
    assert report["ranking_accuracy"]["value"] == report["idealised"]["ranking_accuracy"] == 0.6
    assert report["reward_accuracy"]["value"] == 0.6  # the margins gained: 5, 6, -3, -22, 45
    # log-ratios of the optimum: 0.99, 21, 13, -6.5, -36
    assert report["idealised"]["accuracy"] == [0.6]
    assert report["share_alpha_below_half"] == 0.2
    classes = report["triage"]["classes"]
    assert {name: (found["count"], found["flipped_share"]) for name, found in classes.items()} == {
        "already correct": (1, None),
        "easy": (1, 1.0),
        "hard": (1, 0.0),
        "infeasible": (2, 1.0),  # of the two, one was wrong before
    }
    flips = report["flips"]
    assert [flips[name]["count"] for name in ("c->c", "c->i", "i->c", "i->i")] == [1, 1, 2, 1]
    assert flips["flipped_share_of_wrong"] == pytest.approx(2 / 3)
    assert flips["i->i"]["mean_margin"] == pytest.approx(0.5)
    assert flips["i->i"]["mean_loss"] == pytest.approx(np.log1p(np.exp(-0.5)))
    assert flips["c->i"]["mean_loss"] == pytest.approx(np.log1p(np.exp(2.2)))
    assert flips["i->c"]["mean_margin"] == pytest.approx((0.6 + 4.5) / 2)
    quartiles = report["ref_log_ratio"]
    assert (quartiles["min"], quartiles["median"], quartiles["max"]) == (-5.0, 1.0, 40.0)
    assert report["flip_threshold"]["median"] == pytest.approx(np.log1p(np.exp(-0.1)))
    assert report["logps"]["chosen"] == pytest.approx(-29.6)
    assert report["logps"]["chosen_change"] == pytest.approx(-0.8)
    assert report["logps"]["rejected_change"] == pytest.approx(-7.0)
    assert report["logps"]["both_fell"] is True
