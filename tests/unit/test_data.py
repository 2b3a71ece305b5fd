"""Preferences and rows: what goes in comes out, in order, and what cannot is named."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.data import Preferences, ScoredPairs
from pluralign.errors import DataError
from pluralign.rows import iter_jsonl, numbers, raise_rows, read_jsonl, take_column, text_problem

ROWS = [
    {
        "id": f"p{i}",
        "prompt": f"q{i}",
        "chosen": f"good {i}",
        "rejected": f"bad {i}",
        "group": "ab"[i % 2],
        "annotator": f"r{i % 3}",
        "domain": "d",
        "weight": 1.0 + i,
        "label_prob": 0.5 + 0.1 * i,
        "flip_rate": 0.1 * i,
        "chosen_first": i % 2 == 0,
        "length": float(i),
    }
    for i in range(4)
]


def full():
    return Preferences.from_records(ROWS, attributes=["length"])


def test_records_round_trip():
    pairs = full()
    assert list(pairs.records()) == ROWS
    again = Preferences.from_records(pairs.records(), attributes=["length"])
    assert again.fingerprint() == pairs.fingerprint()


def test_columns_have_one_type():
    pairs = full()
    assert pairs.weight.dtype == pairs.attributes["length"].dtype == np.float64
    assert pairs.chosen_first.dtype == np.bool_
    assert pairs.group == ("a", "b", "a", "b")
    assert pairs.group_sizes() == {"a": 2, "b": 2}
    bare = Preferences(prompt=["q"], chosen=["a"], rejected=["b"])
    assert (bare.group, bare.weight, bare.pair_id) == (None, None, ("0",))
    assert bare.group_sizes() == {}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
def test_select_takes_every_column_in_order(index):
    taken = full().select(index)
    assert list(taken.records()) == [ROWS[i] for i in index]


def test_select_by_mask_equals_select_by_number():
    pairs = full()
    mask = np.array([True, False, False, True])
    assert pairs.select(mask).fingerprint() == pairs.select([0, 3]).fingerprint()
    assert pairs.select(mask).attributes["length"].tolist() == [0.0, 3.0]
    with pytest.raises(DataError, match="no pairs"):
        pairs.select(np.zeros(4, dtype=bool))


def test_flip_rates_are_looked_up_by_group():
    pairs = full().with_flip_rates({"a": 0.05, "b": 0.35, "unused": 0.2})
    assert pairs.flip_rate.tolist() == [0.05, 0.35, 0.05, 0.35]
    with pytest.raises(DataError, match=r"no flip rate for group 'b'; rates are given for \['a'\]"):
        full().with_flip_rates({"a": 0.1})
    with pytest.raises(DataError, match=r"row 0: flip_rate must be in \[0, 0.5\); got 0.5"):
        full().with_flip_rates({"a": 0.5, "b": 0.1})
    with pytest.raises(DataError, match="need a 'group' column"):
        Preferences(prompt=["q"], chosen=["a"], rejected=["b"]).with_flip_rates({})


def test_fingerprint_is_of_the_rows_alone():
    pairs = full()
    assert full().with_columns(source="elsewhere").fingerprint() == pairs.fingerprint()
    changed = [
        pairs.with_columns(weight=pairs.weight + 1e-12),
        pairs.with_columns(group=("a", "b", "a", "c")),
        pairs.with_columns(chosen=("good 0", "good 1", "good 2", "good 3 ")),
        pairs.select([1, 0, 2, 3]),
    ]
    prints = {p.fingerprint() for p in changed}
    assert len(prints) == 4
    assert pairs.fingerprint() not in prints


def test_conversations_and_ids_become_immutable():
    turns = [{"role": "user", "content": "hi"}]
    pairs = Preferences(prompt=[turns], chosen=[turns], rejected=[[1, 2]])
    turns.append({"role": "user", "content": "later"})
    assert len(pairs.prompt[0]) == 1
    assert pairs.rejected[0] == (1, 2)


def test_all_bad_rows_are_named_at_once():
    rows = [ROWS[0], ROWS[1] | {"chosen": " "}, ROWS[2] | {"weight": -1.0}, ROWS[3] | {"id": "p0"}]
    with pytest.raises(DataError) as caught:
        Preferences.from_records(rows, source="pairs.jsonl")
    assert str(caught.value) == (
        "pairs.jsonl: 3 of 4 rows cannot be used: row 1: chosen is blank; row 2: weight must be "
        "finite and >= 0; got -1.0; row 3: id 'p0' is not unique. Mend or drop them."
    )
    assert caught.value.rows == (1, 2, 3)
    assert caught.value.source == "pairs.jsonl"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"group": ["a"]}, "column 'group' has 1 values for 2 pairs"),
        ({"chosen": ["a"]}, "column 'chosen' has 1 values for 2 pairs"),
        ({"attributes": {"x": [1.0]}}, "attribute 'x' has 1 values for 2 pairs"),
        ({"weight": [[1.0], [2.0]]}, "weight must have one value a pair"),
        ({"label_prob": [0.5, 1.5]}, r"row 1: label_prob must be in \[0, 1\]; got 1.5"),
        ({"prompt": []}, "there are no pairs"),
    ],
)
def test_columns_that_do_not_fit(columns, message):
    base = {"prompt": ["q", "q"], "chosen": ["a", "a"], "rejected": ["b", "b"]}
    with pytest.raises(DataError, match=message):
        Preferences(**base | columns)


def test_scored_pairs_keep_their_rows_together():
    pairs = full()
    scored = ScoredPairs(pairs, chosen=np.arange(4.0), rejected=np.zeros(4))
    some = scored.select([3, 1])
    assert some.chosen.tolist() == [3.0, 1.0]
    assert some.pairs.pair_id == ("p3", "p1")
    assert some.arrays() == ["chosen", "rejected"]
    with pytest.raises(DataError, match=r"rejected has shape \(3,\) for 4 pairs"):
        ScoredPairs(pairs, chosen=np.zeros(4), rejected=np.zeros(3))


# Rows


def test_jsonl_is_read_line_by_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\nbroken\n')
    lines = iter_jsonl(path)
    assert [next(lines), next(lines)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="line 4 is not JSON") as caught:
        next(lines)
    assert caught.value.rows == (3,)


@given(st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False)), max_size=5))
def test_jsonl_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert read_jsonl(path) == rows


def test_jsonl_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_jsonl(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_jsonl(tmp_path)


def test_take_column():
    rows = [{"a": 1, "b": None}, {"a": 2}]
    assert take_column(rows, "a", "s") == [1, 2]
    assert take_column(rows, "b", "s") is None
    with pytest.raises(DataError, match=r"row 0: b is missing or null.*columns are \['a', 'b'\]"):
        take_column(rows, "b", "s", required=True)
    with pytest.raises(DataError, match="1 of 2 rows") as caught:
        take_column([*rows[:1], {}], "a", "s")
    assert caught.value.rows == (1,)


def test_numbers_names_the_first_value_that_is_none():
    assert numbers(["0.5", 2, True], "x", "s").tolist() == [0.5, 2.0, 1.0]
    with pytest.raises(DataError, match="x must hold numbers; row 1 has 'much'") as caught:
        numbers(["0.5", "much", 1], "x", "s")
    assert caught.value.rows == (1,)


@pytest.mark.parametrize(
    ("text", "empty_allowed", "problem"),
    [
        ("a", False, ""),
        ("", True, ""),
        ("\t", False, "is blank"),
        ("a\0", True, "contains a NUL"),
        ("\udc80", True, "is no valid Unicode"),
        ("\U0001f600", False, ""),
        ((), True, ""),
        ((), False, "is empty"),
        ((0, 5), False, ""),
        ((True,), False, "mixes messages with True"),
        (({"role": "user", "content": ""},), False, ""),
        (({"role": 1, "content": ""},), False, "without 'role' and 'content'"),
        (4, True, "must be a string"),
    ],
)
def test_text_problem(text, empty_allowed, problem):
    found = text_problem(text, empty_allowed=empty_allowed)
    assert found.startswith(problem) if problem.startswith(("is", "must")) else problem in found
    assert bool(found) == bool(problem)


def test_raise_rows_shows_five_and_counts_the_rest():
    raise_rows([], "s", 9)
    with pytest.raises(DataError, match=r"7 of 9 rows .* row 4: bad; and 2 more") as caught:
        raise_rows([(i, "bad") for i in range(7)], "s", 9)
    assert caught.value.rows == tuple(range(7))
