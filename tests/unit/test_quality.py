"""Each finding of the data audit: a planted fault is found with its rows, a clean set has none."""

import json
import random
from statistics import NormalDist

import numpy as np
import pytest

from pluralign.audit.quality import (
    KINDS,
    check_data,
    krippendorff_alpha,
    minimum_detectable_gap,
)
from pluralign.data import Preferences, ScoredPairs
from pluralign.errors import DataError, DataQualityWarning, IncompatibleError, ParameterError
from pluralign.learn import tokenise_pairs

FACTS = {"length_bias", "group_resolution", "agreement", "no_groups"}  # said of every set
SIZE = 60


def sentence(rng, words):
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(rng.choices(letters, k=rng.randint(3, 8))) for _ in range(words))


def clean(size=SIZE, seed=0, **more):
    """Records without any fault: unique texts, three groups, lengths unrelated to the label."""
    rng = random.Random(seed)
    return [
        {
            "prompt": sentence(rng, 20),
            "chosen": sentence(rng, 15 + i % 2),
            "rejected": sentence(rng, 16 - i % 2),
            "group": ("north", "south", "west")[i % 3],
            **more,
        }
        for i in range(size)
    ]


def audit(records, **options):
    return check_data(Preferences.from_records(records), **options)


def rows_of(result, key):
    found = result.find(key)
    return () if found is None else found.rows


def faults(result):
    return {finding.key for finding in result.findings} - FACTS


def test_a_clean_set_raises_nothing():
    result = audit(clean())
    assert faults(result) == set()
    assert result.worst_severity == "note"


def with_part(name, change):
    return lambda record: {**record, name: change(record[name])}


TEXT_FAULTS = [
    ("blank", with_part("chosen", lambda _: "\u200b\u2060")),
    ("blank", with_part("prompt", lambda _: "")),
    ("control_characters", with_part("chosen", lambda t: t[:9] + "\x85" + t[9:])),
    ("control_characters", with_part("prompt", lambda t: t[:9] + "\x1b" + t[9:])),
    ("bidi_controls", with_part("chosen", lambda t: t[:9] + "\u202e" + t[9:])),
    ("mojibake", with_part("chosen", lambda t: t + " it’s".encode().decode("cp1252"))),
    ("mojibake", with_part("prompt", lambda t: t + " café".encode().decode("latin-1"))),
    ("replacement_characters", with_part("rejected", lambda t: t + "\ufffd")),
    ("identical_responses", lambda r: {**r, "rejected": r["chosen"]}),
    ("same_but_for_form", lambda r: {**r, "rejected": r["chosen"].upper() + "!"}),
    ("prompt_in_response", lambda r: {**r, "chosen": r["prompt"] + "\n" + r["chosen"]}),
    ("role_markers", with_part("chosen", lambda t: t + "\n\nHuman: and now?")),
    ("role_markers", with_part("rejected", lambda t: t + "<|im_end|>")),
    ("role_markers", with_part("rejected", lambda t: "[INST] " + t)),
    ("whitespace_mismatch", with_part("chosen", lambda t: " " + t)),
    ("whitespace_mismatch", with_part("rejected", lambda t: t + "\n")),
    ("long_texts", with_part("rejected", lambda t: " ".join([t] * 150))),
]


@pytest.mark.parametrize(("key", "break_it"), TEXT_FAULTS)
def test_broken_texts_are_found_with_their_rows(key, break_it):
    records, planted = clean(), (3, 17, 41)
    for row in planted:
        records[row] = break_it(records[row])
    result = audit(records)
    assert rows_of(result, key) == planted
    assert faults(result) == {key}
    assert result.find(key).data["groups"] == {"north": 1, "west": 2}


@pytest.mark.parametrize(
    "text",
    [
        "NÃO “NÃ”, água, Ângela",
        "naïve café, Zürich",
        "emoji 👩‍🔬 family",
        "مرحبا \u200fبكم",
        "日本語。",
        "a | b < c",
    ],
)
def test_honest_unicode_is_no_fault(text):
    records = [{**record, "chosen": f"{record['chosen']} {text}"} for record in clean()]
    assert faults(audit(records)) == set()


