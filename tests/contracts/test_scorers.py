"""What every scorer promises, whatever it measures."""

import random

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [language] extra")

import torch
import transformers

from pluralign import DataError
from pluralign.engines import RewardModel
from pluralign.engines.scorers import (
    ClassifierScorer,
    Ensemble,
    FormatChecks,
    Item,
    Joined,
    Length,
    Readability,
    Relevance,
    RewardScorer,
    Scaled,
    Scorer,
    Sentiment,
)
from pluralign.learn import train_tokenizer

WORDS = ["good", "bad", "cat", "dog", "sat", "ran", "mat", "far", "red", "blue", "near", "home"]
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def items_like(size, seed=0):
    draw = random.Random(seed)

    def text(most):
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, most))) + "."

    return [Item(text(6), text(12)) for _ in range(size)]


ITEMS = items_like(11)


@pytest.fixture(scope="module")
def tokenizer():
    found = train_tokenizer([text for item in ITEMS for text in item], vocab_size=300)
    found.chat_template = TEMPLATE
    return found


def classifier(tokenizer, labels=5, pad=True):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id if pad else None,
        num_labels=labels,
        id2label={i: f"quality-{i}" for i in range(labels)},
        **SHAPE,
    )
    return transformers.LlamaForSequenceClassification(config)


def reward_model(tokenizer, **more):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), **SHAPE)
    return RewardModel(transformers.LlamaModel(config), ("helpful", "brief"), **more)


MAKERS = {
    "classifier": lambda t, b: ClassifierScorer(classifier(t), t, batch_size=b),
    "classifier-unpadded": lambda t, b: ClassifierScorer(classifier(t, pad=False), t, batch_size=b),
    "reward": lambda t, b: RewardScorer(reward_model(t), t, batch_size=b),
    "reward-left": lambda t, b: RewardScorer(reward_model(t, padding_side="left"), t, batch_size=b),
    "relevance": lambda t, b: Relevance(batch_size=b),
    "words": lambda t, b: Length(),
    "characters": lambda t, b: Length(unit="characters"),
    "tokens": lambda t, b: Length(unit="tokens", tokenizer=t),
    "readability": lambda t, b: Readability(),
    "sentiment": lambda t, b: Sentiment(),
    "sentiment-whole": lambda t, b: Sentiment("text"),
    "form": lambda t, b: FormatChecks(checks=("full_stop",), patterns={"cat": "cat"}),
    "scaled": lambda t, b: Scaled(Length(), {"length": 2.0}, {"length": -4.0}),
    "joined": lambda t, b: Joined([Sentiment(), Readability()]),
    "ensemble": lambda t, b: Ensemble([Readability(), Readability("en_GB")], "min"),
}
EVERY = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture(scope="module")
def made(tokenizer):
    """Each scorer by kind and batch size, built once."""
    known = {}

    def make(kind, batch_size=4):
        if (kind, batch_size) not in known:
            known[kind, batch_size] = MAKERS[kind](tokenizer, batch_size)
        return known[kind, batch_size]

    return make


@EVERY
def test_is_a_scorer_with_names_known_beforehand(kind, made):
    scorer = made(kind)
    assert isinstance(scorer, Scorer)
    names = scorer.names
    assert scorer.name
    scores = scorer.score(ITEMS)
    assert scores.names == names
    assert scores.values.shape == (len(ITEMS), len(names))
    assert scores.ok.all()
    assert np.isfinite(scores.values).all()
    assert (scores.values.std(axis=0) > 0).any()


@EVERY
def test_a_row_depends_on_its_own_item(kind, made):
    scorer = made(kind)
    whole = scorer.score(ITEMS).values
    order = random.Random(1).sample(range(len(ITEMS)), len(ITEMS))
    shuffled = scorer.score([ITEMS[i] for i in order]).values
    np.testing.assert_allclose(shuffled, whole[order], atol=2e-5)
    alone = np.concatenate([scorer.score([item]).values for item in ITEMS])
    np.testing.assert_allclose(alone, whole, atol=2e-5)


@pytest.mark.parametrize("kind", ["classifier", "reward", "reward-left", "relevance"])
def test_batch_size_changes_nothing(kind, made):
    one, some, all_at_once = (made(kind, size).score(ITEMS).values for size in (1, 4, 64))
    np.testing.assert_allclose(one, some, atol=2e-5)
    np.testing.assert_allclose(one, all_at_once, atol=2e-5)


@pytest.mark.parametrize("kind", ["classifier", "reward"])
def test_the_tokenizers_padding_side_changes_nothing(kind, tokenizer):
    found = []
    for side in ("left", "right"):
        tokenizer.padding_side = side
        found.append(MAKERS[kind](tokenizer, 4).score(ITEMS).values)
    np.testing.assert_array_equal(*found)


def test_the_models_padding_side_changes_nothing(made):
    sides = [made(kind).score(ITEMS).values for kind in ("reward", "reward-left")]
    np.testing.assert_allclose(*sides, atol=2e-5)


@EVERY
def test_no_items_give_no_rows(kind, made):
    scores = made(kind).score([])
    assert scores.values.shape == (0, len(scores.names))


@EVERY
def test_a_blank_response_harms_no_other(kind, made):
    scorer = made(kind)
    whole = scorer.score(ITEMS).values
    mixed = scorer.score([ITEMS[0], Item("Why?", ""), Item("Why?", " \n"), ITEMS[1]])
    np.testing.assert_allclose(mixed.values[[0, 3]], whole[:2], atol=2e-5)
    assert mixed.ok[[0, 3]].all()
    assert (np.isnan(mixed.values).any(axis=1) == ~mixed.ok).all()


@EVERY
def test_what_is_no_item_is_refused_with_its_row(kind, made):
    with pytest.raises(DataError, match="item 1") as caught:
        made(kind).score([ITEMS[0], ("prompt", "response")])
    assert caught.value.rows == (1,)
    with pytest.raises(DataError, match="item 0"):
        made(kind).score([Item("prompt", None)])


@pytest.mark.parametrize("kind", ["classifier", "reward"])
def test_a_model_that_gives_nan_is_refused(kind, tokenizer):
    scorer = MAKERS[kind](tokenizer, 4)
    with torch.no_grad():
        next(scorer.model.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="no finite score for any of 11 texts"):
        scorer.score(ITEMS)


@pytest.mark.parametrize("kind", ["classifier", "reward"])
def test_a_single_nan_is_not_ok_and_harms_no_other(kind, tokenizer):
    scorer = MAKERS[kind](tokenizer, 4)
    before = scorer.score(ITEMS).values
    blue = tokenizer(" blue", add_special_tokens=False)["input_ids"]
    with_blue = np.array([set(blue) <= set(tokenizer(f"{p}{r}")["input_ids"]) for p, r in ITEMS])
    assert 0 < with_blue.sum() < len(ITEMS)
    with torch.no_grad():
        table = scorer.model.get_input_embeddings() if kind == "classifier" else None
        table = table or scorer.model.body.get_input_embeddings()
        table.weight[blue] = float("nan")
    after = scorer.score(ITEMS)
    assert not after.ok[with_blue].any()
    np.testing.assert_allclose(after.values[after.ok], before[after.ok], atol=2e-5)
