"""Whatever is fed to readers and recipes, only the documented errors come out.

``make test`` tries 500 cases, the slow suite 100,000 in all.
"""

import copy
import datetime
import io
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pluralign.data import Preferences
from pluralign.datasets import FORMATS, iter_preferences, load_preferences, to_trl
from pluralign.datasets.formats.options import OPTIONS
from pluralign.errors import DataError, DataQualityWarning, IncompatibleError, ParameterError
from pluralign.study import load_recipe

EXPECTED = (ParameterError, DataError, IncompatibleError, FileNotFoundError)
ROOT = Path(__file__).parents[2]

TURN = "\n\nHuman: 2+2?\n\nAssistant: "
USER, FOUR, FIVE = (
    {"role": role, "content": content}
    for role, content in (("user", "2+2?"), ("assistant", "4"), ("assistant", "5"))
)
RATED = {
    "helpfulness": 4,
    "correctness": 4,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 1,
    "prompt": "p",
}
# One good row (or more) of every shape and format, to be spoilt.
SEEDS = [
    [{"prompt": "p", "chosen": "a", "rejected": "b", "group": "n", "weight": 1.0, "id": 3}],
    [{"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE], "chosen_first": True}],
    [{"chosen": TURN + "4", "rejected": TURN + "5", "label_prob": 0.75, "flip_rate": 0.25}],
    [{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5]}],
    [
        {
            "instruction": "2+2?",
            "source": "s",
            "completions": [
                {
                    "response": text,
                    "overall_score": score,
                    "annotations": {"honesty": {"Rating": str(score)}, "helpfulness": "N/A"},
                }
                for text, score in (("4", 5), ("5", 1), ("6", 1))
            ],
        }
    ],
    [
        {
            "prompt": "2+2?",
            "prompt_id": "x",
            "messages": [],
            "chosen": [USER, FOUR],
            "rejected": [USER, FIVE],
            "score_chosen": 2.0,
            "score_rejected": 1.0,
        }
    ],
    [RATED | {"response": "a"}, RATED | {"response": "b", "helpfulness": 0}],
    [{"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": -2}],
    [
        {
            "history": "h",
            "human_ref_A": "a",
            "human_ref_B": "b",
            "labels": 1,
            "score_A": 4,
            "score_B": 2,
            "domain": "d",
        }
    ],
    [{"instruction": "i", "output_1": "a", "output_2": "b", "preference": 2, "annotator": 4}] * 2,
    [
        {
            "conversation_id": "c",
            "user_id": "u",
            "conversation_history": [
                {"turn": 0, "role": "user", "content": "hi"},
                {"turn": 0, "role": "model", "content": "a", "score": 9, "if_chosen": True},
                {"turn": 0, "role": "model", "content": "b", "score": 1, "if_chosen": False},
            ],
        }
    ],
    [
        {"rater_id": 1, "context": "c", "response": response, "Q_overall": verdict, "id": i}
        for i, (response, verdict) in enumerate((("a", "Yes"), ("b", "No")))
    ],
    [
        {
            "instruction": "i",
            "response1": "a",
            "response2": "b",
            "annotator1": 1,
            "annotator2": 0,
            "annotator3": 2,
            "motivation_app": "m",
        }
    ],
    [{"prompt": "p", "output_1": "a", "output_2": "b", "label": 1, "subset": "s"}],
    [
        {
            "split": "dev",
            "item": "1",
            "annotator": "x",
            "irony": 0,
            "post": "p",
            "reply": "r",
            "lang": "en",
        }
    ],
    [
        {
            "instruction": "i",
            "responses": {"m": "a", "n": "b"},
            "preference_vs_gpt4_turbo": {"m": 1.5, "n": 1.0},
        }
    ],
]


def towers(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\0", "\ud800", "N/A", "Yes", TURN, "nan", "1e999", "True", "ä" * 300, "[1]", "'"]
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([10**400, -(10**30), 2**63, 0.5, np.float64(2), np.int64(1), np.bool_(True)]),
)
# Made anew each time, since rows are changed in place.
ODD = st.sampled_from(
    [
        lambda: b"bytes",
        lambda: datetime.date(2024, 1, 1),
        lambda: 1j,
        lambda: {1, 2},
        lambda: object,
        lambda: np.array([1, 2]),
        lambda: np.array([[0.5]]),
        lambda: np.array(["a"]),
        lambda: range(3),
        lambda: (1, "a"),
        lambda: [[]],
        lambda: {3: "three"},
        lambda: {None: None},
        lambda: [float("nan")],
    ]
).map(lambda make: make())
DEEP = st.sampled_from([30, 200, 400]).map(towers)
MESSAGES = st.lists(
    st.fixed_dictionaries({}, optional={"role": TEXTS, "content": TEXTS, "score": NUMBERS}),
    max_size=3,
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | ODD | MESSAGES | DEEP,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=6,
)
COLUMNS = st.sampled_from(sorted({name for rows in SEEDS for row in rows for name in row}))
SHAPES = ["auto", "standard", "conversational", "implicit", "token_ids", "auto", "auto"]


@st.composite
def spoilt_rows(draw):
    """Good rows of some format with a few changes, or rows of anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.lists(VALUES | st.dictionaries(COLUMNS, VALUES, max_size=5), max_size=4))
    rows = copy.deepcopy(draw(st.sampled_from(SEEDS))) * draw(st.integers(1, 3))
    rows = copy.deepcopy(rows)
    for _ in range(draw(st.integers(0, 4))):
        spoil(draw, rows)
    return rows


def spoil(draw, rows):
    """Change, remove or add something at a place inside the rows."""
    place = rows
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    kind = draw(st.integers(0, 3))
    if kind == 0 and place is not rows:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[draw(COLUMNS | TEXTS)] = draw(VALUES)
    elif kind == 2:
        place[key] = place[draw(st.sampled_from(keys))]
    else:
        place[key] = draw(VALUES)


OPTION_VALUES = VALUES | st.sampled_from(["share", "each", "keep", "drop", "all", "rest", "mean"])
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from([*SHAPES, *FORMATS]) | TEXTS,
        "group": COLUMNS | st.lists(COLUMNS, max_size=2) | st.sampled_from(["a.b", "who.age"]),
        "domain": COLUMNS | VALUES,
        "attributes": st.lists(COLUMNS, max_size=1),
        "limit": st.sampled_from([1, 2, None, 0, 1.5]),
        "drop_unusable": st.booleans(),
        "options": st.dictionaries(
            st.sampled_from(sorted(OPTIONS - {"join"})) | TEXTS, OPTION_VALUES, max_size=1
        ),
    },
)


def tried(read):
    """What a reader gives, or ``None`` for an error of the documented kinds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataQualityWarning)
        try:
            return read()
        except EXPECTED as error:
            said = str(error)
    assert said
    assert len(said) < 5000
    return None