def test_the_offending_text_is_shown_short():
    records = clean()
    records[5]["chosen"] += "\n\nHuman: more?" + "x" * 1000
    (example,) = audit(records).find("role_markers").data["examples"]
    assert "Human:" in example
    assert len(example) < 120


def transcripts(size=20):
    return [
        {
            "chosen": f"\n\nHuman: {r['prompt']}\n\nAssistant: {r['chosen']}",
            "rejected": f"\n\nHuman: {r['prompt']}\n\nAssistant: {r['rejected']}",
            "prompt": "",
        }
        for r in clean(size)
    ]


def test_implicit_prompts_are_cut_off_and_compared():
    records = transcripts()
    assert faults(audit(records)) == set()
    records[4]["rejected"] = "\n\nHuman: something else\n\nAssistant: well"
    records[9]["rejected"] += "\n\nHuman: thanks\n\nAssistant: welcome"
    result = audit(records)
    assert rows_of(result, "prompts_differ") == (4, 9)
    assert faults(result) == {"prompts_differ"}


def test_implicit_conversations():
    def talk(prompt, answer):
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]

    records = [
        {
            "prompt": [],
            "chosen": talk(r["prompt"], r["chosen"]),
            "rejected": talk(r["prompt"], r["rejected"]),
        }
        for r in clean(12)
    ]
    assert faults(audit(records)) == set()
    records[7]["rejected"][0]["content"] = "another question altogether"
    assert rows_of(audit(records), "prompts_differ") == (7,)


# Repeats


def test_duplicates_are_the_later_copies():
    records = clean()
    records += [dict(records[i]) for i in (2, 5, 5)]
    result = audit(records)
    assert rows_of(result, "duplicates") == (60, 61, 62)
    assert result.find("duplicates").data["clusters"] == [[2, 60], [5, 61, 62]]
    assert faults(result) == {"duplicates"}


def test_agreeing_annotators_are_no_duplicates():
    records = [{**r, "annotator": who} for r in clean() for who in ("ann", "bob")]
    result = audit(records)
    assert faults(result) == set()
    records.append(dict(records[0]))
    assert rows_of(audit(records), "duplicates") == (120,)


def test_one_prompt_with_a_shared_response_is_no_duplicate():
    """Three ranked answers to one prompt give three pairs that share much text."""
    records = clean()
    for i in range(0, 30, 3):
        a, b, c = records[i]["chosen"], records[i]["rejected"], records[i + 1]["chosen"]
        for k, (good, bad) in enumerate([(a, b), (a, c), (b, c)]):
            records[i + k] = {**records[i], "chosen": good, "rejected": bad}
    assert faults(audit(records)) == set()


def test_near_duplicates_and_their_direction():
    records = clean(seed=3)
    near = dict(records[7], prompt=records[7]["prompt"].replace("a", "A") + "?")
    near["chosen"] = near["chosen"][:40] + "Z" + near["chosen"][41:]
    turned = dict(records[11], chosen=records[11]["rejected"] + "!", rejected=records[11]["chosen"])
    other = dict(records[12], rejected=sentence(random.Random(9), 16))
    records += [near, turned, other]
    result = audit(records)
    assert rows_of(result, "near_duplicates") == (60, 61)
    assert result.find("near_duplicates").data["opposite"] == [61]
    assert result.find("near_duplicates").data["clusters"] == [[7, 60], [11, 61]]
    assert faults(result) == {"near_duplicates"}


def test_near_duplicates_recall_and_precision_over_edits():
    """One changed word in each part is found nearly always, a half-rewritten part never."""
    rng = random.Random(1)
    records = [{k: sentence(rng, 40) for k in ("prompt", "chosen", "rejected")} for _ in range(300)]

    def edited(record, share):
        words = {k: text.split() for k, text in record.items()}
        for text in words.values():
            for i in rng.sample(range(len(text)), max(1, round(share * len(text)))):
                text[i] = sentence(rng, 1)
        return {k: " ".join(text) for k, text in words.items()}

    light = rows_of(audit(records + [edited(r, 0) for r in records]), "near_duplicates")
    heavy = rows_of(audit(records + [edited(r, 0.5) for r in records]), "near_duplicates")
    assert len(light) >= 0.9 * len(records)
    assert min(light) >= 300
    assert heavy == ()


