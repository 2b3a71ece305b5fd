"""Formats of the field: rows as the public sets have them (made by hand) become these pairs."""

import hashlib
import itertools
import json
import random
import tracemalloc
from collections import Counter

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.data import Preferences
from pluralign.datasets import FORMATS, file_hash, iter_preferences, load_preferences, to_trl
from pluralign.datasets.formats import recognised
from pluralign.datasets.formats.votes import shares
from pluralign.errors import DataError, DataQualityWarning, IncompatibleError, ParameterError


def user(text):
    return {"role": "user", "content": text}


def reply(text):
    return {"role": "assistant", "content": text}


# Rows of each format

HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2+2?\n\nAssistant: It is 4. ",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2+2?\n\nAssistant: It is 5.",
}


def rating(value):
    return {"Rating": str(value), "Rationale": "because"}


def completion(response, following, honesty, truth, help_, overall):
    return {
        "model": "m-" + response,
        "principle": "helpfulness",
        "custom_system_prompt": "Help.",
        "response": response,
        "critique": "fine",
        "overall_score": overall,
        "fine-grained_score": 3.0,
        "annotations": {
            "instruction_following": rating(following),
            "honesty": rating(honesty),
            "truthfulness": rating(truth) | {"Type": ["None"]},
            "helpfulness": rating(help_),
        },
    }


ULTRA = {
    "source": "evol_instruct",
    "instruction": "2+2?",
    "models": ["a", "b", "c", "d"],
    "correct_answers": ["None"],
    "completions": [
        completion("five", 1, 2, 1, 2, 9.0),
        completion("four", 5, "N/A", 5, 4, 8.0),
        completion("4", 4, 4, 5, 4, 7.5),
        completion("six", 1, 1, 1, 1, 1.0),
    ],
}
BINARISED = {
    "prompt": "2+2?",
    "prompt_id": "ab12",
    "chosen": [user("2+2?"), reply("4")],
    "rejected": [user("2+2?"), reply("5")],
    "messages": [user("2+2?"), reply("4")],
    "score_chosen": 8.5,
    "score_rejected": 3.0,
}


def steered(prompt, response, helpfulness, correctness=3, verbosity=2):
    return {
        "prompt": prompt,
        "response": response,
        "helpfulness": helpfulness,
        "correctness": correctness,
        "coherence": 4,
        "complexity": 1,
        "verbosity": verbosity,
    }


STEERED = [
    steered("p", "low", 1, verbosity=4),
    steered("p", "high", 4),
    steered("p", "middle", 2, correctness=4),
    steered("q", "right", 3),
    steered("q", "wrong", 0),
]
STEER2_PREFERENCE = {
    "split": "train",
    "prompt": "2+2?",
    "response_1": "4",
    "response_2": "5",
    "preference_strength": -2,
    "preference_statement": "Response 1 is better than Response 2.",
    "preference_elaboration": "It is right.",
}
SHP = {
    "post_id": "qt3nxl",
    "domain": "askculinary_train",
    "upvote_ratio": 0.98,
    "history": "How do I peel an egg?",
    "c_root_id_A": "h1",
    "c_root_id_B": "h2",
    "created_at_utc_A": 1,
    "created_at_utc_B": 2,
    "score_A": 10,
    "score_B": 30,
    "human_ref_A": "With a spoon.",
    "human_ref_B": "Under water.",
    "labels": 0,
    "seconds_difference": 1.0,
    "score_ratio": 3.0,
}
FARM = {
    "instruction": "Add.",
    "input": "2+2",
    "output_1": "4",
    "output_2": "5",
    "preference": 2,
    "annotator": 7,
    "dataset": "vicuna",
    "datasplit": "eval",
}


def model_turn(turn, content, score, chosen, within):
    return {
        "turn": turn,
        "role": "model",
        "content": content,
        "if_chosen": chosen,
        "model_name": "m",
        "model_provider": "p",
        "score": score,
        "within_turn_id": within,
    }


PRISM = {
    "conversation_id": "c1",
    "user_id": "user3",
    "conversation_type": "values guided",
    "opening_prompt": "Hello",
    "conversation_turns": 2,
    "conversation_history": [
        {"turn": 0, "role": "user", "content": "Hello"},
        model_turn(0, "Hi!", 70, False, 0),
        model_turn(0, "Good day.", 95, True, 1),
        model_turn(0, "What?", 10, False, 2),
        {"turn": 1, "role": "user", "content": "How are you?"},
        model_turn(1, "Fine.", 50, True, 0),
        model_turn(1, "I am a model.", 50, False, 1),
    ],
}
SURVEY = [
    {"user_id": "user3", "gender": "Female", "ethnicity": {"simplified": "White"}, "age": "55-64"},
    {"user_id": "user4", "gender": "Male", "ethnicity": {"simplified": "Asian"}, "age": "18-24"},
]
DICES = {
    "id": 1,
    "rater_id": "296",
    "rater_gender": "Woman",
    "rater_race": "White",
    "rater_age": "gen z",
    "item_id": 17,
    "context": "USER: hello",
    "response": "I will not say.",
    "Q_overall": "No",
    "safety_gold": "No",
}
PANDA = {
    "idx": 5,
    "motivation_app": "Gmail",
    "cmp_key": "bloom-7b_llama-7b",
    "instruction": "Answer.",
    "input": "2+2 = 4?",
    "response1": True,
    "response2": "False",
    "annotator1": 1,
    "annotator2": 0,
    "annotator3": 2,
}
LLMBAR = {
    "subset": "LLMBar/Natural",
    "index": 3,
    "prompt": "2+2?",
    "output_1": "5",
    "output_2": "4",
    "label": 2,
    "chosen": "4",
    "rejected": "5",
}
JUDGEMENT = {"split": "dev", "item": "9", "annotator": "Ann1", "irony": 1, "gender": "Female"}
ITEM = {"split": "dev", "item": "9", "lang": "en", "post": "Rain again.", "reply": "Lovely."}
POOL = {
    "instruction": "2+2?",
    "dataset": "koala",
    "responses": {"a": "4", "b": "5", "c": "four", "mute": ""},
    "preference_vs_gpt4_turbo": {"a": 1.75, "b": 1.0, "c": 1.5, "mute": 1.0},
}

