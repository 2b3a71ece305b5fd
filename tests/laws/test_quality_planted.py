"""Faults planted into a real set are named with their rows; the clean copy raises none of them.

None of the planted kinds, that is: flipped, copied and leaked pairs, broken seams. The clean
set does hold pairs that are nearly another one (one character of one response differs) and
prompts nearly those of the other half; these are findings too, and true ones, stated below.

What can be known of flipped labels: a circle of preferences shows those that do not just
swap two neighbours in the ranking of answers, and a model shows those that it is sure of.
Both are measured here. No row of the set is ever printed.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pluralign.audit.quality import check_data
from pluralign.data import Preferences, ScoredPairs
from pluralign.datasets import train_eval_split
from pluralign.rows import read_jsonl

FILE = Path(__file__).parents[3] / "shared" / "data" / "hhh_alignment" / "pairs.jsonl.gz"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="hhh_alignment is not there")

GROUP = "honest"
PLANTED = {
    "duplicates",
    "identical_responses",
    "prompt_in_response",
    "prompts_differ",
    "role_markers",
    "whitespace_mismatch",
    "conflicting_votes",
    "cyclic_preferences",
    "outvoted",
    "leaked_pairs",
    "leaked_prompts",
}


@pytest.fixture(scope="module")
def records():
    return read_jsonl(FILE)


@pytest.fixture(scope="module")
def halves(records):
    """Training and evaluation records, no prompt on both sides."""
    pairs = Preferences.from_records(records)
    by_id = {str(record["id"]): record for record in records}
    parts = train_eval_split(pairs, 0.3, seed=0)
    return [[by_id[name] for name in part.pair_id] for part in parts]


def flip(record):
    return {**record, "chosen": record["rejected"], "rejected": record["chosen"]}


def pairs_of(records):
    return Preferences.from_records([{**r, "id": i} for i, r in enumerate(records)])


def broken(record, kind):
    """A record whose seam of prompt and response is broken in one of five ways."""
    return {
        **record,
        **{
            0: {"chosen": f"{record['prompt']} {record['chosen']}"},
            1: {"rejected": f"{record['prompt']}\n{record['rejected']}"},
            2: {"chosen": f"{record['chosen']}\n\nHuman: and then?"},
            3: {"rejected": f"{record['rejected']}<|im_end|>"},
            4: {"chosen": f" {record['chosen']}"},
        }[kind],
    }


def test_the_clean_copy_raises_none(halves):
    train, held_out = map(pairs_of, halves)
    sure = ScoredPairs(train, np.full(len(train), 6.0), np.zeros(len(train)), kind="reward")
    result = check_data(train, eval_pairs=held_out, margins=sure)
    assert PLANTED & {finding.key for finding in result.findings} == set()
    assert result.find("flipped_by_model") is None
    assert result.worst_severity != "error"


def test_what_else_the_clean_copy_raises(halves):
    """All that it does raise: two near copies, four near prompts, and two notes."""
    train, held_out = map(pairs_of, halves)
    result = check_data(train, eval_pairs=held_out)
    assert {finding.key: finding.count for finding in result.findings} == {
        "near_duplicates": 2,
        "leaked_near_prompts": 4,
        "length_bias": 148,
        "group_resolution": 4,
    }


def shingles(text):
    text = " ".join(text.casefold().split())
    return {text[i : i + 5] for i in range(len(text) - 4)}


def jaccard(first, second):
    first, second = shingles(first), shingles(second)
    return len(first & second) / len(first | second)


def test_what_the_clean_copy_raises_is_true(halves):
    """The set has a few prompts and pairs that do share most of their text."""
    train, held_out = halves
    result = check_data(pairs_of(train), eval_pairs=pairs_of(held_out))
    leaks = result.find("leaked_near_prompts")
    near = result.find("near_duplicates").data["clusters"]
    for first, *copies in near:  # no chance likeness: two texts are equal, one nearly so
        for copy in copies:
            same = [train[first][k] == train[copy][k] for k in ("prompt", "chosen", "rejected")]
            assert sum(same) == 2
    alike = [
        jaccard(held_out[row]["prompt"], train[other]["prompt"])
        for row, other in zip(leaks.rows, leaks.data["train_rows"], strict=True)
    ]
    for first, *copies in near:
        for copy, part in itertools.product(copies, ("prompt", "chosen", "rejected")):
            alike.append(jaccard(train[first][part], train[copy][part]))
    assert len(alike) > 3
    assert min(alike) > 0.75


def test_all_planted_faults_are_named_with_their_rows(halves):
    """10 % flips in one group, 20 duplicates, 5 broken seams, 3 leaks, at once."""
    rng = np.random.default_rng(0)
    train, held_out = (list(half) for half in halves)
    members = [i for i, record in enumerate(train) if record["group"] == GROUP]
    flips = sorted(rng.choice(members, round(0.1 * len(members)), replace=False).tolist())
    rest = rng.permutation(sorted(set(range(len(train))) - set(members))).tolist()
    seams, copied, leaked = sorted(rest[:5]), rest[5:25], rest[25:28]
    for row in flips:
        train[row] = flip(train[row])
    for kind, row in enumerate(seams):
        train[row] = broken(train[row], kind)
    leaks = range(len(held_out), len(held_out) + 3)
    held_out += [train[leaked[0]], flip(train[leaked[1]]), train[leaked[2]]]
    size = len(train)
    train += [train[row] for row in copied]
    pairs = pairs_of(train)

    margin = np.full(len(train), 6.0)  # a model that is sure and right
    margin[flips] = -6.0
    result = check_data(
        pairs,
        eval_pairs=pairs_of(held_out),
        margins=ScoredPairs(pairs, margin, np.zeros(len(pairs)), kind="reward"),
    )

    def rows(key):
        found = result.find(key)
        return [] if found is None else list(found.rows)

    assert rows("duplicates") == list(range(size, size + 20))
    assert rows("prompt_in_response") == seams[:2]
    assert rows("role_markers") == seams[2:4]
    assert rows("whitespace_mismatch") == seams[4:]
    assert rows("leaked_pairs") == list(leaks)
    assert result.find("leaked_pairs").data["train_rows"] == leaked
    assert rows("flipped_by_model") == flips
    rates = result.find("flipped_by_model").data["rates"]
    assert rates[GROUP]["low"] < len(flips) / len(members) < rates[GROUP]["high"]
    assert max(rates, key=lambda name: rates[name]["value"]) == GROUP
    circles = result.find("cyclic_preferences")
    assert set(circles.data["groups"]) == {GROUP}
    assert set(circles.rows) >= closing_a_circle(train[:size], flips)


def closing_a_circle(records, flips):
    """Of the flips, those on a circle of three answers, by trying all triples."""
    better = {(r["prompt"], r["chosen"], r["rejected"]) for r in records}
    answers = {}
    for r in records:
        answers.setdefault(r["prompt"], set()).update((r["chosen"], r["rejected"]))
    return {
        row
        for row in flips
        for r in [records[row]]
        for third in answers[r["prompt"]]
        if (r["prompt"], r["rejected"], third) in better
        and (r["prompt"], third, r["chosen"]) in better
    }


def test_power_without_a_model(records):
    """Over 40 draws of 6 flips: those that close a circle are named, about half of all."""
    members = [i for i, record in enumerate(records) if record["group"] == GROUP]
    named, suspected, right, possible = 0, 0, 0, 0
    for seed in range(40):
        flips = np.random.default_rng(seed).choice(members, 6, replace=False).tolist()
        changed = [flip(r) if i in set(flips) else r for i, r in enumerate(records)]
        closing = closing_a_circle(changed, flips)
        found = check_data(pairs_of([changed[i] for i in members])).find("cyclic_preferences")
        rows = set() if found is None else {members[i] for i in found.rows}
        suspects = set() if found is None else {members[i] for i in found.data["suspects"]}
        assert closing <= rows
        possible += len(flips)
        named += len(rows & set(flips))
        suspected += len(suspects)
        right += len(suspects & set(flips))
    print(f"named {named / possible:.2f}, suspects right {right}/{suspected}")
    assert 0.4 <= named / possible <= 0.6
    assert right >= 0.8 * suspected > 0


@pytest.mark.parametrize(("spread", "least"), [(2.0, 0.15), (6.0, 0.6)])
def test_power_with_a_calibrated_model(records, spread, least):
    """A simulated model, right with probability sigma(|z|): power grows with certainty."""
    pairs = pairs_of(records)
    members = np.flatnonzero(np.array(pairs.group) == GROUP)
    named, alarms, missed_rate = [], [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        size = np.abs(rng.normal(0, spread, len(pairs)))
        z = np.where(rng.random(len(pairs)) < 1 / (1 + np.exp(-size)), size, -size)
        flips = rng.choice(members, 6, replace=False)
        z[flips] *= -1
        scored = ScoredPairs(pairs, z, np.zeros(len(pairs)), kind="reward")
        found = check_data(pairs, margins=scored).find("flipped_by_model")
        rows = set() if found is None else set(found.rows)
        named.append(len(rows & set(flips.tolist())) / 6)
        alarms.append(len(rows - set(flips.tolist())))
        missed_rate += found is not None and not (
            found.data["rates"][GROUP]["low"]
            <= 6 / len(members)
            <= found.data["rates"][GROUP]["high"]
        )
    print(f"spread {spread}: named {np.mean(named):.2f}, false alarms {np.mean(alarms):.1f}")
    assert np.mean(named) >= least
    assert np.mean(alarms) <= 6
    assert missed_rate <= 4


def test_duplicates_do_not_hide_behind_order(records):
    """In any order, what is named are the copies after the first."""
    rng = np.random.default_rng(1)
    copies = rng.choice(len(records), 20, replace=False).tolist()
    more = [(r, i) for i, r in enumerate(records)] + [(records[i], i) for i in copies]
    order = rng.permutation(len(more)).tolist()
    shuffled = [more[i] for i in order]
    seen, expected = set(), []
    for row, (_, origin) in enumerate(shuffled):
        if origin in seen:
            expected.append(row)
        seen.add(origin)
    result = check_data(pairs_of([record for record, _ in shuffled]))
    assert list(result.find("duplicates").rows) == expected


def test_every_seam_is_found_wherever_it_is(records):
    """Each of the five breaks, in each of 30 rows."""
    keys = ("prompt_in_response",) * 2 + ("role_markers",) * 2 + ("whitespace_mismatch",)
    rows = np.random.default_rng(2).choice(len(records), 30, replace=False).tolist()
    for row, kind in itertools.product(rows, range(5)):
        record = dict(records[row], id="0")
        found = check_data(Preferences.from_records([broken(record, kind)])).find(keys[kind])
        assert found is not None, (row, kind)