def test_conflicting_votes_give_a_flip_rate():
    """Of 60 pairs judged twice, 12 conflict: A = 0.8, bound = (1 - sqrt(0.6)) / 2."""
    records = clean()
    again = [
        dict(r, chosen=r["rejected"], rejected=r["chosen"]) if i < 12 else {**r, "annotator": "x"}
        for i, r in enumerate(records)
    ]
    records = [{**r, "annotator": "a"} for r in records]
    again = [{**r, "annotator": "b"} for r in again]
    result = audit(records + again)
    found = result.find("conflicting_votes")
    assert found.rows == (*range(12), *range(60, 72))
    assert found.data["agreement"] == pytest.approx(0.8)
    bound = found.data["flip_rate_bound"]
    assert bound["value"] == pytest.approx((1 - 0.6**0.5) / 2)
    assert bound["low"] < bound["value"] < bound["high"]
    assert {g["name"]: g["conflicting"] for g in found.data["groups"]} == dict.fromkeys(
        ("north", "south", "west"), 4
    )
    assert found.severity == "note"  # people may disagree


def test_a_label_prob_below_half_counts_as_the_opposite_vote():
    records = [{**r, "label_prob": 1.0} for r in clean()]
    records.append({**records[0], "label_prob": 0.2})
    result = audit(records)
    assert rows_of(result, "conflicting_votes") == (0, 60)
    assert rows_of(result, "label_below_half") == (60,)
    assert rows_of(result, "duplicates") == ()


def test_an_annotator_who_contradicts_himself_is_a_warning():
    records = [{**r, "annotator": "ann"} for r in clean()]
    records.append(dict(records[0], chosen=records[0]["rejected"], rejected=records[0]["chosen"]))
    found = audit(records).find("conflicting_votes")
    assert (found.rows, found.severity, found.data["same_annotator"]) == ((0, 60), "warning", 1)


def test_outvoted_rows():
    records = [{**r, "annotator": who} for r in clean() for who in "abc"]
    for row in (4, 31):
        records[row] = dict(
            records[row], chosen=records[row]["rejected"], rejected=records[row]["chosen"]
        )
    result = audit(records)
    assert rows_of(result, "outvoted") == (4, 31)
    assert result.find("outvoted").data["judged"] == {"north": 60, "south": 60, "west": 60}


def ranking(rng, n, group="north"):
    """All pairs of n ranked answers to one prompt, best first."""
    prompt, answers = sentence(rng, 20), [sentence(rng, 15) for _ in range(n)]
    return [
        {
            "prompt": prompt,
            "chosen": answers[i],
            "rejected": answers[j],
            "group": group,
            "distance": j - i,
        }
        for i in range(n)
        for j in range(i + 1, n)
    ]


def flipped(record):
    return dict(record, chosen=record["rejected"], rejected=record["chosen"])


@pytest.mark.parametrize("row", range(10))
def test_a_flip_closes_a_circle_unless_it_swaps_neighbours(row):
    """Five ranked answers: a flip over distance d lies on d - 1 circles of three."""
    rng = random.Random(0)
    records = ranking(rng, 5) + ranking(rng, 6, "south")
    assert faults(audit(records)) == set()
    distance = records[row]["distance"]
    records[row] = flipped(records[row])
    found = audit(records).find("cyclic_preferences")
    if distance == 1:
        assert found is None  # another ranking explains it: nothing can see this flip
        return
    assert row in found.rows
    assert set(found.data["groups"]) == {"north"}
    assert found.data["suspects"] == ([row] if distance > 2 else [])
    assert found.data["n_checkable"] == 25


def test_circles_of_different_people_are_not_mixed():
    rng = random.Random(0)
    a, b, c = (dict(r, annotator=who) for r, who in zip(ranking(rng, 3), "xyx", strict=True))
    assert "cyclic_preferences" not in faults(audit([a, flipped(b), c]))
    assert "cyclic_preferences" in faults(audit([a, dict(flipped(b), annotator="x"), c]))


# Labels and balance


