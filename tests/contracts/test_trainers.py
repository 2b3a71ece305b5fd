"""What every trainer promises, with every objective of the catalogue whose needs can be met."""

import importlib
import random

import numpy as np
import pytest
import torch

from pluralign import DataQualityWarning, Preferences, catalog
from pluralign.engines import ReferenceCache, RewardModel
from pluralign.learn import (
    PreferenceTrainer,
    RewardTrainer,
    SFTTrainer,
    TrainingConfig,
    score_pairs,
    tiny_model,
    train_tokenizer,
)
from pluralign.learn.saved import load_model, load_tokenizer
from pluralign.objectives import BradleyTerry, PairObjective

LISTED = [(part, example) for part in catalog.parts("objective") for example in part.examples]
WORDS = ["cat", "dog", "sat", "ran", "mat", "far", "red", "blue", "near", "home"]


def made(part, example):
    package, _, name = part.name.partition(".")
    return getattr(importlib.import_module(f"pluralign.{package}"), name)(**example)


def is_of(role):
    def listed(part):
        package, _, name = part.name.partition(".")
        kind = getattr(importlib.import_module(f"pluralign.{package}"), name)
        return issubclass(kind, PairObjective) == (role == "logprob")

    found = [(part, example) for part, example in LISTED if listed(part)]
    names = [f"{p.name}-{'-'.join(map(str, e.values())) or 'default'}" for p, e in found]
    return pytest.mark.parametrize(("part", "example"), found, ids=names)


@pytest.fixture(scope="module")
def pairs():
    """Sixteen pairs with every column that an objective may need."""
    draw = random.Random(3)

    def text(size):
        return " ".join(draw.choice(WORDS) for _ in range(size))

    rows = [
        {
            "prompt": text(draw.randint(1, 4)),
            "chosen": f" good {text(draw.randint(1, 4))}",
            "rejected": f" bad {text(draw.randint(1, 4))}",
            "group": "ab"[i % 2],
            "flip_rate": 0.1 + 0.2 * (i % 2),
            "chosen_first": i % 3 == 0,
            "target_margin": 0.1 * (i % 4),
            "tie": i % 8 == 7,
        }
        for i in range(16)
    ]
    return Preferences.from_records(rows, attributes=("target_margin", "tie"))


@pytest.fixture(scope="module")
def tokenizer(pairs):
    return train_tokenizer([*pairs.prompt, *pairs.chosen, *pairs.rejected], vocab_size=300)


def model_of(tokenizer):
    return tiny_model(tokenizer, hidden_size=32, num_layers=1, seed=2)


def settings(folder, **more):
    usual = {"learning_rate": 3e-3, "per_device_train_batch_size": 4, "num_train_epochs": 4}
    usual |= {"warmup_ratio": 0.0, "disable_tqdm": True, "bf16": False}
    return TrainingConfig(output_dir=str(folder), **(usual | more))


def changed(model):
    """The model with other weights, so that a failure to load would show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    return model


@is_of("logprob")
def test_preference_trainer(part, example, pairs, tokenizer, tmp_path, monkeypatch):
    objective = made(part, example)
    computed = []
    compute = ReferenceCache.compute.__func__
    monkeypatch.setattr(
        ReferenceCache,
        "compute",
        classmethod(lambda cls, *a, **k: computed.append(1) or compute(cls, *a, **k)),
    )
    model = model_of(tokenizer)
    trainer = PreferenceTrainer(
        model,
        objective,
        pairs,
        tokenizer=tokenizer,
        config=settings(tmp_path / "run"),
        eval_pairs=pairs,
    )
    before = trainer.evaluate()
    after = trainer.fit()
    assert after["eval_loss"] < before["eval_loss"] - 0.005
    assert after["eval_rewards/margins"] > before["eval_rewards/margins"]
    assert len(computed) == ("ref_chosen" in objective.needs)
    scored = trainer.scores(pairs)
    assert (scored.ref_chosen is not None) == ("ref_chosen" in objective.needs)
    assert scored.pairs.group == pairs.group
    assert scored.beta == objective.beta

    trainer.save(tmp_path / "model")
    changed(model)
    loaded = score_pairs(
        load_model(tmp_path / "model"),
        pairs,
        load_tokenizer(tmp_path / "model"),
        config=trainer.config,
    )
    np.testing.assert_array_equal(loaded.chosen, scored.chosen)
    np.testing.assert_array_equal(loaded.rejected, scored.rejected)


@is_of("reward")
def test_reward_trainer(part, example, pairs, tokenizer, tmp_path):
    torch.manual_seed(0)
    model = RewardModel.from_causal(model_of(tokenizer))
    config = settings(tmp_path / "run")
    options = {"tokenizer": tokenizer, "objective": made(part, example), "config": config}
    trainer = RewardTrainer(model, pairs, eval_pairs=pairs, **options)
    before = trainer.evaluate()
    after = trainer.fit()
    assert after["eval_loss"] < before["eval_loss"] - 0.05
    assert after["eval_worst_group/rewards/accuracies"] >= 0.8
    scored = trainer.scores(pairs)
    assert scored.kind == "reward"
    accuracy = (scored.chosen > scored.rejected).mean()
    assert after["eval_rewards/accuracies"] == pytest.approx(accuracy)

    trainer.save(tmp_path / "model")
    changed(model)
    again = RewardTrainer(RewardModel.load(tmp_path / "model"), pairs, **options)
    np.testing.assert_array_equal(again.scores(pairs).chosen, scored.chosen)


@pytest.mark.parametrize("loss_on", ["completion", "all"])
def test_sft_trainer(loss_on, pairs, tokenizer, tmp_path):
    model = model_of(tokenizer)
    trainer = SFTTrainer(
        model,
        list(zip(pairs.prompt, pairs.chosen, strict=True)),
        tokenizer=tokenizer,
        config=settings(tmp_path / "run"),
        eval_examples=pairs,
        loss_on=loss_on,
    )
    before = trainer.evaluate()
    after = trainer.fit()
    assert after["eval_loss"] < before["eval_loss"] - 0.5
    scored = trainer.scores(pairs)
    trainer.save(tmp_path / "model")
    changed(model)
    loaded = score_pairs(load_model(tmp_path / "model"), pairs, tokenizer, config=trainer.config)
    np.testing.assert_array_equal(loaded.chosen, scored.chosen)


def test_reward_model_near_chance_is_said(pairs, tokenizer, tmp_path):
    model = RewardModel.from_causal(model_of(tokenizer))
    swapped = pairs.with_columns(chosen=pairs.rejected, rejected=pairs.chosen)
    config = settings(tmp_path / "run")
    trainer = RewardTrainer(
        model,
        pairs,
        tokenizer=tokenizer,
        objective=BradleyTerry(),
        config=config,
        eval_pairs=swapped,
    )
    with pytest.warns(DataQualityWarning, match="near chance"):
        trainer.fit()


def test_saving_over_a_model_replaces_it_whole(pairs, tokenizer, tmp_path, monkeypatch):
    trainer = SFTTrainer(
        model_of(tokenizer), pairs, tokenizer=tokenizer, config=settings(tmp_path / "run")
    )
    trainer.save(tmp_path / "model")
    (tmp_path / "model" / "stale.txt").write_text("from an earlier run")
    trainer.save(tmp_path / "model")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "pluralign.json"} <= files
    assert "stale.txt" not in files

    def fails(*arguments, **more):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", fails)
    with pytest.raises(OSError, match="no space left"):
        trainer.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]