def usable(pairs):
    """Pairs that came out are whole: they can be hashed, written and read again."""
    assert isinstance(pairs, Preferences)
    assert len(pairs) >= 1
    again = Preferences.from_records(pairs.records(), attributes=list(pairs.attributes))
    assert again.fingerprint() == pairs.fingerprint()
    for column in (pairs.weight, pairs.label_prob, pairs.flip_rate):
        assert column is None or all(math.isfinite(value) for value in column)
    tried(lambda: to_trl(pairs, conversational=True))


def check_rows(rows, arguments, chunked):
    if chunked:
        for pairs in tried(lambda: list(iter_preferences(rows, chunk_rows=2, **arguments))) or ():
            usable(pairs)
    elif pairs := tried(lambda: load_preferences(rows, **arguments)):
        usable(pairs)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | TEXTS | DEEP,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoilt_files(draw):
    """Name and bytes of a file, good or cut, with bytes changed, or of anything."""
    suffix = draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz"]))
    rows = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    if draw(st.booleans()):
        rows[0][draw(COLUMNS)] = draw(JSON_VALUES)
    content = bytearray(written(rows, suffix))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        change = draw(st.sampled_from(["cut", "drop", "put", "flip"]))
        if change == "cut" and suffix != "parquet":
            del content[at:]
        elif change == "drop":
            del content[at : at + draw(st.integers(1, 9))]
        elif change == "put":
            content[at:at] = draw(
                st.binary(max_size=5) | st.sampled_from([b"\n", b'"', b"\0", b"["])
            )
        elif content:
            content[at % len(content)] ^= 1 << draw(st.integers(0, 7))
    return f"a.{suffix}", bytes(content)