def test_length_bias_by_hand():
    """Longer wins in 45 of 60 pairs; Wilson's interval of 0.75 at n = 60 is [0.628, 0.842]."""
    records = clean()
    for i, record in enumerate(records):
        longer, shorter = record["prompt"], record["prompt"][:-5][::-1]
        record["prompt"] = f"{record['prompt'][:30]} ?"
        record["chosen"], record["rejected"] = (longer, shorter) if i < 45 else (shorter, longer)
    found = audit(records).find("length_bias")
    overall = found.data["characters"]["overall"]
    assert (overall["value"], overall["n"]) == (0.75, 60)
    assert overall["low"] == pytest.approx(0.6277, abs=1e-4)
    assert overall["high"] == pytest.approx(0.8422, abs=1e-4)
    assert found.severity == "warning"
    assert "75 % [63 %, 84 %] of 60 pairs" in found.what
    assert [g["value"] for g in found.data["characters"]["groups"]] == [0.75] * 3


def test_length_bias_knows_pairs_of_one_prompt_as_dependent():
    """Thirty prompts of ten equal outcomes are worth thirty draws, not three hundred."""
    records = clean(300)
    for i, record in enumerate(records):
        record["prompt"] = records[i - i % 10]["prompt"]
        longer = i // 10 % 2 == 0
        record["chosen"] = record["chosen"] + (" longer than it" * 8 if longer else "")
        record["rejected"] = record["rejected"] + ("" if longer else " longer than it" * 8)
    overall = audit(records).find("length_bias").data["characters"]["overall"]
    assert overall["n_effective"] == pytest.approx(30)
    assert overall["low"] == pytest.approx(0.3315, abs=1e-4)  # Wilson's for 15 of 30


@pytest.mark.parametrize(
    ("wins", "named"), [((9, 10, 10, 10, 16), False), ((10, 10, 10, 10, 19), True)]
)
def test_a_group_is_named_only_if_luck_among_many_could_not_put_it_there(wins, named):
    """16 of 20 is further from 55 % than chance allows one group, but not the best of five."""
    records = clean(100)
    for i, record in enumerate(records):
        group, place = i // 20, i % 20
        longer, shorter = record["prompt"], record["prompt"][:-5][::-1]
        record["prompt"] = f"{record['prompt'][:30]} ?"
        won = place < wins[group]
        record["chosen"], record["rejected"] = (longer, shorter) if won else (shorter, longer)
        record["group"] = f"g{group}"
    assert ("; in g4" in audit(records).find("length_bias").what) is named


def test_position_bias():
    flags = np.arange(SIZE) % 2 == 0
    pairs = Preferences.from_records(clean())
    assert check_data(pairs.with_columns(chosen_first=flags)).find("position_bias") is None
    often = check_data(pairs.with_columns(chosen_first=np.arange(SIZE) % 4 != 0))
    assert often.find("position_bias").severity == "warning"
    assert often.find("position_bias").data["overall"]["value"] == 0.75
    always = check_data(pairs.with_columns(chosen_first=np.ones(SIZE, dtype=bool)))
    assert always.find("position_bias").severity == "error"


def test_ties_and_weights():
    records = [{**r, "label_prob": 0.9, "weight": 1.0} for r in clean()]
    records[3]["label_prob"] = records[8]["label_prob"] = 0.5
    records[6]["weight"] = 0.0
    result = audit(records)
    assert rows_of(result, "ties") == (3, 8)
    assert rows_of(result, "zero_weights") == (6,)
    assert faults(result) == {"ties", "zero_weights"}


# Groups


def test_groups_missing_single_and_tiny():
    records = clean()
    assert audit([{**r, "group": "all"} for r in records]).find("one_group").count == SIZE
    records[4]["group"] = records[7]["group"] = "None"
    records[9]["group"] = "coast"
    result = audit(records)
    assert rows_of(result, "missing_groups") == (4, 7)
    assert rows_of(result, "tiny_groups") == (4, 7, 9)
    bare = audit([{k: v for k, v in r.items() if k != "group"} for r in clean()])
    assert [f.key for f in bare.findings] == ["length_bias", "no_groups"]


