"""A penalty on the scores of a model: rewards and margins that should not tell groups apart."""

import numpy as np
import pytest
import torch

from pluralign import DPO, IncompatibleError, ParameterError, Preferences
from pluralign.engines import RewardModel
from pluralign.learn import PreferenceTrainer, RewardTrainer
from pluralign.objectives import BradleyTerry, DistanceCovariance, Regularised


def grouped(n=48):
    """Every rater likes "cat"; the north writes "dog", the south "the", and others prefer "dog".

    So rewards learn to tell the writers' groups apart, though neither group asks for it.
    """
    rows = []
    for i in range(n):
        liked, noun = (" cat", " sat"), " cat" if i % 2 else " sat"
        group, chosen, rejected = (
            ("south", f"{liked[0]} the the", f"{liked[1]} the the"),
            ("north", f"{liked[0]} dog dog", f"{liked[1]} dog dog"),
            ("mixed", f"{noun} dog dog", f"{noun} the the"),
        )[i % 3]
        row = {"prompt": "and saw", "chosen": chosen, "rejected": rejected, "group": group}
        rows.append({**row, "age": 20.0 + i % 7})
    return Preferences.from_records(rows, attributes=["age"])


def penalised(strength, on="reward", base=None):
    penalty = DistanceCovariance()
    return Regularised(base=base or BradleyTerry(), penalty=penalty, strength=strength, on=on)


def trained(task, folder, objective, sensitive=(), steps=40):
    torch.manual_seed(0)
    pairs = grouped()
    config = task.config(
        folder, max_steps=steps, per_device_train_batch_size=24, learning_rate=5e-3
    )
    trainer = RewardTrainer(
        RewardModel.from_causal(task.model()),
        pairs,
        tokenizer=task.tokenizer,
        objective=objective,
        config=config,
        eval_pairs=pairs,
        sensitive=sensitive,
    )
    metrics = trainer.fit()
    scores = trainer.scores(pairs)
    rewards = torch.tensor(np.concatenate([scores.chosen, scores.rejected]))
    known = torch.tensor([name != "mixed" for name in pairs.group]).repeat(2)
    north = torch.tensor([name == "north" for name in pairs.group]).repeat(2)
    found = DistanceCovariance(normalise=True)(rewards[known], north[known])
    return rewards, found.item(), metrics


@pytest.mark.filterwarnings("ignore:the reward model is right")
def test_rewards_that_do_not_tell_groups_apart(task, tmp_path):
    plain, before, _ = trained(task, tmp_path / "plain", BradleyTerry())
    same, _, metrics = trained(task, tmp_path / "none", penalised(0.0), ("group",))
    assert torch.equal(plain, same)
    assert metrics["eval_dependence"] == 0
    _, after, metrics = trained(task, tmp_path / "much", penalised(5.0), ["group", "age"])
    assert before > 0.3
    assert after < 0.1 * before
    for group in ("north", "south"):  # the liking that all share is still learned
        assert metrics[f"eval_group/{group}/rewards/accuracies"] > 0.9


def test_margins_of_a_policy(task, tmp_path):
    pairs = grouped(10)
    config = task.config(tmp_path, max_steps=3, per_device_train_batch_size=8)
    trainer = PreferenceTrainer(
        task.model(),
        penalised(1.0, "link", DPO()),
        pairs,
        tokenizer=task.tokenizer,
        config=config,
        eval_pairs=pairs,  # in batches of 4, 4 and 2: too few rows for the last one
        sensitive=("group",),
    )
    metrics = trainer.fit()
    assert np.isfinite(metrics["eval_loss"])
    scored = trainer.scores(pairs)
    assert scored.beta == DPO().beta
    assert scored.ref_chosen is not None


@pytest.mark.parametrize(
    ("objective", "sensitive", "message"),
    [
        (penalised(1.0), (), "needs protected columns; name them"),
        (BradleyTerry(), ("group",), "for pairs under a Regularised objective; got BradleyTerry"),
        (penalised(1.0), ("groop",), r"no column 'groop'.*group"),
    ],
)
def test_wrong_columns(task, tmp_path, objective, sensitive, message):
    with pytest.raises(ParameterError, match=message):
        RewardTrainer(
            RewardModel.from_causal(task.model()),
            grouped(8),
            tokenizer=task.tokenizer,
            objective=objective,
            config=task.config(tmp_path),
            sensitive=sensitive,
        )


def test_several_outputs_are_refused(task, tmp_path):
    model = RewardModel.from_causal(task.model(), names=("a", "b"))
    with pytest.raises(IncompatibleError, match="one output and pairs alone"):
        RewardTrainer(
            model,
            {"a": grouped(8)},
            tokenizer=task.tokenizer,
            objective=penalised(1.0),
            config=task.config(tmp_path),
            sensitive=("group",),
        )
