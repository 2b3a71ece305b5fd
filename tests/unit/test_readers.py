"""Readers: every shape and container gives the same pairs, every broken input one clear error."""

import csv
import gzip
import json
import re

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pluralign.data import Preferences
from pluralign.datasets import load_preferences, train_eval_split
from pluralign.errors import DataError, DataQualityWarning, IncompatibleError, ParameterError

ROWS = [
    {"prompt": "2+2?", "chosen": " four, ”naturally“", "rejected": " 5", "region": "n", "hard": 1},
    {"prompt": "", "chosen": "a\nb", "rejected": 'say "c", twice', "region": "s", "hard": 0},
    {"prompt": "ß 日本", "chosen": "yes", "rejected": "no", "region": "n", "hard": 2},
]


def user(text):
    return {"role": "user", "content": text}


def reply(text):
    return {"role": "assistant", "content": text}


CHATS = [
    {"prompt": [user(r["prompt"])], "chosen": [reply(r["chosen"])], "rejected": [reply("z")]}
    for r in ROWS
]
IDS = [{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5]}] * 2


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def as_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(
            stream, list(rows[0]), delimiter="\t" if ".tsv" in path.name else ","
        )
        table.writeheader()
        table.writerows(rows)


def as_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def zipped(write):
    def both(path, rows):
        plain = path.with_suffix("")
        write(plain, rows)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    return both


WRITERS = {
    "a.jsonl": as_jsonl,
    "a.jsonl.gz": zipped(as_jsonl),
    "a.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "a.json.gz": zipped(lambda path, rows: path.write_text(json.dumps(rows, indent=1))),
    "lines.json": as_jsonl,
    "a.csv": as_csv,
    "a.csv.gz": zipped(as_csv),
    "a.tsv": as_csv,
    "A.PARQUET": as_parquet,
}


def texts(pairs):
    return list(zip(pairs.prompt, pairs.chosen, pairs.rejected, strict=True))


@pytest.mark.parametrize("name", WRITERS)
def test_files_give_what_was_written(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, ROWS)
    pairs = load_preferences(path, group="region", attributes=["hard"])
    assert texts(pairs) == [(r["prompt"], r["chosen"], r["rejected"]) for r in ROWS]
    assert pairs.group == ("n", "s", "n")
    assert pairs.attributes["hard"].tolist() == [1.0, 0.0, 2.0]
    assert pairs.source == str(path)
    expected = load_preferences(ROWS, group="region", attributes=["hard"])
    assert pairs.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("name", [n for n in WRITERS if not n.endswith(("csv", "csv.gz", "tsv"))])
@pytest.mark.parametrize("rows", [CHATS, IDS], ids=["conversational", "token_ids"])
def test_nested_texts_from_files(tmp_path, name, rows):
    WRITERS[name](tmp_path / name, rows)
    assert (
        load_preferences(str(tmp_path / name)).fingerprint() == load_preferences(rows).fingerprint()
    )


def test_csv_cells_may_hold_conversations_and_flags(tmp_path):
    rows = [{k: json.dumps(v) for k, v in row.items()} | {"chosen_first": "False"} for row in CHATS]
    as_csv(tmp_path / "a.csv", rows)
    pairs = load_preferences(tmp_path / "a.csv")
    assert pairs.chosen == load_preferences(CHATS).chosen
    assert pairs.chosen_first.tolist() == [False] * 3


def test_csv_cells_longer_than_the_default_limit(tmp_path):
    before = csv.field_size_limit()
    as_csv(tmp_path / "a.csv", [ROWS[0] | {"chosen": "long " * 50_000}])
    assert len(load_preferences(tmp_path / "a.csv").chosen[0]) == 250_000
    assert csv.field_size_limit() == before


def test_byte_order_mark_is_not_a_letter(tmp_path):
    for name in ("a.jsonl", "a.json", "a.csv"):
        WRITERS[name](tmp_path / name, ROWS)
        path = tmp_path / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert len(load_preferences(path)) == 3