def written(rows, suffix):
    if suffix == "parquet":
        sink = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_pylist(rows), sink)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            return b"PAR1"
        return sink.getvalue()
    texts = [json.dumps(row, default=repr) for row in rows]
    if suffix in ("csv", "tsv"):
        table = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        line = "\t" if suffix == "tsv" else ","
        return "\n".join(line.join(cells) for cells in table).encode("utf-8", "surrogatepass")
    return ("[" + ",".join(texts) + "]" if suffix == "json" else "\n".join(texts)).encode()


RECIPES = [path.read_text() for path in sorted((ROOT / "recipes").glob("*.yaml"))]
SNIPPETS = st.sampled_from(
    [
        "",
        "\n",
        "  ",
        ":",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!python/name:os.system ",
        "!x ",
        "null",
        "1e400",
        ".nan",
        "-1",
        "0x10",
        "2024-01-01",
        "? ",
        "<<: ",
        "|\n",
        "%YAML 9\n",
        "---\n",
        "\t",
        "'",
        '"',
        "#",
        "\x00",
        "per_group",
        "name: ",
        "data: ",
        "tune: ",
        "1_0",
        "~",
    ]
)
PATHS = st.sampled_from(
    [
        "seed",
        "data",
        "data.world",
        "data.options.seed",
        "tune.dpo.beta",
        "tune",
        "noise.method",
        "",
        "training.learning_rate",
        "name.x",
        "audit.confidence",
        "model.hidden_size",
        "a.b.c",
        "..",
    ]
)


@st.composite
def spoilt_recipes(draw):
    """Text of a recipe with pieces removed and put in, and overrides."""
    if draw(st.integers(0, 4)) == 0:
        parts = draw(st.lists(SNIPPETS | TEXTS, max_size=12))
        text = "".join(parts)
    else:
        text = draw(st.sampled_from(RECIPES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        gap = draw(st.integers(0, 12))
        text = text[:at] + draw(SNIPPETS | TEXTS) + text[at + gap :]
    overrides = st.tuples(PATHS, SNIPPETS | TEXTS).map("=".join)
    return text, draw(st.lists(overrides | TEXTS, max_size=2))


def run(check, cases, *strategies):
    """Try a check on so many examples; the same ones each time."""
    drawn = given(*strategies)(check)
    settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )(drawn)()


def sizes(few, many):
    return pytest.mark.parametrize(
        "cases", [few, pytest.param(many, marks=pytest.mark.slow)], ids=["few", "many"]
    )


@sizes(250, 50_000)
def test_rows_of_every_kind(cases):
    run(check_rows, cases, spoilt_rows(), ARGUMENTS, st.booleans())


@sizes(100, 20_000)
def test_files_of_every_kind(cases, tmp_path):
    def check_file(file, drop):
        name, content = file
        (tmp_path / name).write_bytes(content)
        check_rows(str(tmp_path / name), {"drop_unusable": drop}, False)

    run(check_file, cases, spoilt_files(), st.booleans())


@sizes(150, 30_000)
def test_recipes_of_every_kind(cases, tmp_path):
    path = tmp_path / "recipe.yaml"

    def check_recipe(spoilt):
        text, overrides = spoilt
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        if recipe := tried(lambda: load_recipe(path, overrides)):
            assert recipe.tune

    run(check_recipe, cases, spoilt_recipes())