ROWS = {
    "hh_rlhf": [HH],
    "ultrafeedback": [ULTRA],
    "ultrafeedback_binarized": [BINARISED],
    "helpsteer": STEERED,
    "helpsteer2": STEERED[3:],
    "helpsteer2_preference": [STEER2_PREFERENCE],
    "shp": [SHP],
    "alpaca_farm": [FARM],
    "cross_annotations": [{"prompt": "p", "chosen": "a", "rejected": "b", "annotator": "x"}],
    "prism": [PRISM],
    "dices": [DICES, DICES | {"response": "Yes.", "Q_overall": "Yes"}],
    "pandalm": [PANDA],
    "llmbar": [LLMBAR],
    "multipico": [JUDGEMENT | ITEM],
    "alpaca_eval": [POOL],
}


def texts(pairs):
    return list(zip(pairs.prompt, pairs.chosen, pairs.rejected, strict=True))


def only(pairs):
    (found,) = texts(pairs)
    return found


# The table


def test_every_format_has_a_sample_here():
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_table_is_complete(name):
    form = FORMATS[name]
    assert form.name == name
    assert form.title
    assert set(form.columns) <= set(ROWS[name][0])
    assert len(load_preferences(ROWS[name], format=name)) >= 1


@pytest.mark.parametrize("name", FORMATS)
def test_columns_tell_a_format_or_leave_it_alone(name):
    found = recognised(ROWS[name][0])
    if FORMATS[name].telling is None:
        assert found is None or found.name == "helpsteer"
    else:
        assert found is FORMATS[name]
        read = load_preferences(ROWS[name])
        assert read.fingerprint() == load_preferences(ROWS[name], format=name).fingerprint()


def test_plain_pairs_are_no_format():
    assert recognised(["prompt", "chosen", "rejected", "annotator", "score_chosen"]) is None


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_of_every_format(tmp_path, name, suffix):
    path = tmp_path / f"rows.{suffix}"
    # Columnar files hold one type a column, and no value that is now this, now that.
    rows = [{k: v for k, v in row.items() if not isinstance(v, bool)} for row in ROWS[name]]
    rows = [row | {"response1": "True"} if name == "pandalm" else row for row in rows]
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_preferences(path, format=name)
    assert found.fingerprint() == load_preferences(ROWS[name], format=name).fingerprint()


# Transcripts


def test_transcripts_are_cut_at_the_last_shared_answer_and_stripped():
    prompt = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2+2?\n\nAssistant:"
    assert only(load_preferences([HH], format="hh_rlhf")) == (prompt, "It is 4.", "It is 5.")


def test_transcripts_as_messages():
    pairs = load_preferences([HH], format="hh_rlhf", options={"messages": True})
    asked = (user("Hi"), reply("Hello!"), user("2+2?"))
    assert only(pairs) == (asked, (reply("It is 4."),), (reply("It is 5."),))


def test_transcripts_that_part_in_a_question_keep_what_follows():
    start = "\n\nHuman: Hi\n\nAssistant: "
    row = {"chosen": start + "A\n\nHuman: so\n\nAssistant: B", "rejected": start + "A\n\nHuman: no"}
    prompt, chosen, rejected = only(load_preferences([row], format="hh_rlhf"))
    assert prompt == "\n\nHuman: Hi\n\nAssistant:"
    assert (chosen, rejected) == ("A\n\nHuman: so\n\nAssistant: B", "A\n\nHuman: no")
    spoken = load_preferences([row], format="hh_rlhf", options={"messages": True})
    assert spoken.chosen[0] == (reply("A"), user("so"), reply("B"))