@pytest.mark.parametrize("rows", [ROWS, CHATS, IDS], ids=["standard", "conversational", "ids"])
def test_data_set_objects_and_saved_directories(tmp_path, rows):
    expected = load_preferences(rows).fingerprint()
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(tmp_path / "one"))
    both = datasets.DatasetDict(train=dataset, test=dataset.select([0]))
    both.save_to_disk(str(tmp_path / "two"))
    assert load_preferences(dataset).fingerprint() == expected
    assert load_preferences(dataset.to_iterable_dataset()).fingerprint() == expected
    assert load_preferences(both, split="train").fingerprint() == expected
    assert load_preferences(tmp_path / "one").fingerprint() == expected
    assert load_preferences(tmp_path / "two", split="train").fingerprint() == expected
    assert len(load_preferences(tmp_path / "two", split="test")) == 1
    with pytest.raises(DataError, match=r"splits \['test', 'train'\]; name one with split="):
        load_preferences(both)
    with pytest.raises(DataError, match=r"no split 'tran'; did you mean 'train'\?"):
        load_preferences(tmp_path / "two", split="tran")
    with pytest.raises(DataError, match="has no splits"):
        load_preferences(dataset, split="train")


def test_format_of_a_data_set_object_does_not_matter():
    dataset = datasets.Dataset.from_list(IDS).with_format("numpy")
    assert load_preferences(dataset).chosen == ((3,), (3,))
    arrays = [{k.removesuffix("_ids"): np.array(v) for k, v in row.items()} for row in IDS]
    assert load_preferences(arrays).fingerprint() == load_preferences(IDS).fingerprint()


@pytest.mark.parametrize("inside", ["", "data"])
def test_directories_of_shards(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    as_parquet(folder / "train-00000-of-00002.parquet", ROWS[:2])
    as_parquet(folder / "train-00001-of-00002.parquet", ROWS[2:])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "dataset_infos.json").write_text("{}")
    for left_behind in ("._train-00000-of-00002.parquet", "_draft.jsonl"):
        (folder / left_behind).write_text("no rows")
    assert load_preferences(tmp_path).chosen == load_preferences(ROWS).chosen
    as_parquet(folder / "test_prefs-00000-of-00001.parquet", ROWS[:1])
    assert len(load_preferences(tmp_path, split="test_prefs")) == 1
    assert len(load_preferences(tmp_path, split="train")) == 3
    with pytest.raises(DataError, match=r"splits \['test_prefs', 'train'\]"):
        load_preferences(tmp_path)


def test_numbered_shards_without_splits(tmp_path):
    for number, row in enumerate(ROWS):
        as_jsonl(tmp_path / f"pairs_{number}.jsonl", [row])
    assert load_preferences(tmp_path).prompt == tuple(r["prompt"] for r in ROWS)


def test_iterables_are_read_no_further_than_the_limit():
    def endless():
        while True:
            yield ROWS[0]

    assert len(load_preferences(endless(), limit=7)) == 7


def test_pairs_already_read_are_given_back():
    pairs = load_preferences(ROWS)
    assert load_preferences(pairs) is pairs
    assert len(load_preferences(pairs, limit=2)) == 2
    with pytest.raises(ParameterError, match="only limit has an effect"):
        load_preferences(pairs, group="region")


# Implicit prompts


def test_transcripts_are_cut_at_the_last_shared_turn():
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: 2+2?\n\nAssistant:"
    later = " It is\n\nHuman: sure?\n\nAssistant: yes"
    pairs = load_preferences([{"chosen": start + later, "rejected": start + " It was"}])
    assert texts(pairs) == [(start, later, " It was")]
    assert pairs.prompt[0] + pairs.chosen[0] == start + later


def test_strings_without_turns_are_cut_at_white_space_if_asked():
    rows = [{"chosen": "tell me: fine", "rejected": "tell me: fire"}]
    with pytest.raises(DataError, match="no mark of an assistant's turn"):
        load_preferences(rows)
    pairs = load_preferences(rows, format="implicit")
    assert texts(pairs) == [("tell me:", " fine", " fire")]


