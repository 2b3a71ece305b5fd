"""Reference scores as a phase of their own: computed once, found again, refused when stale."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pluralign import DataError
from pluralign.cli.app import app
from pluralign.engines import ReferenceCache
from pluralign.learn import PreferenceTrainer, precompute
from pluralign.learn.adapters import lora_config
from pluralign.objectives import DPO


@pytest.fixture
def counted(monkeypatch):
    """Rows that were scored by each call of ``ReferenceCache.compute``."""
    calls = []
    compute = ReferenceCache.compute.__func__

    def counting(cls, model, batches, *rest, **more):
        calls.append(sum(len(batch.lengths) for batch in batches))
        return compute(cls, model, batches, *rest, **more)

    monkeypatch.setattr(ReferenceCache, "compute", classmethod(counting))
    return calls


def test_runs_share_what_was_computed_once(task, tmp_path, counted):
    pairs, held_out = task.pairs(8), task.pairs(5, seed=1)
    config = task.config(tmp_path / "config")
    place = tmp_path / "reference"
    rewards = []
    for i, adapter in enumerate([None, None, 4]):
        model = task.model()
        cache = precompute(model, pairs, task.tokenizer, config, place, eval_pairs=held_out)
        trainer = PreferenceTrainer(
            model,
            DPO(),
            pairs,
            tokenizer=task.tokenizer,
            config=task.config(tmp_path / str(i)),
            eval_pairs=held_out,
            reference=cache,
            peft_config=None if adapter is None else lora_config(adapter),
        )
        rewards.append(trainer.evaluate()["eval_rewards/margins"])
    assert counted == [13]
    assert rewards == [0.0, 0.0, 0.0]


def test_another_policy_is_not_its_own_reference(task, tmp_path, counted):
    pairs, config = task.pairs(6), task.config(tmp_path / "config")
    place = tmp_path / "reference"
    model = task.model()
    first = precompute(model, pairs, task.tokenizer, config, place)
    with torch.no_grad():
        model.lm_head.weight[5] += 0.5  # a step of training
    second = precompute(model, pairs, task.tokenizer, config, place)
    assert counted == [6, 6]
    assert first.key.weights != second.key.weights
    assert not torch.equal(first.sums, second.sums)


def test_token_level_is_added_when_asked(task, tmp_path, counted):
    pairs, config = task.pairs(6), task.config(tmp_path / "config")
    given = (task.model(), pairs, task.tokenizer, config, tmp_path / "reference")
    plain = precompute(*given)
    tokens = precompute(*given, token_level=True)
    assert precompute(*given).token_level  # more than asked is as good
    assert counted == [6, 6]
    assert not plain.token_level
    torch.testing.assert_close(tokens.token_values(range(6)).sum(-1), plain.sums)


def test_a_cache_of_other_texts_is_refused(task, tmp_path):
    pairs = task.pairs(8)
    config = task.config(tmp_path)
    cache = precompute(task.model(), pairs, task.tokenizer, config)
    swapped = pairs.select([1, 0, *range(2, 8)])
    trainer = PreferenceTrainer(
        task.model(), DPO(), swapped, tokenizer=task.tokenizer, config=config, reference=cache
    )
    with pytest.raises(DataError, match="8 rows of other texts than the 8 rows"):
        trainer.evaluate(pairs)


def test_the_command(task, tmp_path):
    model = task.model()
    model.save_pretrained(tmp_path / "model")
    task.tokenizer.save_pretrained(tmp_path / "model")
    pairs = task.pairs(7)
    lines = [json.dumps(row) for row in pairs.records()]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    call = [str(tmp_path / "model"), str(tmp_path / "pairs.jsonl"), "--output", str(tmp_path / "r")]
    for _ in range(2):
        result = CliRunner().invoke(app, ["precompute", *call, "--json", "--batch-tokens", "60"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["rows"] == 7
    direct = precompute(model, pairs, task.tokenizer, task.config(tmp_path / "c"))
    key = direct.key
    np.testing.assert_allclose(
        ReferenceCache.load(tmp_path / "r", key).sums, direct.sums, atol=1e-4
    )