def test_transcripts_without_a_shared_answer_are_unusable():
    rows = [HH, {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"}]
    with pytest.raises(DataError, match="row 1: chosen and rejected share no") as caught:
        load_preferences(rows, format="hh_rlhf")
    assert caught.value.rows == (1,)
    with pytest.warns(DataQualityWarning, match="dropped 1 of 2"):
        assert len(load_preferences(rows, format="hh_rlhf", drop_unusable=True)) == 1


# Scores


def test_ultrafeedback_by_mean_of_the_aspects_that_apply():
    pairs = load_preferences([ULTRA], options={"pairing": "rest"})
    # Means: five 1.5, four 14/3 (one aspect does not apply), 4 17/4, six 1.
    assert texts(pairs) == [("2+2?", "four", other) for other in ("4", "five", "six")]
    assert pairs.attributes["score_chosen"].tolist() == [14 / 3] * 3
    assert pairs.attributes["margin"].tolist() == [14 / 3 - 4.25, 14 / 3 - 1.5, 14 / 3 - 1.0]
    assert pairs.attributes["honesty_rejected"].tolist() == [4.0, 2.0, 1.0]
    assert np.isnan(pairs.attributes["honesty_chosen"]).all()
    assert pairs.domain == ("evol_instruct",) * 3
    assert pairs.pair_id == ("0-0", "0-1", "0-2")


def test_ultrafeedback_by_the_overall_score_or_one_aspect():
    overall = load_preferences([ULTRA], options={"score": "overall", "pairing": "lowest"})
    assert only(overall) == ("2+2?", "five", "six")
    honest = load_preferences([ULTRA], options={"score": "honesty", "pairing": "rest"})
    assert texts(honest) == [("2+2?", "4", "five"), ("2+2?", "4", "six")]  # "four" is not rated


def test_ties_of_scores_are_dropped_and_counted_or_kept():
    options = {"score": "truthfulness", "pairing": "rest"}
    with pytest.warns(DataQualityWarning, match="dropped 1 ties"):
        pairs = load_preferences([ULTRA], options=options)
    assert pairs.rejected == ("five", "six")
    assert "without 1 ties" in pairs.source
    assert pairs.label_prob is None
    kept = load_preferences([ULTRA], options=options | {"ties": "keep"})
    assert kept.rejected == ("4", "five", "six")
    assert kept.label_prob.tolist() == [0.5, 1.0, 1.0]
    tied = ULTRA | {"completions": ULTRA["completions"][1:3]}
    with pytest.raises(DataError, match="all 1 pairs are ties"):
        load_preferences([tied], options=options)


def test_a_random_other_is_the_seeds_and_any_of_the_others():
    rows = [ULTRA | {"instruction": str(i)} for i in range(300)]
    first, again, other = (load_preferences(rows, options={"seed": s}) for s in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert set(first.chosen) == {"four"}
    counts = Counter(first.rejected)
    assert set(counts) == {"4", "five", "six"}
    assert all(70 < count < 130 for count in counts.values())  # 100 each, sd 8


def test_equal_texts_are_no_pair():
    doubled = ULTRA | {"completions": [ULTRA["completions"][1]] * 3 + [ULTRA["completions"][3]]}
    assert only(load_preferences([doubled])) == ("2+2?", "four", "six")
    same = ULTRA | {"completions": [ULTRA["completions"][1]] * 3}
    with pytest.raises(DataError, match="row 0: a pair needs two different scored responses"):
        load_preferences([same])


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.sampled_from([1.0, 1.5, 2.0]), min_size=2, max_size=6),
    pairing=st.sampled_from(["random", "lowest", "rest", "all"]),
)
def test_pairs_by_score_against_counting(scores, pairing):
    row = {
        "instruction": "?",
        "responses": {str(i): f"answer {i}" for i in range(len(scores))},
        "preference_vs_gpt4_turbo": {str(i): score for i, score in enumerate(scores)},
    }
    pairs = load_preferences([row], options={"pairing": pairing, "ties": "keep"})
    n = len(scores)
    assert len(pairs) == {"random": 1, "lowest": 1, "rest": n - 1, "all": n * (n - 1) // 2}[pairing]
    score_of = {f"answer {i}": score for i, score in enumerate(scores)}
    for row, (_, chosen, rejected) in zip(pairs.records(), texts(pairs), strict=True):
        assert row["margin"] == score_of[chosen] - score_of[rejected] >= 0
        assert row.get("label_prob", 1.0) == (0.5 if row["margin"] == 0 else 1.0)
        assert pairing == "all" or score_of[chosen] == max(scores)
    if pairing == "lowest":
        assert score_of[pairs.rejected[0]] == min(scores)


def test_binarised_rows_keep_their_scores():
    pairs = load_preferences([BINARISED])
    assert only(pairs) == ((user("2+2?"),), (reply("4"),), (reply("5"),))
    assert pairs.attributes["margin"].tolist() == [5.5]
    tied = BINARISED | {"score_rejected": 8.5}
    assert load_preferences([tied]).label_prob.tolist() == [0.5]


@pytest.mark.parametrize(
    ("better", "other"),
    [
        ("chosen_score", "rejected_score"),
        ("chosen_rating", "rejected_rating"),
        ("chosen-rating", "rejected-rating"),
    ],
)
def test_other_names_of_scores(better, other):
    row = {"prompt": "p", "chosen": "a", "rejected": "b", better: 2, other: "1"}
    pairs = load_preferences([row], format="ultrafeedback_binarized")
    assert pairs.attributes["score_rejected"].tolist() == [1.0]


def test_an_inverted_conversion_is_found_mended_or_trusted():
    inverted = [BINARISED, BINARISED | {"score_chosen": 1.0}]
    with pytest.raises(DataError, match=r"row 1: chosen has the lower score \(1 < 3\)") as caught:
        load_preferences(inverted)
    assert caught.value.rows == (1,)
    mended = load_preferences(inverted, options={"direction": "mend"})
    assert mended.chosen[1] == (reply("5"),)
    assert mended.attributes["margin"].tolist() == [5.5, 2.0]
    trusted = load_preferences(inverted, options={"direction": "trust"})
    assert trusted.chosen[1] == (reply("4"),)
    assert trusted.attributes["margin"].tolist() == [5.5, -2.0]


def test_helpsteer_prefers_the_better_response_wherever_it_stands():
    for order in itertools.permutations(STEERED[:3]):
        pairs = load_preferences(list(order), options={"pairing": "rest"})
        assert texts(pairs) == [("p", "high", "middle"), ("p", "high", "low")]
        assert pairs.attributes["helpfulness_chosen"].tolist() == [4.0, 4.0]
        assert pairs.attributes["verbosity_rejected"].tolist() == [2.0, 4.0]
        assert pairs.attributes["margin"].tolist() == [2.0, 3.0]


def test_helpsteer_units_are_consecutive_rows():
    pairs = load_preferences(STEERED, options={"pairing": "lowest"})
    assert texts(pairs) == [("p", "high", "low"), ("q", "right", "wrong")]
    assert pairs.pair_id == ("0", "3")
    # The columns of one response are not those of the pair.
    with pytest.raises(DataError, match="helpfulness is missing"):
        load_preferences(STEERED, attributes=["helpfulness"])


def test_helpsteer_mean_leaves_style_out():
    rows = [steered("p", "plain", 2, correctness=4), steered("p", "long", 3, 2, verbosity=4)]
    assert only(load_preferences(rows))[1] == "long"
    assert only(load_preferences(rows, options={"score": "mean"}))[1] == "plain"


def test_helpsteer2_has_two_responses():
    assert only(load_preferences(STEERED[3:], format="helpsteer2")) == ("q", "right", "wrong")
    with pytest.raises(DataError, match="row 0: the prompt has 3 responses in a row where"):
        load_preferences(STEERED, format="helpsteer2")


@pytest.mark.parametrize(("strength", "chosen", "prob"), [(-3, "4", None), (1, "5", None)])
def test_helpsteer2_preferences(strength, chosen, prob):
    pairs = load_preferences([STEER2_PREFERENCE | {"preference_strength": strength}])
    assert pairs.chosen == (chosen,)
    assert pairs.attributes["margin"].tolist() == [abs(strength)]
    assert pairs.chosen_first.tolist() == [strength < 0]


def test_shp_labels_scores_and_ratio():
    pairs = load_preferences([SHP])
    assert only(pairs) == ("How do I peel an egg?", "Under water.", "With a spoon.")
    assert pairs.domain == ("askculinary_train",)
    assert pairs.label_prob is None
    soft = load_preferences([SHP], options={"confidence": "scores"})
    np.testing.assert_allclose(soft.label_prob, [0.75], rtol=1e-12)
    with pytest.raises(DataError, match=r"chosen has the lower score \(10 < 30\)"):
        load_preferences([SHP | {"labels": 1}])
    with pytest.raises(DataError, match="needs positive scores"):
        load_preferences([SHP | {"score_A": 0}], options={"confidence": "scores"})


def test_pool_of_answers():
    pairs = load_preferences([POOL], options={"pairing": "all"}, group="model_chosen")
    assert texts(pairs) == [("2+2?", "4", "four"), ("2+2?", "4", "5"), ("2+2?", "four", "5")]
    assert pairs.attributes["margin"].tolist() == [0.25, 0.75, 0.5]
    assert pairs.group == ("a", "a", "c")
    assert pairs.domain == ("koala",) * 3
    with pytest.raises(DataError, match="has no score for 'c'"):
        load_preferences([POOL | {"preference_vs_gpt4_turbo": {"a": 1, "b": 2}}])


# Votes


def test_each_vote_is_a_pair_with_its_annotator():
    rows = [FARM, FARM | {"preference": 1, "annotator": 8}, FARM | {"preference": 0}]
    pairs = load_preferences(rows)
    assert texts(pairs) == [("Add.\n\n2+2", *p) for p in (("5", "4"), ("4", "5"), ("4", "5"))]
    assert pairs.annotator == ("7", "8", "7")
    assert pairs.label_prob.tolist() == [1.0, 1.0, 0.5]
    assert pairs.chosen_first.tolist() == [False, True, True]
    assert pairs.domain == ("vicuna",) * 3
    assert load_preferences(rows[:2]).label_prob is None
    with pytest.warns(DataQualityWarning, match="dropped 1 ties"):
        assert len(load_preferences(rows, options={"ties": "drop"})) == 2


def test_continuous_preferences_are_confidence():
    assert load_preferences([FARM | {"preference": 1.2}]).label_prob.tolist() == [0.8]
    pairs = load_preferences([FARM | {"preference": 1.75}])
    assert (pairs.chosen, pairs.label_prob.tolist()) == (("5",), [0.75])


@pytest.mark.parametrize("preference", [3, 0.5, -1, "first", None, True, float("nan")])
def test_preferences_out_of_range(preference):
    with pytest.raises(DataError, match="row 0: preference"):
        load_preferences([FARM | {"preference": preference}])


def test_shares_of_votes_whatever_the_order_shown():
    swapped = {"output_1": "5", "output_2": "4"}
    rows = [
        FARM,  # for 5
        FARM | swapped | {"preference": 2},  # for 4
        FARM | {"preference": 1},  # for 4
        FARM | swapped | {"preference": 0},  # a tie
        FARM | {"instruction": "Multiply."},
    ]
    pairs = load_preferences(rows, options={"votes": "share"})
    assert texts(pairs) == [("Add.\n\n2+2", "4", "5"), ("Multiply.\n\n2+2", "5", "4")]
    assert pairs.label_prob.tolist() == [2.5 / 4, 1.0]
    assert pairs.attributes["n_votes"].tolist() == [4.0, 1.0]
    assert pairs.annotator is None
    assert pairs.chosen_first is None


def test_even_votes_are_a_tie_exactly():
    # Thirds and tenths are no exact numbers; votes are counted, so that this never matters.
    rows = [FARM | {"preference": 1 + i % 2, "annotator": i} for i in range(6)]
    options = {"votes": "share"}
    assert load_preferences(rows, options=options).label_prob.tolist() == [0.5]
    with pytest.raises(DataError, match="all 1 pairs are ties"):
        load_preferences(rows, options=options | {"ties": "drop"})


def test_shares_stay_within_a_group():
    rows = [FARM | {"preference": p, "region": r} for p, r in ((1, "n"), (1, "n"), (2, "s"))]
    pairs = load_preferences(rows, options={"votes": "share"}, group="region")
    assert pairs.group == ("n", "s")
    assert pairs.chosen == ("4", "5")
    assert load_preferences(rows, options={"votes": "share"}).label_prob.tolist() == [2 / 3]


@settings(max_examples=200, deadline=None)
@given(votes=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_shares_against_counting(votes):
    """The share equals votes counted one by one, with the pair turned to its majority."""
    rows = []
    for turned, second in votes:
        pair = ("b", "a") if turned else ("a", "b")
        chosen, rejected = pair[::-1] if second == 1 else pair
        rows.append((0, {"prompt": "p", "chosen": chosen, "rejected": rejected}))
        rows[-1][1]["label_prob"] = 0.5 if second == 0.5 else 1.0
    ((_, merged),) = shares(rows, ())
    for_a = sum(0.5 if s == 0.5 else float((s == 1) == turned) for turned, s in votes)
    share = for_a / len(votes)
    assert merged["label_prob"] == pytest.approx(max(share, 1 - share), abs=1e-12)
    if share != 0.5:
        assert merged["chosen"] == ("a" if share > 0.5 else "b")


def test_pandalm_votes_and_its_answers_that_are_json_true():
    pairs = load_preferences([PANDA])
    assert pairs.prompt == ("Answer.\n\n2+2 = 4?",) * 3
    assert pairs.chosen == ("True", "True", "False")
    assert pairs.label_prob.tolist() == [1.0, 0.5, 1.0]
    assert pairs.annotator == ("annotator1", "annotator2", "annotator3")
    assert pairs.pair_id == ("0-0", "0-1", "0-2")
    shared = load_preferences([PANDA | {"annotator2": 2}], options={"votes": "share"})
    assert (shared.chosen, shared.label_prob.tolist()) == (("False",), [2 / 3])


def test_pairs_that_repeat_become_one():
    base = {"prompt": [user("2+2?")], "chosen": [reply("4")], "rejected": [reply("5")]}
    turned = base | {"chosen": base["rejected"], "rejected": base["chosen"]}
    rows = [one | {"annotator": str(i)} for i, one in enumerate((turned, base, base, base))]
    pairs = load_preferences(rows, format="cross_annotations")
    assert only(pairs) == ((user("2+2?"),), (reply("4"),), (reply("5"),))
    assert pairs.label_prob.tolist() == [0.75]
    assert len(load_preferences(rows)) == 4  # plain pairs unless asked


def test_llmbar_label_and_columns_must_agree():
    pairs = load_preferences([LLMBAR])
    assert only(pairs) == ("2+2?", "4", "5")
    assert pairs.domain == ("LLMBar/Natural",)
    assert pairs.chosen_first.tolist() == [False]
    raw = {"input": "2+2?", "output_1": "5", "output_2": "4", "label": 2}
    assert only(load_preferences([raw])) == ("2+2?", "4", "5")
    with pytest.raises(DataError, match="row 0: label 1 contradicts the column 'chosen'"):
        load_preferences([LLMBAR | {"label": 1}])


# Who judged


def test_prism_turns_scores_and_history():
    pairs = load_preferences([PRISM])
    hello, then = (user("Hello"),), (user("Hello"), reply("Good day."), user("How are you?"))
    assert texts(pairs) == [
        (hello, (reply("Good day."),), (reply("Hi!"),)),
        (hello, (reply("Good day."),), (reply("What?"),)),
        (then, (reply("Fine."),), (reply("I am a model."),)),
    ]
    assert pairs.label_prob.tolist() == [1.0, 1.0, 0.5]
    assert pairs.attributes["turn"].tolist() == [0.0, 0.0, 1.0]
    assert pairs.annotator == ("user3",) * 3
    assert pairs.domain == ("values guided",) * 3


def test_prism_goes_on_with_what_the_person_chose_not_with_the_best_score():
    history = [dict(entry) for entry in PRISM["conversation_history"]]
    history[1]["if_chosen"], history[2]["if_chosen"] = True, False
    pairs = load_preferences([PRISM | {"conversation_history": history}])
    assert pairs.prompt[2][1] == reply("Hi!")


def test_prism_with_its_survey(tmp_path):
    (tmp_path / "conversations.jsonl").write_text(json.dumps(PRISM))
    survey = tmp_path / "survey.jsonl"
    survey.write_text("\n".join(map(json.dumps, SURVEY)))
    group = ["gender", "ethnicity.simplified"]
    for source in (tmp_path, tmp_path / "conversations.jsonl"):
        pairs = load_preferences(source, group=group, domain="age")
        assert pairs.group == ("Female × White",) * 3
        assert pairs.domain == ("55-64",) * 3
    named = load_preferences([PRISM], options={"join": survey}, group="ethnicity.simplified")
    assert named.group == ("White",) * 3
    with pytest.raises(DataError, match=r"name a field, such as ethnicity\.simplified"):
        load_preferences(tmp_path, group="ethnicity")
    with pytest.raises(DataError, match="the joined table has no row with user_id='user3'"):
        load_preferences([PRISM], options={"join": SURVEY[1:]})
    with pytest.raises(DataError, match="row 2 repeats"):
        load_preferences([PRISM], options={"join": [*SURVEY, SURVEY[0]]})


def test_dices_needs_something_to_compare():
    with pytest.raises(DataError, match="These are ratings, not preferences"):
        load_preferences([DICES, DICES | {"context": "USER: other", "rater_id": "297"}])
    rows = [
        DICES | {"Q_overall": "Unsure"},
        DICES | {"rater_id": "297", "rater_gender": "Man"},
        DICES | {"response": "Kindly, no."},
    ]
    pairs = load_preferences(rows, group="rater_gender")
    assert only(pairs) == ("USER: hello", "Kindly, no.", "I will not say.")
    assert (pairs.group, pairs.annotator) == (("Woman",), ("296",))
    assert pairs.attributes["margin"].tolist() == [1.0]
    with pytest.raises(DataError, match="row 1: Q_overall must be Yes, No or Unsure; got 'Maybe'"):
        load_preferences([DICES, DICES | {"Q_overall": "Maybe"}])


def test_multipico_judgements_are_answers_to_a_question():
    judgements = [JUDGEMENT, JUDGEMENT | {"annotator": "Ann2", "irony": 0, "gender": "Male"}]
    pairs = load_preferences(judgements, options={"join": [ITEM]}, group="gender")
    assert pairs.prompt[0].startswith("Post: Rain again.\nReply: Lovely.\nIs the reply ironic?")
    assert list(zip(pairs.chosen, pairs.rejected, strict=True)) == [("Yes", "No"), ("No", "Yes")]
    assert pairs.group == ("Female", "Male")
    assert pairs.domain == ("en", "en")
    tie = load_preferences(judgements, options={"join": [ITEM], "votes": "share"})
    assert tie.label_prob.tolist() == [0.5]
    with pytest.raises(DataError, match="row 0: post and reply are missing; give options"):
        load_preferences(judgements)


# Labels


def test_labels_of_several_columns_and_inside_columns():
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "who": {"age": 3, "land": {"code": "x"}}}
    ]
    pairs = load_preferences(rows, group=["who.land.code", "who.age"], annotator="who.age")
    assert (pairs.group, pairs.annotator) == (("x × 3",), ("3",))
    with pytest.raises(DataError, match=r"row 0: who\.name is missing or null"):
        load_preferences(rows, group="who.name")
    with pytest.raises(DataError, match=r"row 0: who\.age × who\.name is missing"):
        load_preferences(rows, group=["who.age", "who.name"])


# Options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"vote": "share"}}, "options: unknown 'vote'; did you mean 'votes'?"),
        ({"options": {"pairing": "rest"}}, "'pairing' has no effect on format 'alpaca_farm'"),
        ({"options": {"votes": "mean"}}, "'votes' must be one of 'each', 'share'; got 'mean'"),
        ({"options": {"votes": "share"}, "annotator": "annotator"}, "annotator has no effect"),
        ({"options": "share"}, "options must be a mapping"),
        ({"format": "ultrafedback"}, "did you mean 'ultrafeedback'?"),
        ({"group": []}, "group must be the name of a column or a list of names; got []"),
        ({"group": ["a", 3]}, "group must be"),
        ({"allow_download": 1}, "allow_download must be true or false; got 1"),
    ],
)
def test_options_that_are_refused(arguments, message):
    with pytest.raises(ParameterError) as caught:
        load_preferences([FARM], **arguments)
    assert message in str(caught.value)