def test_conversations_are_cut_after_the_shared_messages():
    shared = [user("2+2?"), reply("4"), user("and 3+3?")]
    rows = [{"chosen": [*shared, reply("6")], "rejected": [*shared, reply("7")]}]
    pairs = load_preferences(rows)
    assert pairs.prompt == (tuple(shared),)
    assert pairs.rejected == ((reply("7"),),)
    beside = [rows[0] | {"prompt": "and 3+3?"}]
    assert load_preferences(beside).fingerprint() == pairs.fingerprint()
    with pytest.raises(DataError, match="row 0: prompt is not among the messages"):
        load_preferences([rows[0] | {"prompt": "another question"}])


def test_empty_fields_of_columnar_messages_do_not_matter():
    padded = [
        {name: [message | {"tool_calls": None} for message in turns] for name, turns in row.items()}
        for row in CHATS
    ]
    assert load_preferences(padded).fingerprint() == load_preferences(CHATS).fingerprint()


# Unusable rows


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chosen": ""}, "chosen is blank"),
        ({"rejected": " \n"}, "rejected is blank"),
        ({"chosen": None}, "chosen is missing or null"),
        ({"prompt": None}, "prompt is missing or null"),
    ],
)
def test_unusable_rows_are_named_or_dropped(change, why):
    rows = [ROWS[0], ROWS[1] | change, ROWS[2]]
    with pytest.raises(DataError, match=f"1 of 3 rows cannot be used: row 1: {why}") as caught:
        load_preferences(rows)
    assert caught.value.rows == (1,)
    assert "drop_unusable=True" in str(caught.value)
    with pytest.warns(DataQualityWarning, match=f"dropped 1 of 3 rows: row 1: {why}"):
        pairs = load_preferences(rows, drop_unusable=True)
    assert pairs.pair_id == ("0", "2")
    assert "without 1 unusable" in pairs.source


def test_dropping_everything_is_an_error():
    with pytest.raises(DataError, match="all 1 rows are unusable: row 0: chosen is blank"):
        load_preferences([ROWS[0] | {"chosen": " "}], drop_unusable=True)


# Broken rows: (rows, options, what the message must say)

