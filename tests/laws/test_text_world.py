"""The embedded world keeps its word: what it calls the truth can be found in its pairs."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom

from pluralign.datasets import LEXICON, make_text_world, text_attributes
from pluralign.errors import ParameterError

RATES = {"north": 0.05, "south": 0.35}


@pytest.fixture(scope="module")
def world():
    return make_text_world(0, double_share=0.5)


def of_group(pairs, name):
    return pairs.select([i for i, group in enumerate(pairs.group) if group == name])


def within_chance(successes, trials, rate):
    """Whether a count is inside the central 99.99 % of its binomial distribution."""
    low, high = binom.interval(0.9999, trials, rate)
    return low <= successes <= high


@pytest.mark.parametrize("name", RATES)
def test_labels_are_flipped_at_the_rate_of_the_group(world, name):
    flipped = of_group(world.train, name).attributes["flipped"]
    assert within_chance(flipped.sum(), len(flipped), RATES[name])
    assert world.truth["flip_rates"] == RATES


@pytest.mark.parametrize("part", ["train", "eval"])
@pytest.mark.parametrize("name", RATES)
def test_labels_disagree_with_utility_exactly_where_flipped(world, part, name):
    pairs = of_group(getattr(world, part), name)
    gap = world.utility(pairs.chosen, name) - world.utility(pairs.rejected, name)
    assert np.array_equal(gap < 0, pairs.attributes["flipped"] == 1.0)
    assert np.abs(gap).min() > 1e-6
    assert part == "train" or not pairs.attributes["flipped"].any()


@pytest.mark.parametrize("name", RATES)
def test_gold_pairs_err_at_the_true_rate(world, name):
    pairs = of_group(world.train, name)
    examined = np.isfinite(pairs.attributes["gold"])
    assert examined.sum() == 200
    assert np.array_equal(
        pairs.attributes["gold"][examined], 1.0 - pairs.attributes["flipped"][examined]
    )
    errors = (pairs.attributes["gold"][examined] == 0.0).sum()
    assert within_chance(errors, 200, RATES[name])


@pytest.mark.parametrize("name", RATES)
def test_second_annotators_agree_as_two_independent_flips_do(world, name):
    seconds = of_group(world.train, name).attributes["second"]
    asked = np.isfinite(seconds)
    agreement = 1.0 - 2.0 * RATES[name] * (1.0 - RATES[name])
    assert within_chance(asked.sum(), len(seconds), 0.5)
    assert within_chance(seconds[asked].sum(), asked.sum(), agreement)


@pytest.mark.parametrize("name", RATES)
def test_directions_are_recovered_from_true_labels(world, name):
    pairs = of_group(world.eval, name)
    better, other = text_attributes(pairs.chosen), text_attributes(pairs.rejected)
    rows = np.stack([better[key] - other[key] for key in LEXICON], axis=1)

    def loss(weights):
        margin = rows @ weights
        slope = -1.0 / (1.0 + np.exp(margin))
        value = np.logaddexp(0.0, -margin).mean() + 1e-3 * weights @ weights
        return value, rows.T @ slope / len(rows) + 2e-3 * weights

    found = minimize(loss, np.zeros(len(LEXICON)), jac=True).x
    truth = np.array([world.truth["groups"][name].get(key, 0.0) for key in LEXICON])
    cosine = found @ truth / np.linalg.norm(found) / np.linalg.norm(truth)
    assert cosine > 0.98


def test_groups_want_mostly_different_things(world):
    pairs = world.eval.select(range(len(world.eval)))
    gaps = {
        name: world.utility(pairs.chosen, name) - world.utility(pairs.rejected, name)
        for name in RATES
    }
    agree = np.mean(np.sign(gaps["north"]) == np.sign(gaps["south"]))
    assert 0.4 < agree < 0.6


def test_a_compromise_in_proportion_to_clarity_serves_the_noisier_group_worse(world):
    """The mechanism: DPO's pull is (1 - 2 flip_rate) of each group's, rDPO's is whole."""
    south = of_group(world.eval, "south")

    def served(pull):
        def reward(texts):
            return sum(pull[name] * world.utility(texts, name) for name in RATES)

        return np.mean(reward(south.chosen) > reward(south.rejected))

    heard_less = served({name: 1.0 - 2.0 * rate for name, rate in RATES.items()})
    heard_alike = served(dict.fromkeys(RATES, 1.0))
    assert heard_alike - heard_less > 0.08


def test_length_tells_nothing_and_prompts_tell_no_group(world):
    lengths = {len(text.split()) for text in (*world.train.chosen, *world.train.rejected)}
    assert len(lengths) == 1
    asked = {name: set(of_group(world.train, name).prompt) for name in RATES}
    shared = asked["north"] & asked["south"]
    assert len(shared) > 0.95 * len(asked["north"] | asked["south"])


def test_evaluation_prompts_are_new(world):
    assert not set(world.eval.prompt) & set(world.train.prompt)
    assert not set(world.eval.prompt) & {prompt for prompt, _ in world.sft}