def test_options_of_plain_pairs_and_seeds_out_of_range():
    plain = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    with pytest.raises(ParameterError, match="options have no effect on plain pairs"):
        load_preferences(plain, options={"ties": "drop"})
    with pytest.raises(ParameterError, match=r"PairRules\.seed must be an integer >= 0; got -1"):
        load_preferences([ULTRA], options={"seed": -1})


def test_the_wrong_format_names_the_right_one():
    with pytest.raises(DataError, match=r"no 'history', .*They look like format='ultrafeedback'"):
        load_preferences([ULTRA], format="shp")


# TRL

PLAIN = [
    {
        "prompt": "2+2?\n\nAssistant:",
        "chosen": " 4",
        "rejected": " 5 ",
        "group": "n",
        "weight": 2.0,
    },
    {"prompt": "ß\n\nAssistant:", "chosen": " y", "rejected": " n", "group": "s", "weight": 0.5},
]
CHAT = [
    {"prompt": [user("a"), reply("b"), user("c")], "chosen": [reply("d")], "rejected": [reply("e")]}
]


@pytest.mark.parametrize("rows", [PLAIN, CHAT], ids=["strings", "messages"])
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("as_dataset", [False, True])
def test_pairs_survive_the_way_to_trl_and_back(rows, implicit, as_dataset):
    pairs = load_preferences(rows)
    sent = to_trl(pairs, implicit=implicit, as_dataset=as_dataset)
    assert ("prompt" in sent[0]) is not implicit
    assert load_preferences(sent).fingerprint() == pairs.fingerprint()