@pytest.mark.parametrize(("n", "m"), [(40, 40), (25, 300), (221, None), (60, 1000)])
def test_minimum_detectable_gap_against_simulation(n, m):
    """At the gap, the usual test of two shares (or of one against 1/2) finds it in 80 %."""
    gap = minimum_detectable_gap(n, m)
    rng, draws, z = np.random.default_rng(0), 40_000, 1.959964
    if m is None:
        share = rng.binomial(n, 0.5 + gap, draws) / n
        found = np.abs(share - 0.5) / np.sqrt(0.25 / n) > z
    else:
        p, q = 0.5 + gap * m / (n + m), 0.5 - gap * n / (n + m)
        first, second = rng.binomial(n, p, draws) / n, rng.binomial(m, q, draws) / m
        pooled = (n * first + m * second) / (n + m)
        found = np.abs(first - second) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)) > z
    assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_minimum_detectable_gap_edges():
    assert np.isnan(minimum_detectable_gap(1, 1000))
    assert minimum_detectable_gap(50, 80) == pytest.approx(minimum_detectable_gap(80, 50))
    assert minimum_detectable_gap(50, 80) > minimum_detectable_gap(500, 800)
    # Of few pairs the gap is large, and with it the spread at the gap far below that at 1/2.
    gap = minimum_detectable_gap(12)
    reach = (gap * 12**0.5 - 0.5 * NormalDist().inv_cdf(0.975)) / (0.25 - gap**2) ** 0.5
    assert NormalDist().cdf(reach) == pytest.approx(0.8)
    with pytest.raises(ParameterError, match="at least 1; got n=0"):
        minimum_detectable_gap(0, 5)


def test_group_resolution_names_all_gaps():
    data = audit(clean()).find("group_resolution").data
    assert [g["name"] for g in data["groups"]] == ["north", "south", "west"]
    assert data["groups"][0]["gap_to_rest"] == pytest.approx(minimum_detectable_gap(20, 40))
    assert len(data["between"]) == 3


# Agreement


def counts(*observers, values):
    return [[sum(o[u] == v for o in observers) for v in values] for u in range(len(observers[0]))]


@pytest.mark.parametrize(
    ("table", "alpha"),
    [
        (counts("0100000010", "1110010000", values="01"), 0.095),
        (counts("aabbdcccedda", "babbbccceddd", values="abcde"), 0.692),
        (
            counts("123321412...", "1233224125.3", ".3332342251.", "12332441251.", values="12345"),
            0.743,
        ),
    ],
)
def test_alpha_equals_krippendorffs_published_examples(table, alpha):
    assert krippendorff_alpha(table) == pytest.approx(alpha, abs=5e-4)


def test_alpha_by_hand_and_at_its_ends():
    # n = 8, within = 2, between = 64 - 25 - 9: alpha = 1 - 7 * 2 / 30
    assert krippendorff_alpha([[2, 0], [2, 0], [1, 1], [0, 2]]) == pytest.approx(16 / 30)
    assert krippendorff_alpha([[3, 0], [0, 3]]) == 1.0
    assert krippendorff_alpha([[1, 1]] * 500) == pytest.approx(1 - 999 / 500)
    assert np.isnan(krippendorff_alpha([[2, 0], [2, 0]]))
    assert np.isnan(krippendorff_alpha([[1, 0], [0, 1]]))
    with pytest.raises(DataError, match="table"):
        krippendorff_alpha([1, 2])


def test_agreement_by_group_with_intervals():
    """Two annotators; in the south the second one answers at random."""
    rng = np.random.default_rng(0)
    records = [{**r, "annotator": "a"} for r in clean(300)]
    again = [
        {**(flipped(r) if r["group"] == "south" and rng.random() < 0.5 else r), "annotator": "b"}
        for r in records
    ]
    found = audit(records + again).find("agreement")
    groups = {g["name"]: g for g in found.data["groups"]}
    assert groups["north"]["value"] == 1.0
    assert groups["south"]["low"] < 0 < groups["south"]["high"]
    assert "lowest in south" in found.what
    assert found.data["annotators"] == 2
    assert found.data["overall"]["n"] == 300