BAD_ROWS = {
    "nothing": ([], {}, "no pairs"),
    "not a mapping": ([ROWS[0], ["x"]], {}, "row 1: must be a mapping of columns"),
    "no chosen": ([{"prompt": "a", "rejected": "b"}], {}, "no column 'chosen'; the columns are"),
    "no columns": ([{"a": 1}], {}, "no column 'prompt' or 'chosen' or 'rejected'"),
    "null beside text": ([ROWS[0], ROWS[0] | {"chosen": None}], {}, "row 1: chosen is missing"),
    "number as text": ([ROWS[0] | {"chosen": 4}], {}, "row 0: chosen must be a string"),
    "mixed kinds": ([ROWS[0], CHATS[0]], {}, "row 1: prompt is a list of messages where a string"),
    "mixed within": ([CHATS[0] | {"rejected": "no"}], {}, "rejected is a string where a list"),
    "message of text": ([CHATS[0] | {"chosen": [reply("a"), "b"]}], {}, "mixes messages with 'b'"),
    "no content": ([CHATS[0] | {"chosen": [{"role": "user"}]}], {}, "without 'role' and 'content'"),
    "null content": ([CHATS[0] | {"chosen": [reply(None)]}], {}, "without 'role' and 'content'"),
    "no role": ([CHATS[0] | {"chosen": [{"content": "x"}]}], {}, "without 'role' and 'content'"),
    "other fields": (
        [CHATS[0] | {"chosen": [{"from": "gpt", "value": "x"}]}],
        {},
        "without 'role' and 'content'",
    ),
    "foreign field": (
        [CHATS[0] | {"chosen": [reply("x") | {"image": b"GIF"}]}],
        {},
        "row 0: chosen has a message with a field that is no plain data",
    ),
    "blank messages": ([CHATS[0] | {"chosen": [reply(" ")]}], {}, "chosen has only blank messages"),
    "no messages": ([CHATS[0] | {"chosen": []}], {}, "row 0: chosen is blank"),
    "negative id": ([IDS[0] | {"chosen_ids": [3, -1]}], {}, "row 0: chosen mixes messages"),
    "float ids": ([IDS[0] | {"chosen_ids": [3.5]}], {}, "row 0: chosen mixes messages with 3.5"),
    "ids without prompt": ([{"chosen": [1, 2], "rejected": [1, 3]}], {}, "prompt_ids"),
    "NUL": ([ROWS[0] | {"chosen": "a\0b"}], {}, "row 0: chosen contains a NUL character"),
    "surrogate": ([ROWS[0] | {"chosen": "a\ud800"}], {}, "row 0: chosen is no valid Unicode"),
    "NUL in a message": ([CHATS[0] | {"prompt": [user("\0")]}], {}, "prompt contains a NUL"),
    "no shared start": (
        [{"chosen": "ab", "rejected": "cd"}],
        {"format": "implicit"},
        "begin with nothing in common",
    ),
    "one begins the other": (
        [{"chosen": "H\n\nAssistant:", "rejected": "H\n\nAssistant: b"}],
        {},
        "row 0: chosen is blank",
    ),
    "wrong format": ([ROWS[0]], {"format": "conversational"}, "read as 'conversational'"),
    "format without prompt": (
        [{"chosen": "a", "rejected": "b"}],
        {"format": "standard"},
        "no column 'prompt'",
    ),
    "no such group": ([ROWS[0]], {"group": "county"}, "county is missing"),
    "null group": ([ROWS[0], ROWS[1] | {"region": None}], {"group": "region"}, "row 1: region is"),
    "no such attribute": ([ROWS[0]], {"attributes": ["size"]}, "size is missing"),
    "attribute of words": (
        [ROWS[0]],
        {"attributes": ["region"]},
        "row 0: region must be a number; got 'n'",
    ),
    "weight below zero": ([ROWS[0] | {"weight": -1}], {}, "row 0: weight must be finite and >= 0"),
    "weight not finite": ([ROWS[0] | {"weight": float("nan")}], {}, "weight must be finite"),
    "one weight missing": ([ROWS[0] | {"weight": 1}, ROWS[1]], {}, "row 1: weight is missing"),
    "flip rate of a half": ([ROWS[0] | {"flip_rate": 0.5}], {}, "flip_rate must be in [0, 0.5)"),
    "enormous weight": ([ROWS[0] | {"weight": 10**400}], {}, "weight must be a number"),
    "ids not unique": ([ROWS[0] | {"id": 1}, ROWS[1] | {"id": 1}], {}, "id '1' is not unique"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_broken_rows(name):
    rows, options, message = BAD_ROWS[name]
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_preferences(rows, **options)
    assert str(caught.value).startswith("records")


def gz(content):
    return gzip.compress(content)


LINE = json.dumps(ROWS[0]).encode()
PARQUET = pa.BufferOutputStream()
pq.write_table(pa.Table.from_pylist(ROWS), PARQUET)
PARQUET = PARQUET.getvalue().to_pybytes()

BAD_FILES = {
    "empty.jsonl": (b"", "no pairs"),
    "blank.jsonl": (b"\n \n", "no pairs"),
    "cut.jsonl": (LINE + b"\n" + LINE[:-5], "line 2 is not JSON"),
    "latin.jsonl": (LINE + b'\n{"prompt": "\xe9"}\n', "line 2 is not JSON"),
    "array.jsonl": (b"[1, 2]\n", "line 1 must be a JSON object; got [1, 2]"),
    "null.jsonl": (LINE + b"\nnull\n", "line 2 must be a JSON object; got None"),
    "nul.jsonl": (LINE + b"\n\0\0\0\n", "line 2 is not JSON"),
    "inside.jsonl": (b'{"prompt": "a\0", "chosen": "b", "rejected": "c"}', "line 1 is not JSON"),
    "escaped.jsonl": (LINE.replace(b" 5", b"\\u0000"), "row 0: rejected contains a NUL"),
    "deep.jsonl": (b'{"prompt": ' + b"[" * 100_000, "line 1 is not JSON"),
    "digits.jsonl": (b'{"weight": ' + b"1" * 10_000 + b"}", "line 1 is not JSON"),
    "cut.jsonl.gz": (gz(LINE * 100)[:-20], "cut off or broken"),
    "plain.jsonl.gz": (LINE, "cut off or broken"),
    "bits.jsonl.gz": (gz(LINE)[:12] + b"\xff" * 40, "cut off or broken"),
    "cut.json": (b"[" + LINE, "is not JSON"),
    "scalar.json": (b"3", "must hold an array of objects; got 3"),
    "empty.json": (b"", "is not JSON"),
    "numbers.json": (b"[1, 2]", "row 0: must be a mapping"),
    "pretty.json": (b'{\n "prompt": 1\n}', "line 1 is not JSON"),
    "deep.json": (b"[" * 100_000, "is not JSON"),
    "empty.csv": (b"", "the header line is missing"),
    "twice.csv": (b"prompt,chosen,chosen\na,b,c\n", "names the column 'chosen' twice"),
    "long.csv": (b"prompt,chosen,rejected\na,b,c,d\n", "line 2 has 4 cells for 3 columns"),
    "short.csv": (b"prompt,chosen,rejected\na,b,c\na,b\n", "line 3 has 2 cells for 3 columns"),
    "quote.csv": (b'prompt,chosen,rejected\na,b,"c\n', "unexpected end of data"),
    "latin.csv": (b"prompt,chosen,rejected\na,b,\xe9\n", "codec can't decode"),
    "semicolon.csv": (b"prompt;chosen;rejected\na;b;c\n", "the columns are"),
    "nul.csv": (b"prompt,chosen,rejected\na,b\0,c\n", "NUL"),
    "blank.csv": (b"prompt,chosen,rejected\na,,c\n", "row 0: chosen is blank"),
    "weight.csv": (
        b"prompt,chosen,rejected,weight\na,b,c,1\na,b,d,much\n",
        "row 1: weight must be a number; got 'much'",
    ),
    "cut.csv.gz": (gz(b"prompt,chosen,rejected\n" + b"a,b,c\n" * 99)[:-9], "cut off or broken"),
    "empty.parquet": (b"", "no intact Parquet"),
    "cut.parquet": (PARQUET[:-50], "no intact Parquet"),
    "text.parquet": (LINE, "no intact Parquet"),
    "pairs.pkl": (b"\x80\x04N.", "can run code"),
    "pairs.xlsx": (b"PK", "cannot read files that end in '.xlsx'"),
    "pairs": (LINE, "cannot read files that end in ''"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_broken_files(tmp_path, name):
    content, message = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load_preferences(path)
    assert str(caught.value).startswith(str(path))


def test_parquet_with_a_damaged_page(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"prompt": "p", "chosen": f"{i} a", "rejected": f"{i} b"} for i in range(5000)]
    pq.write_table(pa.Table.from_pylist(rows), path, use_dictionary=False, compression="zstd")
    content = bytearray(path.read_bytes())
    content[2000:2400] = b"\xff" * 400
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=re.escape(str(path))):
        load_preferences(path)


def test_saved_directory_that_lost_a_file(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "one"))
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="no intact saved data set"):
        load_preferences(tmp_path / "one")