def test_strings_become_messages_and_strings_again():
    pairs = load_preferences(PLAIN)
    spoken = to_trl(pairs, conversational=True)
    assert spoken[0]["prompt"] == [user("2+2?\n\nAssistant:")]
    back = to_trl(load_preferences(spoken), conversational=False)
    assert load_preferences(back).fingerprint() == pairs.fingerprint()
    with pytest.raises(IncompatibleError, match="only a chat template"):
        to_trl(load_preferences(CHAT), conversational=False)


def test_trl_reads_what_it_is_given():
    data_utils = pytest.importorskip("trl.data_utils", reason="TRL is not installed")
    spoken = to_trl(load_preferences(CHAT), implicit=True)[0]
    assert data_utils.is_conversational(spoken)
    parts = data_utils.extract_prompt(spoken)
    assert {name: parts[name] for name in CHAT[0]} == CHAT[0]
    assert not data_utils.is_conversational(to_trl(load_preferences(PLAIN))[0])


def test_prompts_that_could_not_be_told_again_are_refused():
    blurred = load_preferences([{"prompt": "p", "chosen": "q a", "rejected": "q b"}])
    with pytest.raises(DataError, match="row 0: the prompt could not be told"):
        to_trl(blurred, implicit=True)
    begun = CHAT[0] | {"chosen": [reply("x"), reply("d")], "rejected": [reply("x"), reply("e")]}
    with pytest.raises(DataError, match="row 0: the prompt could not be told"):
        to_trl(load_preferences([begun]), implicit=True)
    ids = load_preferences([{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}])
    with pytest.raises(IncompatibleError, match="no token ids"):
        to_trl(ids)


