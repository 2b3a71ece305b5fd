"""Checkpoints of a training in one audit: their record, what it refuses, and its figure."""

import re

import numpy as np
import pytest

from pluralign import DataError, IncompatibleError, Preferences, ScoredPairs
from pluralign.audit import write_report
from pluralign.audit.record import audit_models
from pluralign.audit.winning import checkpoint_record, win_rate_relation

STEPS = (0, 20, 40, 80, 160)
WINS = {0: 0.5, 20: 0.58, 40: 0.63, 80: 0.6, 160: 0.52}


def pairs_of(size=40, **columns):
    return Preferences(
        prompt=["p"] * size,
        chosen=["a"] * size,
        rejected=["b"] * size,
        group=["n", "s"] * (size // 2),
        **columns,
    )


def at(step, pairs=None):
    """Ranking accuracy rises by one pair in forty every four steps, from a half."""
    pairs = pairs or pairs_of()
    right = np.arange(40) < 20 + min(step // 8, 20)
    return ScoredPairs(pairs, chosen=np.where(right, 1.0, -1.0), rejected=np.zeros(40))


def test_a_point_for_each_checkpoint_in_order_of_steps():
    record = checkpoint_record({step: at(step) for step in reversed(STEPS)}, WINS)
    points = record["points"]
    assert [point["step"] for point in points] == list(STEPS)
    assert [point["win_rate"] for point in points] == list(WINS.values())
    accuracy = [point["ranking_accuracy"] for point in points]
    assert accuracy == [0.5, 0.55, 0.625, 0.75, 1.0]
    assert record["relation"] == win_rate_relation(accuracy, list(WINS.values()))
    assert record["relation"]["to_peak"]["spearman"] == pytest.approx(1.0)
    assert record["relation"]["after_peak"]["spearman"] == pytest.approx(-1.0)


def test_weights_and_missing_scores_count_as_in_a_frame():
    pairs = pairs_of(weight=[3.0] * 20 + [1.0] * 20)
    late = at(160, pairs)
    scores = late.chosen.copy()
    scores[0] = np.nan
    start = ScoredPairs(
        pairs, chosen=np.where(np.arange(40) == 0, np.nan, at(0).chosen), rejected=np.zeros(40)
    )
    record = checkpoint_record({0: start, 1: late}, {0: 0.5, 1: 0.6})
    assert record["points"][0]["n"] == 39
    assert record["points"][0]["ranking_accuracy"] == pytest.approx(19 * 3 / (19 * 3 + 20))


def test_unmeasured_win_rates_leave_the_accuracy():
    record = checkpoint_record({step: at(step) for step in STEPS}, {0: 0.5, 80: 0.6})
    assert [point["win_rate"] for point in record["points"]] == [0.5, None, None, 0.6, None]
    assert record["relation"]["all"]["n"] == 2


def test_what_is_refused():
    scored = {step: at(step) for step in STEPS}
    with pytest.raises(DataError, match="no scores for steps"):
        checkpoint_record(scored, {**WINS, 99: 0.5})
    with pytest.raises(DataError, match=r"\[0, 1\].*55"):
        checkpoint_record(scored, {0: 0.5, 20: 55.0})
    with pytest.raises(DataError, match="two lists"):
        checkpoint_record(scored, {0: 0.5})
    weightless = pairs_of(weight=[1.0] + [0.0] * 39)
    empty = ScoredPairs(weightless, chosen=[np.nan] + [1.0] * 39, rejected=np.zeros(40))
    with pytest.raises(DataError, match="step 20 has no pair"):
        checkpoint_record({**scored, 20: empty}, WINS)
    other = pairs_of(pair_id=[f"x{i}" for i in range(40)])
    with pytest.raises(IncompatibleError, match="steps 0 and 20"):
        checkpoint_record({0: at(0), 20: at(20, other)}, {0: 0.5, 20: 0.6})
    with pytest.raises(DataError, match="tunde"):
        audit_models({"tuned": at(0)}, n_bootstrap=100, checkpoints={"tunde": {}})


def test_the_report_draws_both_curves_and_says_how_they_move(tmp_path):
    record = checkpoint_record({step: at(step) for step in STEPS}, WINS)
    models = {"start": at(0), "tuned": at(160)}
    run = audit_models(models, n_bootstrap=200, checkpoints={"tuned": record})
    page = write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    plain = page.replace("\u2068", "").replace("\u2069", "")
    assert 'id="checkpoints-figure"' in page
    assert "tuned: rank correlation of the two +1 up to the peak, −1 past it" in plain
    figure = plain[plain.index('id="checkpoints-figure"') :]
    figure = figure[: figure.index("</figure>")]
    drawn = figure[figure.index("<svg") : figure.index("</svg>")]
    assert "ranking accuracy" in drawn
    assert "win rate" in drawn
    assert len(re.findall(r"<path|<polyline", drawn)) >= 2
    for step in STEPS:
        assert f"<td>{step}</td>" in figure or f">{step}<" in figure
