"""Real preference sets, read in place: every row arrives, groups and all."""

from collections import Counter
from pathlib import Path

import pytest

from pluralign.datasets import load_preferences, train_eval_split
from pluralign.errors import DataError, DataQualityWarning

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def stored(name):
    path = DATA / name / "pairs.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the data set {name} is not beside the repository")
    return path


def test_hhh_alignment_keeps_its_four_groups():
    pairs = load_preferences(stored("hhh_alignment"))
    assert pairs.group_sizes() == {"honest": 61, "helpful": 59, "harmless": 58, "other": 43}
    train, held_out = train_eval_split(pairs, 0.3, seed=0)
    assert not set(train.prompt) & set(held_out.prompt)
    # Some prompts have many pairs, which stay together: the share is kept to half of them.
    slack = max(Counter(pairs.prompt).values()) / 2 + 1
    for name, size in pairs.group_sizes().items():
        assert abs(held_out.group_sizes()[name] - 0.3 * size) <= slack


def test_hh_harmless_has_four_unusable_rows():
    path = stored("hh_rlhf_harmless")
    with pytest.raises(DataError, match="4 of 2312 rows cannot be used") as caught:
        load_preferences(path)
    with pytest.warns(DataQualityWarning, match="dropped 4 of 2312 rows"):
        pairs = load_preferences(path, drop_unusable=True)
    assert len(pairs) == 2308
    assert len(caught.value.rows) == 4
    assert all(prompt.endswith("\n\nAssistant:") for prompt in pairs.prompt)


def test_hh_harmless_as_transcripts_is_cut_where_the_dialogues_part():
    with pytest.warns(DataQualityWarning):
        pairs = load_preferences(stored("hh_rlhf_harmless"), drop_unusable=True)
    transcripts = [
        {"chosen": f"{p} {c}", "rejected": f"{p} {r}"}
        for p, c, r in zip(pairs.prompt, pairs.chosen, pairs.rejected, strict=True)
    ]
    again = load_preferences(transcripts)
    same = [one == other for one, other in zip(pairs.prompt, again.prompt, strict=True)]
    assert all(same)
    assert [text.removeprefix(" ") for text in again.chosen] == list(pairs.chosen)


def test_llmbar_subsets_are_domains():
    options = {"domain": "subset", "attributes": ["label"], "drop_unusable": True}
    with pytest.warns(DataQualityWarning, match="dropped 1 of 1000 rows: row 654: rejected is"):
        pairs = load_preferences(stored("llmbar"), **options)
    assert len(pairs) == 999
    assert Counter(pairs.domain)["LLMBar/Adversarial/Neighbor"] == 134
    assert set(pairs.attributes["label"]) == {1.0, 2.0}
