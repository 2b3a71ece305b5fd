"""The drift of weights in a real preference training."""

import json

import pytest

from pluralign.learn import PreferenceTrainer
from pluralign.learn.drift import DriftLog
from pluralign.objectives import DPO


def test_drift_of_a_preference_training_is_logged(task, tmp_path):
    pairs = task.pairs(16)

    log = DriftLog(tmp_path / "drift", per_decade=5)
    config = task.config(tmp_path / "out", max_steps=8)
    PreferenceTrainer(
        task.model(), DPO(), pairs, tokenizer=task.tokenizer, config=config, callbacks=[log]
    ).fit()
    whole = log.rows
    assert [row["step"] for row in whole] == [1, 2, 3, 4, 7]
    distances = [row["distance"] for row in whole]
    assert distances == sorted(distances)
    assert all(d > 0 for d in distances)
    for row in whole:
        total = sum(d**2 for d in row["by_tensor"].values()) ** 0.5
        assert total == pytest.approx(row["distance"])
    lines = (tmp_path / "drift/drift.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == whole