def test_interval_of_alpha_covers():
    """Two raters who each err with probability 0.2: alpha is 0.36 in the population."""
    from pluralign.audit.quality.votes import _alpha, bootstrap

    rng, hits = np.random.default_rng(1), 0
    for draw in range(300):
        truth = rng.random(150) < 0.5
        votes = truth[:, None] ^ (rng.random((150, 2)) < 0.2)
        table = np.stack([(~votes).sum(axis=1), votes.sum(axis=1)], axis=1)
        interval = bootstrap(table, _alpha, 0.95, draw)
        hits += interval["low"] <= 0.36 <= interval["high"]
    assert 0.92 <= hits / 300 <= 0.985


def test_ties_are_a_vote_of_their_own():
    records = [{**r, "annotator": who, "label_prob": 1.0} for r in clean() for who in "ab"]
    for row in range(0, 120, 2):
        records[row]["label_prob"] = 0.5
    result = audit(records)
    assert result.find("conflicting_votes") is None
    assert result.find("agreement").data["overall"]["value"] < 0


# Split and model


def test_leaks_are_named_with_both_rows():
    train, held_out = clean(60, seed=0), clean(40, seed=1)
    held_out[4] = flipped(train[10])
    held_out[9]["prompt"] = train[20]["prompt"].upper() + " "
    near = train[30]["prompt"].split()
    held_out[13]["prompt"] = " ".join([*near[:-1], "entirely"])
    train = Preferences.from_records(train)
    result = check_data(train, eval_pairs=Preferences.from_records(held_out))
    for key, row, source in (
        ("leaked_pairs", 4, 10),
        ("leaked_prompts", 9, 20),
        ("leaked_near_prompts", 13, 30),
    ):
        assert rows_of(result, key) == (row,)
        assert result.find(key).data["train_rows"] == [source]
    assert result.worst_severity == "error"
    apart = check_data(train, eval_pairs=Preferences.from_records(clean(40, seed=1)))
    assert faults(apart) == set()


def test_leak_rows_carry_the_ids_of_the_evaluation_set():
    train = Preferences.from_records([{**r, "id": f"t{i}"} for i, r in enumerate(clean())])
    held_out = Preferences.from_records(
        [{**r, "id": f"e{i}"} for i, r in enumerate(clean(seed=5)[:3] + clean()[:1])]
    )
    assert check_data(train, eval_pairs=held_out).find("leaked_pairs").ids == ("e3",)


def reward(pairs, margin):
    return ScoredPairs(pairs, chosen=margin, rejected=np.zeros(len(pairs)), kind="reward")


def test_flip_posterior_by_hand():
    """One pair in ten has margin -3: these are named, at a rate that is its own mean posterior."""
    pairs = Preferences.from_records(clean(300))
    margin = np.where(np.arange(300) % 10 == 3, -3.0, 3.0)
    found = check_data(pairs, margins=reward(pairs, margin)).find("flipped_by_model")
    assert found.rows == tuple(range(3, 300, 10))
    wrong = 1 / (1 + np.exp(margin))
    for name, estimate in found.data["rates"].items():
        rate = estimate["value"]
        w = wrong[np.array(pairs.group) == name]
        posterior = rate * w / ((1 - rate) * (1 - w) + rate * w)
        assert posterior.mean() == pytest.approx(rate, abs=1e-4)


def test_flip_rate_of_a_calibrated_model_is_found():
    rng = np.random.default_rng(0)
    pairs = Preferences.from_records(clean(3000))
    z = rng.normal(0, 4, 3000)
    truth = rng.random(3000) < 1 / (1 + np.exp(-z))
    group = np.array(pairs.group)
    noise = rng.random(3000) < np.where(group == "west", 0.3, 0.05)
    margin = np.where(truth ^ noise, z, -z)
    rates = check_data(pairs, margins=reward(pairs, margin)).find("flipped_by_model").data["rates"]
    assert rates["west"]["low"] < 0.3 < rates["west"]["high"]
    assert rates["north"]["low"] < 0.05 < rates["north"]["high"]
    assert rates["north"]["high"] < rates["west"]["low"]