def test_directories_that_are_no_source(tmp_path):
    with pytest.raises(DataError, match=r"holds no data file; known endings: .*parquet"):
        load_preferences(tmp_path)
    as_jsonl(tmp_path / "a.jsonl", ROWS)
    as_csv(tmp_path / "b.csv", ROWS)
    with pytest.raises(DataError, match="mixes kinds of files"):
        load_preferences(tmp_path)


def test_paths_that_are_not_there(tmp_path):
    as_jsonl(tmp_path / "pairs.jsonl", ROWS)
    with pytest.raises(FileNotFoundError, match=r"did you mean 'pairs.jsonl'\?"):
        load_preferences(tmp_path / "pair.jsonl")
    with pytest.raises(FileNotFoundError, match=r"there is no file or directory .*did you mean"):
        load_preferences(tmp_path / "pairs.json" / "x" / "y.csv")
    with pytest.raises(FileNotFoundError, match="is a file, not a directory"):
        load_preferences(tmp_path / "pairs.jsonl" / "x.csv")
    with pytest.raises(FileNotFoundError, match="nothing is downloaded unless that is allowed"):
        load_preferences("Anthropic/hh-rlhf")
    with pytest.raises(FileNotFoundError, match="empty"):
        load_preferences("")
    with pytest.raises(DataError, match="cannot be read"):
        load_preferences("x" * 5000)