# The hub


def never(*_, **__):
    raise AssertionError("the network was asked")


def test_nothing_is_downloaded_unless_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "load_dataset", never)
    monkeypatch.chdir(tmp_path)
    for read in (load_preferences, iter_preferences):
        with pytest.raises(FileNotFoundError, match="nothing is downloaded unless that is allowed"):
            read("someone/pairs")
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / "pairs.jsonl").write_text(json.dumps(PLAIN[0]))
    # A path that exists is read, whatever it looks like.
    assert len(load_preferences("someone/pairs.jsonl", allow_download=True)) == 1


def test_downloads_that_are_allowed(monkeypatch):
    asked = []

    def loaded(*arguments, **named):
        asked.append((arguments, named))
        one = datasets.Dataset.from_list(PLAIN)
        return datasets.DatasetDict(train=one, test=one.select([0]))

    monkeypatch.setattr(datasets, "load_dataset", loaded)
    pairs = load_preferences("someone/pairs", allow_download=True, split="train")
    assert len(pairs) == 2
    chunks = iter_preferences("someone/pairs:conf", allow_download=True, split="test")
    assert [len(chunk) for chunk in chunks] == [1]
    assert asked == [
        (("someone/pairs", None), {"streaming": False}),
        (("someone/pairs", "conf"), {"streaming": True}),
    ]
    with pytest.raises(DataError, match=r"has the splits \['test', 'train'\]"):
        load_preferences("someone/pairs", allow_download=True)


