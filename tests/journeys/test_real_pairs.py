"""Real preference sets, read in place: every row arrives, groups and all."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pluralign.datasets import (
    file_hash,
    iter_preferences,
    load_preferences,
    to_trl,
    train_eval_split,
)
from pluralign.errors import DataError, DataQualityWarning

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def stored(name, file="pairs.jsonl.gz"):
    path = DATA / name / file
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
    stripped = load_preferences(transcripts, format="hh_rlhf")
    assert stripped.fingerprint() == pairs.with_columns(pair_id=stripped.pair_id).fingerprint()
    spoken = load_preferences(transcripts, format="hh_rlhf", options={"messages": True})
    assert all(turns[-1]["role"] == "user" for turns in spoken.prompt)
    assert {turns[0]["role"] for turns in spoken.chosen} == {"assistant"}


def test_llmbar_subsets_are_domains():
    options = {"domain": "subset", "attributes": ["label"], "drop_unusable": True}
    with pytest.warns(DataQualityWarning, match="dropped 1 of 1000 rows: row 654: rejected is"):
        pairs = load_preferences(stored("llmbar"), **options)
    assert len(pairs) == 999
    assert Counter(pairs.domain)["LLMBar/Adversarial/Neighbor"] == 134
    assert set(pairs.attributes["label"]) == {1.0, 2.0}
    assert not pairs.chosen_first.all()
    assert pairs.chosen_first.any()


def test_pandalm_votes_are_the_files():
    path = stored("pandalm_annotators")
    with gzip.open(path, "rt") as stream:
        rows = [json.loads(line) for line in stream]
    blank = {i for i, r in enumerate(rows) if "" in (r["response1"], r["response2"])}
    with pytest.warns(DataQualityWarning, match="dropped 54 of 999 rows"):
        pairs = load_preferences(path, group="motivation_app", drop_unusable=True)
    assert len(blank) == 54
    assert len(pairs) == 3 * (999 - 54)
    votes = Counter(
        row[name]
        for i, row in enumerate(rows)
        if i not in blank
        for name in ("annotator1", "annotator2", "annotator3")
    )
    ties = pairs.label_prob == 0.5
    assert ties.sum() == votes[0]
    assert (pairs.chosen_first & ~ties).sum() == votes[1]
    assert (~pairs.chosen_first & ~ties).sum() == votes[2]
    assert set(pairs.annotator) == {"annotator1", "annotator2", "annotator3"}
    assert len(pairs.group_sizes()) == 50


def test_pandalm_shares_of_votes():
    options = {"votes": "share"}
    with pytest.warns(DataQualityWarning, match="dropped 54 of 999 rows"):
        shared = load_preferences(stored("pandalm_annotators"), drop_unusable=True, options=options)
    # Some pairs are in the file twice, with six votes then.
    assert shared.attributes["n_votes"].sum() == 3 * (999 - 54)
    assert set(shared.attributes["n_votes"]) >= {3.0, 6.0}
    assert (shared.label_prob >= 0.5).all()
    assert 0.7 < (shared.label_prob == 1.0).mean() < 0.9


def test_pool_of_answers_becomes_pairs_with_margins():
    path = stored("alpaca_eval_pool", "pool.jsonl.gz")
    best = load_preferences(path, options={"pairing": "lowest"}, group="model_chosen")
    assert len(best) == 805
    assert best.group_sizes()["gpt4_1106_preview"] > 600
    assert Counter(best.domain)["vicuna"] == 80
    assert (best.attributes["margin"] >= 0).all()
    with pytest.warns(DataQualityWarning, match="dropped 128 ties"):
        every = load_preferences(path, options={"pairing": "all"})
    # 91 pairs of 14 answers, less those of blank, missing or equal answers, less the ties.
    assert len(every) == 72_590
    assert every.attributes["margin"].min() > 0


def test_multipico_keeps_every_judgement_and_who_gave_it():
    path = stored("multipico", "annotations.parquet")
    pairs = load_preferences(path.parent, group=["gender", "ethnicity"])
    assert len(pairs) == 33_871
    assert np.mean(np.array(pairs.chosen) == "Yes") == pytest.approx(0.329, abs=5e-4)
    assert len(set(pairs.annotator)) == 506
    assert set(pairs.domain) == {"ar", "de", "en", "es", "fr", "hi", "it", "nl", "pt"}
    assert sum(n for name, n in pairs.group_sizes().items() if name.startswith("Female")) == 15_262
    chunks = list(iter_preferences(path, group="gender", chunk_rows=10_000))
    assert [len(chunk) for chunk in chunks] == [10_000, 10_000, 10_000, 3_871]
    assert sum(chunk.group_sizes()["Male"] for chunk in chunks) == 18_476


@pytest.mark.parametrize("name", ["hhh_alignment", "llmbar"])
def test_real_pairs_survive_the_way_to_trl_and_back(name):
    with gzip.open(stored(name), "rt") as stream:
        rows = [json.loads(line) for line in stream]
    rows = [
        {k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows if r["rejected"].strip()
    ]
    pairs = load_preferences(rows)
    spoken = to_trl(pairs, conversational=True)
    back = to_trl(load_preferences(spoken), conversational=False)
    assert load_preferences(back).fingerprint() == pairs.fingerprint()


def test_hash_of_a_real_file_is_its_bytes():
    path = stored("hhh_alignment")
    assert file_hash(path) == "df930ae2f35a1666372ce1e43ee991dbd090cb307a431f76468ef8e6acf0a83a"