def test_margins_that_do_not_fit_are_refused():
    pairs = Preferences.from_records(clean())
    zeros = np.zeros(SIZE)
    with pytest.raises(IncompatibleError, match=r"set ScoredPairs\.beta"):
        check_data(pairs, margins=ScoredPairs(pairs, zeros, zeros))
    with pytest.raises(IncompatibleError, match="of 10 pairs; the data has 60"):
        check_data(pairs, margins=reward(pairs.select(range(10)), np.ones(10)))


# Tokens


class Letters:
    """A tokenizer of letters that merges "qu" into one token."""

    eos_token_id, bos_token_id, chat_template = 1, 0, None
    eos_token = "</s>"

    def __init__(self, *, bos=False, **changes):
        self.bos = bos
        vars(self).update(changes)

    def __call__(self, texts, add_special_tokens=True, **_):
        start = [0] if self.bos and add_special_tokens else []
        return {"input_ids": [start + self.encode(text) for text in texts]}

    def encode(self, text):
        text = text.replace("<s>", "\0").replace("qu", "\2")
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids)).replace("\2", "qu")


def lettered(size=SIZE):
    return [
        {k: v.replace("q", "k") if k != "group" else v for k, v in r.items()} for r in clean(size)
    ]


def test_tokens_of_a_clean_set():
    result = audit(lettered(), tokenizer=Letters(bos=True))
    assert faults(result) == set()
    tokens = result.find("length_bias").data["tokens"]["overall"]
    assert tokens["n"] > 0


def test_token_merges_across_the_seam():
    records = lettered()
    for row in (5, 6):
        records[row]["prompt"] += " q"
        records[row]["rejected"] = "u" + records[row]["rejected"]
    result = audit(records, tokenizer=Letters())
    found = result.find("token_boundary")
    assert found.rows == (5, 6)
    assert found.severity == "error"
    assert "'q'" in found.data["examples"][0]
    assert "'qu" in found.data["examples"][0]
    assert faults(result) == {"token_boundary"}


def test_double_bos_and_no_eos():
    records = lettered()
    records[7]["prompt"] = "<s>" + records[7]["prompt"]
    result = audit(records, tokenizer=Letters(bos=True, eos_token_id=None))
    assert rows_of(result, "double_bos") == (7,)
    assert result.find("tokenizer_without_eos").severity == "error"
    assert faults(result) == {"double_bos", "tokenizer_without_eos"}


def test_truncation_tells_what_is_lost():
    records = lettered()
    common = "x" * 400
    records[2]["prompt"] = common
    records[4]["chosen"] = common + " abcdef"
    records[4]["rejected"] = common + " ghijkl"
    records[6]["rejected"] = records[6]["rejected"] + common
    result = audit(records, tokenizer=Letters(), max_length=350)
    found = result.find("truncation")
    assert found.rows == (2, 4, 6)
    assert found.data["identical"] == [4]
    assert found.data["empty"] == [2]
    assert found.severity == "error"


def test_a_stated_truncation_is_a_warning_with_its_loss():
    """What the finding says is what training does: the same rows are cut and dropped."""
    records = lettered()
    records[2]["prompt"] = "x" * 400
    records[6]["rejected"] = records[6]["rejected"] + "y" * 400
    tokenizer = Letters()
    pairs = Preferences.from_records(records)
    for truncation, dropped in (("drop", [2, 6]), ("left_prompt", [6])):
        found = audit(records, tokenizer=tokenizer, max_length=350, truncation=truncation)
        found = found.find("truncation")
        assert (found.severity, found.rows) == ("warning", (2, 6))
        assert found.data["dropped"] == dropped
        assert found.data["cut"] == [row for row in (2, 6) if row not in dropped]
        with pytest.warns(DataQualityWarning):
            tokens = tokenise_pairs(pairs, tokenizer, max_length=350, truncation=truncation)
        assert sorted(set(range(len(pairs))) - set(tokens.kept.tolist())) == dropped
    assert f"{len(dropped)} are dropped" in found.what
    refused = audit(records, tokenizer=tokenizer, max_length=350, truncation="error")
    assert refused.find("truncation").severity == "error"
    assert "training refuses them" in refused.find("truncation").what
    with pytest.raises(ParameterError, match="truncation must be one of"):
        audit(records, tokenizer=tokenizer, truncation="right")


