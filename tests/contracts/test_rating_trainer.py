"""``RewardTrainer`` on ratings, on pairs of several outputs, and on both at once."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the [language] extra")

import torch
from transformers import TrainerCallback

from pluralign import (
    DataError,
    DataQualityWarning,
    IncompatibleError,
    ParameterError,
    Preferences,
    TokenBatch,
)
from pluralign.datasets import load_preferences
from pluralign.engines import RewardModel
from pluralign.learn import (
    RewardTrainer,
    TrainingConfig,
    tiny_model,
    train_tokenizer,
)
from pluralign.learn.attributes import rewards_of
from pluralign.learn.ratings import Ratings
from pluralign.objectives import BradleyTerry, RatingRegression

NAMES = ("helpfulness", "verbosity")
WORDS = ["cat", "dog", "sat", "ran", "mat", "far", "red", "blue", "near", "home"]


def rated_rows(size, seed=0):
    """Good responses are helpful; long ones are verbose; some ratings are missing."""
    draw = random.Random(seed)

    def text(count):
        return " ".join(draw.choice(WORDS) for _ in range(count))

    rows = []
    for i in range(size):
        good, count = i % 2 == 0, draw.randint(1, 6)
        helpfulness, verbosity = (4 if good else 1), count / 2
        rows.append(
            {
                "prompt": text(draw.randint(1, 3)),
                "response": f" {'good' if good else 'bad'} {text(count)}",
                "helpfulness": None if i % 5 == 0 else helpfulness,
                "verbosity": None if i % 5 == 1 else verbosity,
                "group": "ab"[i % 3 == 0],
            }
        )
    return rows


def pair_rows(size, seed=1):
    draw = random.Random(seed)

    def text(count):
        return " ".join(draw.choice(WORDS) for _ in range(count))

    return [
        {"prompt": text(2), "chosen": f" good {text(2)}", "rejected": f" bad {text(3)}"}
        for _ in range(size)
    ]


@pytest.fixture(scope="module")
def ratings():
    return Ratings.from_records(rated_rows(24), NAMES)


@pytest.fixture(scope="module")
def pairs():
    return Preferences.from_records(pair_rows(10))


@pytest.fixture(scope="module")
def tokenizer(ratings, pairs):
    return train_tokenizer([*ratings.prompt, *ratings.response, *pairs.chosen], vocab_size=300)


def model_of(tokenizer, names=NAMES, ratings=None):
    torch.manual_seed(0)
    scaling = {"offset": ratings.offset(), "scale": ratings.scale()} if ratings else {}
    causal = tiny_model(tokenizer, hidden_size=32, num_layers=1, seed=2)
    return RewardModel.from_causal(causal, names, **scaling)


def settings(folder, **more):
    usual = {"learning_rate": 3e-3, "per_device_train_batch_size": 4, "num_train_epochs": 12}
    usual |= {"warmup_ratio": 0.0, "disable_tqdm": True, "bf16": False}
    return TrainingConfig(output_dir=str(folder), **(usual | more))


def logged(folder, name="loss"):
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row[name] for row in map(json.loads, lines) if name in row}


def test_ratings_are_learned_and_saved(ratings, tokenizer, tmp_path):
    model = model_of(tokenizer, ratings=ratings)
    trainer = RewardTrainer(
        model, ratings=ratings, eval_ratings=ratings, tokenizer=tokenizer,
        config=settings(tmp_path / "run"),
    )  # fmt: skip
    before = trainer.evaluate()
    after = trainer.fit()
    assert before["eval_ratings/helpfulness/rmse"] > 1.2  # its standard deviation is 1.5
    assert after["eval_ratings/helpfulness/rmse"] < 0.3
    assert after["eval_ratings/helpfulness/correlation"] > 0.97
    assert after["eval_ratings/verbosity/rmse"] < 0.5 < before["eval_ratings/verbosity/rmse"]
    assert (
        after["eval_worst_group/ratings/helpfulness/rmse"] >= after["eval_ratings/helpfulness/rmse"]
    )
    assert after["eval_loss"] < 0.2 * before["eval_loss"]

    predicted = trainer.predict(ratings)
    truth = ratings.matrix(NAMES)
    scaled = (predicted - truth) / [ratings.scale()[name] for name in NAMES]
    by_hand = np.nansum(scaled**2, axis=1).mean() / 2
    assert after["eval_loss"] == pytest.approx(by_hand, rel=1e-4)

    trainer.save(tmp_path / "model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    loaded = RewardModel.load(tmp_path / "model")
    again = RewardTrainer(loaded, ratings=ratings, tokenizer=tokenizer, config=trainer.config)
    np.testing.assert_array_equal(again.predict(ratings), predicted)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["objective"]["name"] == "RatingRegression"
    assert record["data"]["train"]["n"] == 24
    assert record["data"]["train"]["groups"] == ratings.group_sizes()


def test_pairs_and_ratings_are_learned_together(ratings, pairs, tokenizer, tmp_path):
    names = (*NAMES, "overall")
    model = model_of(tokenizer, names, ratings)
    trainer = RewardTrainer(
        model, {"overall": pairs}, ratings=ratings, tokenizer=tokenizer,
        eval_pairs={"overall": pairs}, eval_ratings=ratings, config=settings(tmp_path / "run"),
    )  # fmt: skip
    before = trainer.evaluate()
    after = trainer.fit()
    assert after["eval_rewards/accuracies"] == 1.0
    assert after["eval_loss"] < 0.3 < before["eval_loss"]  # of the pairs
    assert after["eval_ratings/helpfulness/rmse"] < 0.5
    assert "eval_ratings/overall/rmse" not in after
    scored = trainer.scores(pairs, "overall")
    assert (scored.chosen > scored.rejected).all()
    assert (
        trainer.evaluate({"overall": pairs}).items()
        >= {
            "eval_rewards/margins": pytest.approx(
                (scored.chosen - scored.rejected).mean(), rel=1e-4
            )
        }.items()
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(record["data"]) == {
        "longest", "train/overall", "train/ratings", "eval/overall", "eval/ratings",
    }  # fmt: skip
    trainer.save(tmp_path / "model")
    again = RewardModel.load(tmp_path / "model")
    trainer = RewardTrainer(again, {"overall": pairs}, tokenizer=tokenizer, config=trainer.config)
    np.testing.assert_array_equal(trainer.scores(pairs, "overall").chosen, scored.chosen)


def test_the_joint_loss_is_a_mean_over_pairs_and_responses(ratings, pairs, tokenizer, tmp_path):
    model = model_of(tokenizer, ratings=ratings)
    config = settings(tmp_path, max_steps=1, per_device_train_batch_size=34)
    common = {"tokenizer": tokenizer, "config": config}
    objective = RatingRegression(strength=0.3)
    trainer = RewardTrainer(
        model, {"verbosity": pairs}, ratings=ratings, rating_objective=objective, **common
    )
    scored = trainer.scores(pairs, "verbosity")
    of_pairs = np.logaddexp(0, scored.rejected - scored.chosen)
    scale = np.array([ratings.scale()[name] for name in NAMES])
    error = (trainer.predict(ratings) - ratings.matrix(NAMES)) / scale
    of_ratings = 0.3 * np.nansum(error**2, axis=1) / 2
    trainer.fit()
    both = np.concatenate([of_pairs, of_ratings])
    assert logged(tmp_path)[1] == pytest.approx(both.mean(), rel=1e-5)
    assert logged(tmp_path, "loss/pairs")[1] == pytest.approx(of_pairs.sum() / 34, rel=1e-5)
    assert logged(tmp_path, "loss/ratings")[1] == pytest.approx(of_ratings.sum() / 34, rel=1e-5)


class Gradients(TrainerCallback):
    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {n: p.grad.clone() for n, p in model.named_parameters()}


def first_gradient(folder, model, *args, batch, steps, **more):
    gradients = Gradients()
    config = settings(
        folder, per_device_train_batch_size=batch, gradient_accumulation_steps=steps,
        max_grad_norm=0.0, max_steps=1,
    )  # fmt: skip
    RewardTrainer(model, *args, config=config, callbacks=[gradients], **more).fit()
    return logged(folder)[1], gradients.found


@pytest.mark.parametrize("kind", ["ratings", "pairs", "both"])
def test_micro_batches_are_one_batch(kind, ratings, pairs, tokenizer, tmp_path):
    few = ratings.select(range(7))
    weighted = pairs.select([0, 1, 2]).with_columns(weight=np.array([0.2, 1.0, 3.0]))
    two = {"verbosity": weighted, "helpfulness": weighted}
    more = {"tokenizer": tokenizer}
    more |= {"ratings": few} if kind != "pairs" else {}
    args = (two,) if kind != "ratings" else ()
    size = {"ratings": 7, "pairs": 6, "both": 13}[kind]
    found = [
        first_gradient(
            tmp_path / f"{batch}", model_of(tokenizer, ratings=few), *args,
            batch=batch, steps=math.ceil(size / batch), **more,
        )
        for batch in (size, 3, 1)
    ]  # fmt: skip
    (whole_loss, whole), *others = found
    for loss, split in others:
        assert loss == pytest.approx(whole_loss, rel=1e-5)
        for name, gradient in whole.items():
            scale = gradient.abs().max().item()
            torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-5 * scale)


def test_missing_ratings_teach_nothing(tokenizer, tmp_path):
    """An output that is never rated gets no gradient."""
    rows = [row for row in rated_rows(8) if row["helpfulness"] is not None]
    kept = Ratings.from_records(rows, ("helpfulness",))
    model = model_of(tokenizer)
    _, gradient = first_gradient(
        tmp_path, model, ratings=kept, tokenizer=tokenizer, batch=8, steps=1
    )
    assert (gradient["head.weight"][1] == 0).all()
    assert (gradient["head.weight"][0] != 0).any()


def test_resumed_is_uninterrupted(ratings, pairs, tokenizer, tmp_path):
    def trained(folder, **more):
        config = settings(folder, max_steps=6, save_steps=3, **more)
        trainer = RewardTrainer(
            model_of(tokenizer, ratings=ratings), {"helpfulness": pairs}, ratings=ratings,
            tokenizer=tokenizer, config=config,
        )  # fmt: skip
        trainer.fit()
        return trainer.predict(ratings)

    whole = trained(tmp_path / "run")
    resumed = trained(tmp_path / "run", resume_from_checkpoint=str(tmp_path / "run/checkpoint-3"))
    np.testing.assert_array_equal(resumed, whole)


def test_pairs_of_two_outputs_are_learned_apart(pairs, tokenizer, tmp_path):
    """The same pairs with opposite labels: one output learns each."""
    model = model_of(tokenizer, ("kind", "blunt"))
    reverse = pairs.with_columns(chosen=pairs.rejected, rejected=pairs.chosen)
    trainer = RewardTrainer(
        model, {"kind": pairs, "blunt": reverse}, tokenizer=tokenizer,
        eval_pairs={"kind": pairs, "blunt": reverse}, config=settings(tmp_path),
    )  # fmt: skip
    assert trainer.fit()["eval_rewards/accuracies"] == 1.0
    kind, blunt = (trainer.scores(pairs, name) for name in ("kind", "blunt"))
    assert (kind.chosen > kind.rejected).all()
    assert (blunt.chosen < blunt.rejected).all()


def test_rows_of_unequal_numbers_of_responses():
    table = torch.randn(20, 3)

    def model(batch):
        """The sum of the vectors of all tokens of prompt and response."""
        parts = batch.tokens.split(batch.lengths.flatten().tolist())
        width = batch.lengths.shape[1]
        rows = [
            torch.stack(
                [table[torch.cat([parts[i], parts[i + k]])].sum(0) for k in range(1, width)]
            )
            for i in range(0, len(parts), width)
        ]
        return torch.stack(rows)

    tokens = torch.arange(11)
    mixed = TokenBatch(tokens, torch.tensor([[2, 1, 3], [1, 2, 0], [0, 2, 0]]))
    got = rewards_of(model, mixed)
    assert got.shape == (3, 2, 3)
    torch.testing.assert_close(got[0, 1], table[[0, 1, 3, 4, 5]].sum(0))
    torch.testing.assert_close(got[1, 0], table[[6, 7, 8]].sum(0))
    torch.testing.assert_close(got[2, 0], table[[9, 10]].sum(0))
    assert (got[1:, 1] == 0).all()


def test_offset_and_scale_of_a_reward_model(tokenizer):
    plain = model_of(tokenizer)
    torch.manual_seed(0)
    scaled = RewardModel(plain.body, NAMES, offset={"verbosity": 2.0}, scale={"helpfulness": 3.0})
    scaled.head.load_state_dict(plain.head.state_dict())
    batch = TokenBatch(torch.tensor([3, 4, 5]), torch.tensor([[1, 2]]))
    expected = plain(batch) * torch.tensor([3.0, 1.0]) + torch.tensor([0.0, 2.0])
    torch.testing.assert_close(scaled(batch), expected)
    with pytest.raises(ParameterError, match="did you mean 'verbosity'"):
        RewardModel(plain.body, NAMES, offset={"verbose": 1.0})
    with pytest.raises(ParameterError, match=r"scale\['verbosity'\] must be a finite number > 0"):
        RewardModel(plain.body, NAMES, scale={"verbosity": 0.0})


def test_ratings_of_helpsteer_pairs(tmp_path):
    """HelpSteer's rows come back from its pairs with the ratings they had."""
    draw = random.Random(0)
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    rows = [
        {"prompt": f"p{i // 2}", "response": f"r{i}"}
        | {name: draw.randint(0, 4) for name in names}
        | {"helpfulness": i % 4}  # no ties
        for i in range(8)
    ]
    path = tmp_path / "helpsteer.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    pairs = load_preferences(path, format="helpsteer")
    found = Ratings.from_pairs(pairs, NAMES)
    truth = {row["response"]: (row["helpfulness"], row["verbosity"]) for row in rows}
    assert len(found) == 2 * len(pairs) >= 4
    for text, rated in zip(found.response, found.matrix(NAMES), strict=True):
        assert tuple(rated) == truth[text]
    with pytest.raises(DataError, match="there is no attribute 'humour_chosen'"):
        Ratings.from_pairs(pairs, ("humour",))