@pytest.mark.parametrize("source", [None, 3, b"pairs.jsonl", {"prompt": ["a"]}])
def test_objects_that_hold_no_rows(source):
    with pytest.raises(IncompatibleError, match="give a path, a data set, or an iterable"):
        load_preferences(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "trl"}, "format must be one of 'auto', .*; got 'trl'"),
        ({"limit": 0}, "limit must be an integer >= 1 or None; got 0"),
        ({"limit": True}, "limit must be"),
        ({"attributes": "hard"}, "attributes must be a list of names; got the string 'hard'"),
        ({"attributes": ["hard", "chosen"]}, "'chosen' is a column of pairs already"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ParameterError, match=message):
        load_preferences(ROWS, **options)


# Dividing


def many(sizes, prompts_each=1):
    return Preferences.from_records(
        {"prompt": f"{group} {i // prompts_each}", "chosen": "a", "rejected": "b", "group": group}
        for group, size in sizes.items()
        for i in range(size)
    )


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_groups_keep_their_share(share):
    train, held_out = train_eval_split(many({"a": 400, "b": 40}), share, seed=3)
    assert held_out.group_sizes() == {"a": 400 * share, "b": 40 * share}
    assert len(train) + len(held_out) == 440
    assert not set(train.pair_id) & set(held_out.pair_id)
    assert list(map(int, train.pair_id)) == sorted(map(int, train.pair_id))


def test_prompts_stay_on_one_side():
    pairs = many({"a": 300, "b": 90}, prompts_each=7)
    train, held_out = train_eval_split(pairs, 0.3, seed=1)
    assert not set(train.prompt) & set(held_out.prompt)
    assert abs(held_out.group_sizes()["a"] - 90) <= 4
    assert abs(held_out.group_sizes()["b"] - 27) <= 4


def test_prompts_shared_by_groups_stay_on_one_side():
    rows = [
        {"prompt": [user(str(i))], "chosen": [reply("a")], "rejected": [reply("b")], "group": g}
        for i in range(50)
        for g in ("a", "b", "a")
    ]
    train, held_out = train_eval_split(Preferences.from_records(rows), 0.2, seed=1)
    assert held_out.group_sizes() == {"a": 20, "b": 10}
    assert not {p[0]["content"] for p in train.prompt} & {p[0]["content"] for p in held_out.prompt}


def test_division_is_the_seeds():
    pairs = many({"a": 100})
    first, again, other = (train_eval_split(pairs, 0.3, seed=s)[1].pair_id for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_divisions_that_are_refused():
    with pytest.raises(DataError, match="1 different prompts cannot be divided"):
        train_eval_split(many({"a": 6}, prompts_each=6), 0.5)
    with pytest.raises(DataError, match="no column 'domain'"):
        train_eval_split(many({"a": 6}), 0.5, by="domain")
    with pytest.raises(ParameterError, match=r"eval_share must be .* in \(0.0, 1.0\); got 1.5"):
        train_eval_split(many({"a": 6}), 1.5)
    with pytest.warns(DataQualityWarning, match=r"no evaluation pairs for \['b'\]"):
        train_eval_split(many({"a": 50, "b": 1}), 0.1)