def test_one_seed_one_world():
    sizes = {"n_train": 60, "n_eval": 20, "n_gold": 10, "n_sft": 10}
    one, again, other = (make_text_world(seed, **sizes) for seed in (5, 5, 6))
    for part in ("train", "eval"):
        assert getattr(one, part).fingerprint() == getattr(again, part).fingerprint()
        assert getattr(one, part).fingerprint() != getattr(other, part).fingerprint()
    assert one.sft == again.sft != other.sft
    more = make_text_world(5, **sizes | {"n_eval": 40, "n_sft": 30})
    assert more.train.fingerprint() == one.train.fingerprint()


def test_truth_is_plain_data(world):
    assert json.loads(json.dumps(world.truth)) == world.truth
    assert world.truth["n_train"] == world.train.group_sizes() == {"south": 3000, "north": 3000}


def test_shares_groups_and_sharpness_are_obeyed():
    world = make_text_world(
        1,
        n_train=900,
        n_eval=90,
        n_gold=0,
        groups={"a": {"polite": 1.0}, "b": {"eager": -1.0}, "c": {"swift": 2.0}},
        flip_rates={"a": 0.0, "b": 0.4, "c": 0.0},
        shares={"a": 6.0, "b": 2.0, "c": 1.0},
        annotators=2,
        sharpness=1.0,
    )
    assert world.train.group_sizes() == {"a": 600, "b": 200, "c": 100}
    assert world.eval.group_sizes() == {"a": 30, "b": 30, "c": 30}
    assert set(world.train.annotator) == {f"{g}-{i}" for g in "abc" for i in (1, 2)}
    assert not np.isfinite(world.train.attributes["gold"]).any()
    assert "second" not in world.train.attributes
    sharp = of_group(world.train, "a")
    gap = world.utility(sharp.chosen, "a") - world.utility(sharp.rejected, "a")
    expected = np.mean(1.0 / (1.0 + np.exp(-np.abs(gap))))
    assert within_chance((gap > 0).sum(), len(gap), expected)


def test_texts_survive_the_tokenizer(world):
    tokenizer = world.tokenizer()
    assert len(tokenizer) <= 128
    special = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert len({*special, tokenizer.unk_token_id}) == 4
    for text in (*world.train.chosen[:50], *world.eval.prompt[:50], *world.sft_texts[:50]):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert not {*special, tokenizer.unk_token_id} & set(ids)


def test_prompt_and_response_meet_at_a_token_boundary(world):
    tokenizer = world.tokenizer()
    prompt, response = world.train.prompt[0], world.train.chosen[0]
    apart = tokenizer(prompt)["input_ids"] + tokenizer(response)["input_ids"]
    assert tokenizer(prompt + response)["input_ids"] == apart
    assert tokenizer(f"{prompt} {response}")["input_ids"] == apart


def test_tokenizer_survives_saving(world, tmp_path):
    from transformers import AutoTokenizer

    world.tokenizer().save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = world.sft_texts[0]
    assert again(text)["input_ids"] == world.tokenizer()(text)["input_ids"]
    assert again.decode(again(text)["input_ids"]) == text


def test_attributes_are_counted_per_sentence():
    found = text_attributes(["Please check it . Please dry it daily .", "", "kindly please thanks"])
    assert found["polite"].tolist() == [1.0, 0.0, 1.0]
    assert found["concrete"].tolist() == [0.5, 0.0, 0.0]
    assert all(v.min() >= 0.0 and v.max() <= 1.0 for v in found.values())


def test_every_text_shows_attributes_at_the_same_rate(world):
    found = text_attributes([response for _, response in world.sft])
    for values in found.values():
        assert math.isclose(values.mean(), 1 / 3, abs_tol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be an integer >= 0; got -1"),
        ({"n_train": 1}, "n_train must be an integer >= 2"),
        ({"n_eval": 2.5}, "n_eval must be an integer >= 2; got 2.5"),
        ({"n_gold": 7000}, "n_gold must be at most n_train=6000; got 7000"),
        ({"double_share": 1.5}, r"double_share must be a finite number in \[0.0, 1.0\]"),
        ({"sharpness": 0.0}, "sharpness must be None or a finite number > 0.0"),
        ({"flip_rates": {"north": 0.1}}, r"flip_rates names groups \['north'\], but groups has"),
        ({"flip_rates": {"north": 0.1, "south": 0.5}}, r"flip_rates\['south'\] must be .*got 0.5"),
        ({"shares": {"north": 1, "south": 0}}, r"shares\['south'\] must be .* > 0.0; got 0"),
        ({"groups": {}}, "groups is empty"),
        ({"groups": {"north": {"polit": 1}, "south": {"eager": 1}}}, "did you mean 'polite'"),
        ({"groups": {"north": {}, "south": {"eager": 1}}}, "group 'north' prefers nothing"),
        (
            {"n_train": 2, "n_gold": 0, "shares": {"north": 99, "south": 1}},
            "leave no pair to group 'south'",
        ),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ParameterError, match=message):
        make_text_world(**options)


def test_unknown_group_is_named(world):
    with pytest.raises(ParameterError, match=r"no group 'nort'; did you mean 'north'\?"):
        world.utility(["a"], "nort")