@pytest.mark.parametrize(
    ("offline", "said"),
    [("1", "HF_HUB_OFFLINE is set"), ("0", "check the name, the configuration")],
)
def test_hub_that_cannot_be_reached(monkeypatch, offline, said):
    def failing(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", failing)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(DataError, match=rf"someone/pairs: cannot be had.*{said}.*no route to host"):
        load_preferences("someone/pairs", allow_download=True)


def test_a_network_that_breaks_off(monkeypatch):
    def rows():
        yield from PLAIN
        raise RuntimeError("peer closed connection")

    broken = datasets.IterableDatasetDict(train=datasets.IterableDataset.from_generator(rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: broken)
    stream = iter_preferences("someone/pairs", allow_download=True, chunk_rows=1)
    assert len(next(stream)) == 1
    with pytest.raises(DataError, match=r"someone/pairs: cannot be had.*peer closed connection"):
        list(stream)


# Streaming


def many(n):
    for i in range(n):
        yield {"prompt": f"{i}?", "chosen": "yes", "rejected": "no", "group": "ab"[i % 2]}


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 1000])
@pytest.mark.parametrize("name", [n for n in FORMATS if n not in ("dices", "cross_annotations")])
def test_chunks_are_the_whole(name, chunk_rows):
    rows = ROWS[name] * 9
    if name == "helpsteer2":
        rows = [row | {"prompt": str(i // 2)} for i, row in enumerate(rows)]
    whole = load_preferences(rows, format=name)
    chunks = list(iter_preferences(rows, chunk_rows=chunk_rows, format=name))
    kept = ("prompt", "chosen", "rejected", "domain", "annotator")
    for column in kept:
        parts = [getattr(chunk, column) for chunk in chunks]
        joined = None if parts[0] is None else tuple(itertools.chain.from_iterable(parts))
        assert joined == getattr(whole, column)
    assert [i for chunk in chunks for i in chunk.pair_id] == list(whole.pair_id)
    # A unit of rows is never cut, so a chunk may hold a few rows more.
    assert len(chunks) == -(-len({i.split("-")[0] for i in whole.pair_id}) // chunk_rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_files_in_chunks(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    rows = list(many(2500))
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "csv":
        lines = [",".join(row.values()) for row in rows]
        path.write_text("\n".join(["prompt,chosen,rejected,group", *lines]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chunks = list(iter_preferences(path, chunk_rows=1000))
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]
    assert chunks[2].pair_id[0] == "2000"
    assert chunks[0].source == str(path)
    assert [len(c) for c in iter_preferences(path, chunk_rows=1000, limit=1200)] == [1000, 200]


def test_a_stream_needs_the_memory_of_a_few_chunks():
    def peak(n):
        tracemalloc.start()
        total = sum(len(chunk) for chunk in iter_preferences(many(n), chunk_rows=500))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == n
        return size

    peak(1000)  # what is loaded once
    small, large = peak(2_000), peak(20_000)
    assert large < 1.5 * small
    assert large < 8e6  # 20,000 rows at once take 12 MB and more


def test_rows_of_a_stream_keep_their_numbers_in_errors():
    rows = [*many(25), {"prompt": "p", "chosen": 4, "rejected": "b", "group": "a"}, *many(3)]
    stream = iter_preferences(iter(rows), chunk_rows=10)
    assert [len(next(stream)), len(next(stream))] == [10, 10]
    with pytest.raises(DataError, match="row 25: chosen must be a string") as caught:
        next(stream)
    assert caught.value.rows == (25,)
    rows[25] = rows[0] | {"weight": -1}
    with pytest.raises(DataError, match="row 20: weight is missing or null"):
        list(iter_preferences(iter(rows), chunk_rows=10))
    rows[20:] = [row | {"weight": 1} for row in rows[20:]]
    with pytest.raises(DataError, match="'weight' is in some rows only: rows 20 to 28"):
        list(iter_preferences(iter(rows), chunk_rows=10))


def test_later_chunks_are_read_as_the_first():
    rows = [*many(5), *({**CHAT[0], "group": "a"} for _ in range(5))]
    with pytest.raises(DataError, match="row 5: prompt is a list of messages where a string"):
        list(iter_preferences(rows, chunk_rows=5))


def test_what_a_stream_drops_is_said_once_at_its_end():
    rows = [row | {"chosen": ""} if i % 10 < 5 else row for i, row in enumerate(many(40))]
    with pytest.warns(DataQualityWarning, match="dropped 20 of 40 rows: row 0: chosen is") as said:
        chunks = list(iter_preferences(rows, chunk_rows=5, drop_unusable=True))
    assert len(said) == 1
    assert [chunk.pair_id[0] for chunk in chunks] == ["5", "15", "25", "35"]
    with pytest.raises(DataError, match="all 5 rows are unusable"):
        list(iter_preferences(rows[:5], drop_unusable=True))


def test_what_cannot_be_streamed():
    with pytest.raises(ParameterError, match="cannot be read in chunks"):
        iter_preferences([FARM], options={"votes": "share"})
    with pytest.raises(ParameterError, match="cannot be read in chunks"):
        iter_preferences([DICES])
    with pytest.raises(ParameterError, match="chunk_rows must be an integer >= 1; got 0"):
        iter_preferences([FARM], chunk_rows=0)
    with pytest.raises(DataError, match="no pairs"):
        list(iter_preferences([]))


def test_pairs_already_read_in_chunks():
    pairs = Preferences.from_records(many(7))
    assert [len(part) for part in iter_preferences(pairs, chunk_rows=3)] == [3, 3, 1]
    assert [len(part) for part in iter_preferences(pairs, chunk_rows=3, limit=4)] == [3, 1]


# Hashes and flags


def test_file_hash_is_of_the_bytes(tmp_path):
    content = random.Random(0).randbytes(3_000_000)
    (tmp_path / "a.bin").write_bytes(content)
    assert file_hash(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()
    before = file_hash(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"")
    after = file_hash(tmp_path)
    assert before != after
    (tmp_path / "b" / "c").rename(tmp_path / "b" / "d")
    assert file_hash(tmp_path) not in (before, after)
    with pytest.raises(FileNotFoundError, match=r"did you mean 'a\.bin'"):
        file_hash(tmp_path / "a.bn")


@pytest.mark.parametrize("value", ["False", "true", 0, 1, 1.0, None])
def test_flags_must_be_booleans(value):
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "chosen_first": f} for f in (True, value)
    ]
    with pytest.raises(DataError, match="row 1: chosen_first"):
        load_preferences(rows)