def test_what_ratings_know_of_themselves(ratings):
    assert ratings.scale()["helpfulness"] == pytest.approx(1.5, abs=0.02)
    assert 2 < ratings.offset()["helpfulness"] < 3
    assert ratings.fingerprint() == Ratings.from_records(rated_rows(24), NAMES).fingerprint()
    assert ratings.fingerprint() != ratings.select(range(23)).fingerprint()
    flat = Ratings(["p"] * 2, ["r", "s"], {"x": np.array([3.0, 3.0])})
    assert flat.scale() == {"x": 1.0}


def rows_with(**changes):
    row = {"prompt": "p", "response": "r", "x": 1}
    return [row, {**row, **changes}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ratings.from_records(rows_with(x="4"), ("x",)), "row 1: x must be a number"),
        (lambda: Ratings.from_records(rows_with(x=True), ("x",)), "row 1: x must be a number"),
        (lambda: Ratings.from_records(rows_with(x=math.inf), ("x",)), "row 1: x must be a finite"),
        (lambda: Ratings.from_records(rows_with(x=None), ("x",)), "row 1: no attribute is rated"),
        (lambda: Ratings.from_records(rows_with(), ("y",)), "no row has a 'y'; the columns are"),
        (lambda: Ratings.from_records(rows_with(response=" "), ("x",)), "row 1: response is blank"),
        (lambda: Ratings.from_records([], ("x",)), "no "),
        (lambda: Ratings(["p"], ["r", "s"], {"x": np.ones(1)}), "response has 2 values for 1"),
        (lambda: Ratings(["p"], ["r"], {"x": np.ones(1)}, weight=-np.ones(1)), "weight must be"),
    ],
)  # fmt: skip
def test_ratings_that_cannot_be_used(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_what_the_trainer_refuses(ratings, pairs, tokenizer, tmp_path):
    common = {"tokenizer": tokenizer, "config": settings(tmp_path)}
    model = model_of(tokenizer)
    with pytest.raises(ParameterError, match="needs pairs or ratings"):
        RewardTrainer(model, **common)
    with pytest.raises(IncompatibleError, match="Give a mapping from the name of an output"):
        RewardTrainer(model, pairs, **common)
    with pytest.raises(ParameterError, match="did you mean 'helpfulness'"):
        RewardTrainer(model, {"helpfulnes": pairs}, **common)
    with pytest.raises(ParameterError, match="empty mapping"):
        RewardTrainer(model, {}, **common)
    with pytest.raises(ParameterError, match="'verbosity', which is no output"):
        RewardTrainer(model_of(tokenizer, ("helpfulness",)), ratings=ratings, **common)
    noisy = pairs.with_columns(flip_rate=np.full(len(pairs), 0.1))
    with pytest.raises(IncompatibleError, match="give all sets the same"):
        RewardTrainer(model, {"verbosity": pairs, "helpfulness": noisy}, **common)
    trainer = RewardTrainer(model, {"verbosity": pairs}, **common)
    with pytest.raises(ParameterError, match="no output None"):
        trainer.scores(pairs)
    none = Ratings(ratings.prompt, ratings.response, ratings.values, weight=np.zeros(24))
    with pytest.raises(DataError, match="all weights are 0"):
        RewardTrainer(model, ratings=none, **common)
    common["config"] = settings(tmp_path, max_length=4)
    with pytest.raises(DataError, match="longer than max_length"):
        RewardTrainer(model, ratings=ratings, **common)


def test_one_output_may_be_rated_and_compared(ratings, pairs, tokenizer, tmp_path):
    only = Ratings.from_records(
        [row for row in rated_rows(24) if row["helpfulness"] is not None], ("helpfulness",)
    )
    model = model_of(tokenizer, ("helpfulness",), only)
    trainer = RewardTrainer(
        model, pairs, ratings=only, eval_pairs=pairs, tokenizer=tokenizer,
        objective=BradleyTerry(target_margin=0.5), config=settings(tmp_path),
    )  # fmt: skip
    after = trainer.fit()
    assert after["eval_rewards/accuracies"] == 1.0
    assert trainer.evaluate(ratings=only)["eval_ratings/helpfulness/correlation"] > 0.95


def test_rows_that_are_dropped_have_no_prediction(ratings, tokenizer, tmp_path):
    long = Ratings(["p", "p"], [" good", " good" * 400], {"helpfulness": np.array([4.0, 4.0])})
    common = {"tokenizer": tokenizer}
    common["config"] = settings(tmp_path, truncation="drop", max_length=100)
    trainer = RewardTrainer(model_of(tokenizer), ratings=ratings, **common)
    with pytest.warns(DataQualityWarning, match="longer than max_length"):
        predicted = trainer.predict(long)
    assert np.isfinite(predicted[0]).all()
    assert np.isnan(predicted[1]).all()