def test_token_ids_without_eos():
    records = [
        {"prompt": [5, 6, i + 10], "chosen": [7, i + 9, 1], "rejected": [8, i + 9, 1]}
        for i in range(10)
    ]
    records[3]["rejected"] = [8, 2]
    records[5]["rejected"] = records[5]["chosen"]
    result = audit(records, tokenizer=Letters())
    assert rows_of(result, "missing_eos") == (3,)
    assert rows_of(result, "identical_responses") == (5,)


def test_conversations_need_a_template():
    turn = [{"role": "user", "content": "hello there"}]
    records = [
        {
            "prompt": turn,
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        }
    ]
    assert rows_of(audit(records, tokenizer=Letters()), "no_chat_template") == (0,)

    class Chat(Letters):
        def apply_chat_template(self, turns, tokenize, add_generation_prompt=False):
            text = "".join(f"{t['role']}:{t['content']}\1" for t in turns)
            return text + ("assistant:" if add_generation_prompt else "")

    assert faults(audit(records, tokenizer=Chat(chat_template="x"))) == set()


def test_a_tokenizer_must_be_callable():
    with pytest.raises(IncompatibleError, match="got 'gpt2'"):
        audit(clean(), tokenizer="gpt2")


# The record


def test_chunks_give_the_same_audit_as_the_whole():
    records = clean()
    records[8]["chosen"] += "\n\nHuman: more"
    records += [dict(records[2]), flipped(records[50])]
    whole = Preferences.from_records(records)
    chunks = (whole.select(range(i, min(i + 7, 62))) for i in range(0, 62, 7))
    assert check_data(chunks).to_json() == check_data(whole).to_json()


def test_ids_of_the_pairs_are_named():
    records = [{**r, "id": f"pair-{i}"} for i, r in enumerate(clean())]
    records[30]["rejected"] = records[30]["chosen"]
    pairs = Preferences.from_records(records)
    halves = [pairs.select(range(30)), pairs.select(range(30, 60))]
    for data in (pairs, halves):
        found = check_data(data).find("identical_responses")
        assert (found.rows, found.ids) == ((30,), ("pair-30",))


def test_json_is_plain_and_complete():
    records = clean() + clean()[:30]
    result = audit(records, tokenizer=Letters(), eval_pairs=Preferences.from_records(clean()))
    text = json.dumps(result.to_json(), allow_nan=False)
    read = json.loads(text)
    assert read["n_pairs"] == 90
    assert read["worst_severity"] == "error"
    assert sum(read["counts"].values()) == len(read["findings"])
    severities = [finding["severity"] for finding in read["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    copies = next(f for f in read["findings"] if f["key"] == "duplicates")
    assert copies["rows"] == list(range(60, 90))
    assert len(copies["ids"]) == 20
    short = result.to_json(max_rows=3)["findings"]
    assert all(len(f["rows"]) <= 3 for f in short)
    assert all(f["why"] and f["remedy"] and f["title"] for f in read["findings"])


def test_every_kind_can_be_found_here():
    """The keys in this file and the kinds declared are the same, so none is left untested."""
    from pathlib import Path

    text = Path(__file__).read_text()
    assert [key for key in KINDS if f'"{key}"' not in text] == []


def test_settings_and_empty_streams_are_refused():
    with pytest.raises(ParameterError, match="confidence must be a finite number"):
        audit(clean(), confidence=1.0)
    with pytest.raises(ParameterError, match="max_length"):
        audit(clean(), max_length=0)
    with pytest.raises(DataError, match="no pairs"):
        check_data([])


def test_unanimous_ties_have_no_alpha_and_stay_json():
    records = [{**r, "annotator": who, "label_prob": 0.5} for r in clean() for who in "ab"]
    result = audit(records)
    assert "undefined" in result.find("agreement").what
    text = json.dumps(result.to_json(), allow_nan=False)
    assert json.loads(text)["n_pairs"] == 120


def test_the_reference_page_has_every_kind():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "data_checks.md").read_text()
    assert [key for key in KINDS if f"| `{key}` |" not in page] == []
