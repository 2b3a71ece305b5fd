"""Broken input through the command line: one clear error, exit code 2, nothing left behind.

Each case is a file as someone might really have it; what the message must hold is the file,
the row or field, the value, or what to do about it.
"""

import errno
import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pluralign.cli.app import main
from pluralign.errors import DataError, ParameterError

GOOD = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "group": "north"}
CHAT = {
    "prompt": [{"role": "user", "content": "2+2?"}],
    "chosen": [{"role": "assistant", "content": "4"}],
    "rejected": [{"role": "assistant", "content": "5"}],
}
FARM = {"instruction": "Add.", "output_1": "4", "output_2": "5", "preference": 1}
ULTRA = {
    "instruction": "2+2?",
    "completions": [
        {"response": "4", "annotations": {"honesty": {"Rating": "5"}}},
        {"response": "5", "annotations": {"honesty": {"Rating": "1"}}},
    ],
}
BINARISED = {
    "prompt": "2+2?",
    "prompt_id": "a",
    "messages": [],
    **{side: [*CHAT["prompt"], *CHAT[side]] for side in ("chosen", "rejected")},
    "score_chosen": 5.0,
    "score_rejected": 1.0,
}
SHP = {
    "history": "How?",
    "human_ref_A": "So.",
    "human_ref_B": "Not so.",
    "labels": 1,
    "score_A": 9,
    "score_B": 3,
}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(*rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink)
    return sink.getvalue().to_pybytes()


def nested(depth, inside=b'"x"'):
    return b'{"prompt": ' + b"[" * depth + inside + b"]" * depth + b"}\n"


# Name of the file: its content, and the parts that the message must have.
DATA = {
    # nothing there
    "empty.jsonl": (b"", ["no pairs; give at least one row"]),
    "white.jsonl": (b"\n\n  \n", ["no pairs"]),
    "header.csv": (b"prompt,chosen,rejected\n", ["no pairs"]),
    "rows0.parquet": (parquet(GOOD)[:0], ["no intact Parquet file", "get it again"]),
    "empty_list.json": (b"[]", ["no pairs"]),
    # missing and null
    "no_chosen.jsonl": (lines({"prompt": "p", "rejected": "b"}), ["no column 'chosen'", "Rename"]),
    "other_names.csv": (b"question,good,bad\na,b,c\n", ["['bad', 'good', 'question']"]),
    "null_prompt.jsonl": (lines(GOOD, GOOD | {"prompt": None}), ["row 1: prompt is missing"]),
    "null_chosen.parquet": (
        parquet(GOOD, GOOD | {"chosen": None}),
        ["row 1: chosen is missing or null", "drop_unusable=True"],
    ),
    "null_group.jsonl": (lines(GOOD, GOOD | {"group": None}), ["row 1: group is missing or null"]),
    "nan_group.jsonl": (lines(GOOD | {"group": float("nan")}), ["row 0: group is NaN"]),
    "blank_group.jsonl": (lines(GOOD, GOOD | {"group": " "}), ["row 1: group is blank"]),
    "nested_group.jsonl": (
        lines(GOOD | {"group": {"age": 3}}),
        ["row 0: group must be one name; got {'age': 3}", "group.age"],
    ),
    # texts
    "blank_chosen.jsonl": (lines(GOOD | {"chosen": ""}), ["row 0: chosen is blank"]),
    "spaces.csv": (b'prompt,chosen,rejected\np,"  ",b\n', ["row 0: chosen is blank"]),
    "number.jsonl": (lines(GOOD | {"chosen": 4}), ["row 0: chosen must be a string", "got 4"]),
    "boolean.jsonl": (lines(GOOD | {"chosen": True}), ["row 0: chosen must be a string", "True"]),
    "mapping.jsonl": (lines(GOOD | {"chosen": {"text": "a"}}), ["chosen must be a string"]),
    "nul_escaped.jsonl": (lines(GOOD | {"chosen": "a\0b"}), ["row 0: chosen contains a NUL"]),
    "surrogate.jsonl": (lines(GOOD | {"prompt": "\ud83d"}), ["row 0: prompt is no valid Unicode"]),
    # conversations
    "no_content.jsonl": (
        lines(CHAT | {"chosen": [{"role": "assistant"}]}),
        ["row 0: chosen has a message without 'role' and 'content' strings"],
    ),
    "no_role.jsonl": (lines(CHAT | {"chosen": [{"content": "4"}]}), ["without 'role'"]),
    "null_content.jsonl": (
        lines(CHAT, CHAT | {"prompt": [{"role": "user", "content": None}]}),
        ["row 1: prompt has a message without"],
    ),
    "share_gpt.jsonl": (
        lines(CHAT | {"chosen": [{"from": "gpt", "value": "4"}]}),
        ["row 0: chosen has a message without 'role' and 'content'", "'from': 'gpt'"],
    ),
    "blank_message.jsonl": (
        lines(CHAT | {"rejected": [{"role": "assistant", "content": " "}]}),
        ["row 0: rejected has only blank messages"],
    ),
    "no_messages.jsonl": (lines(CHAT | {"chosen": []}), ["row 0: chosen is blank"]),
    "mixed_files.jsonl": (
        lines(GOOD, {**CHAT, "group": "north"}),
        ["row 1: prompt is a list of messages where a string is expected", "format="],
    ),
    "mixed_row.jsonl": (lines(CHAT | {"rejected": "5"}), ["row 0: rejected is a string where"]),
    "image_parts.jsonl": (
        lines(CHAT | {"prompt": [{"role": "user", "content": [{"type": "image"}]}]}),
        ["row 0: prompt has a message without", "image"],
    ),
    # implicit prompts and token ids
    "no_turn.jsonl": (
        lines({"chosen": "a b c", "rejected": "a b d"}),
        ["no mark of an assistant's turn", "add a prompt column"],
    ),
    "nothing_shared.jsonl": (
        lines({"chosen": CHAT["chosen"], "rejected": CHAT["rejected"]}),
        ["begin with nothing in common"],
    ),
    "other_prompt.jsonl": (
        lines(BINARISED | {"prompt": "3+3?"}),
        ["row 0: prompt is not among the messages"],
    ),
    "ids_negative.jsonl": (
        lines({"prompt_ids": [1], "chosen_ids": [-2], "rejected_ids": [3]}),
        ["row 0: chosen", "-2"],
    ),
    "ids_float.jsonl": (
        lines({"prompt_ids": [1], "chosen_ids": [2.5], "rejected_ids": [3]}),
        ["row 0: chosen", "2.5"],
    ),
    "ids_no_prompt.jsonl": (
        lines({"chosen_ids": [1, 2], "rejected_ids": [1, 3]}),
        ["give the column prompt_ids"],
    ),
    # numbers
    "weight_negative.jsonl": (lines(GOOD | {"weight": -1}), ["row 0: weight", ">= 0", "-1"]),
    "weight_nan.jsonl": (lines(GOOD | {"weight": float("nan")}), ["weight must be finite", "nan"]),
    "weight_word.jsonl": (lines(GOOD | {"weight": "much"}), ["row 0: weight", "got 'much'"]),
    "weight_once.jsonl": (lines(GOOD | {"weight": 1}, GOOD), ["row 1: weight is missing or null"]),
    "weight_huge.jsonl": (lines(GOOD | {"weight": 10**400}), ["row 0: weight must be a number"]),
    "prob_high.jsonl": (lines(GOOD | {"label_prob": 1.5}), ["label_prob must be in [0, 1]", "1.5"]),
    "flip_half.jsonl": (lines(GOOD | {"flip_rate": 0.5}), ["flip_rate must be in [0, 0.5)"]),
    "flag_word.jsonl": (
        lines(GOOD, GOOD | {"chosen_first": "False"}),
        ["row 0: chosen_first is missing"],
    ),
    "flag_words.jsonl": (
        lines(GOOD | {"chosen_first": "False"}),
        ["row 0: chosen_first must be true or false; got 'False'"],
    ),
    "ids_twice.jsonl": (lines(GOOD | {"id": 7}, GOOD | {"id": 7}), ["row 1: id '7' is not unique"]),
    # bytes
    "cut.jsonl": (lines(GOOD) + lines(GOOD)[:-9], ["line 2 is not JSON", "mend or remove it"]),
    "latin1.jsonl": ('{"prompt": "é"}\n'.encode("latin-1"), ["line 1 is not JSON", "0xe9"]),
    "utf16.jsonl": (lines(GOOD).decode().encode("utf-16"), ["line 1 is not JSON"]),
    "nul_raw.jsonl": (lines(GOOD) + b"\0\0\0\n", ["line 2 is not JSON"]),
    "array_line.jsonl": (b'["p", "a", "b"]\n', ["line 1 must be a JSON object; got ['p'"]),
    "html.jsonl": (b"<html>Not found</html>", ["line 1 is not JSON"]),
    "lfs.jsonl": (b"version https://git-lfs.github.com/spec/v1\n", ["line 1 is not JSON"]),
    "deep.jsonl": (nested(100_000), ["line 1 is not JSON", "recursion"]),
    "digits.jsonl": (b'{"weight": ' + b"9" * 5000 + b"}", ["line 1 is not JSON", "digits"]),
    "cut.json": (b"[" + lines(GOOD), ["is not JSON"]),
    "scalar.json": (b'"pairs"', ["must hold an array of objects; got 'pairs'"]),
    "numbers.json": (b"[1, 2, 3]", ["row 0: must be a mapping of columns to values; got 1"]),
    "column_wise.json": (b'{"prompt": ["a"]}', ["no column 'chosen'"]),
    "cut.jsonl.gz": (gzip.compress(lines(GOOD) * 50)[:-9], ["cut off or broken", "again"]),
    "not_gz.jsonl.gz": (lines(GOOD), ["compressed data are cut off or broken"]),
    "cut.parquet": (parquet(GOOD)[:-20], ["no intact Parquet file"]),
    "head.parquet": (b"PAR1" + parquet(GOOD)[200:], ["no intact Parquet file"]),
    "text.parquet": (lines(GOOD), ["no intact Parquet file"]),
    # tables
    "cells.csv": (b"prompt,chosen,rejected\na,b,c,d\n", ["line 2 has 4 cells for 3 columns"]),
    "short.tsv": (b"prompt\tchosen\trejected\na\tb\n", ["line 2 has 2 cells for 3"]),
    "quote.csv": (b'prompt,chosen,rejected\na,b,"c\n', ["unexpected end of data", "near line"]),
    "twice.csv": (b"prompt,chosen,chosen\na,b,c\n", ["names the column 'chosen' twice"]),
    "semicolon.csv": (b"prompt;chosen;rejected\na;b;c\n", ["prompt;chosen;rejected"]),
    "latin1.csv": ("prompt,chosen,rejected\nä,b,c\n".encode("latin-1"), ["codec can't decode"]),
    # kinds of files
    "pairs.pkl": (b"\x80\x04N.", ["can run code when they are read and are refused"]),
    "pairs.xlsx": (b"PK\x03\x04", ["cannot read files that end in '.xlsx'", ".jsonl"]),
    "pairs.txt": (lines(GOOD), ["cannot read files that end in '.txt'"]),
    # named formats, told by their columns
    "farm_vote.jsonl": (lines(FARM, FARM | {"preference": 3}), ["row 1: preference must be 1"]),
    "farm_word.jsonl": (lines(FARM | {"preference": "a"}), ["row 0: preference must be a number"]),
    "farm_null.jsonl": (lines(FARM | {"output_1": None}), ["row 0: output_1 is missing or null"]),
    "ultra_list.jsonl": (
        lines(ULTRA | {"completions": "4"}),
        ["row 0: completions must be a list"],
    ),
    "ultra_one.jsonl": (
        lines(ULTRA | {"completions": ULTRA["completions"][:1]}),
        ["row 0: a pair needs two different scored responses; the prompt has 1"],
    ),
    "ultra_rating.jsonl": (
        lines(ULTRA | {"completions": [{"response": "a", "annotations": {"honesty": "good"}}]}),
        ["row 0: honesty must be a number; got 'good'"],
    ),
    "inverted.jsonl": (
        lines(BINARISED, BINARISED | {"score_chosen": 0}),
        ["row 1: chosen has the lower score (0 < 1)", "direction='mend'"],
    ),
    "shp_label.jsonl": (lines(SHP | {"labels": 2}), ["row 0: labels must be one of 0, 1; got 2"]),
    "shp_score.jsonl": (lines(SHP | {"score_A": "inf"}), ["row 0: score_A must be finite"]),
    "shp_against.jsonl": (lines(SHP | {"labels": 0}), ["row 0: chosen has the lower score"]),
    "verdicts.jsonl": (
        lines({"rater_id": 1, "context": "a", "response": "b", "Q_overall": "No"}),
        ["These are ratings, not preferences"],
    ),
    "judgements.jsonl": (
        lines({"split": "dev", "item": "1", "annotator": "a", "irony": 1}),
        ["row 0: post and reply are missing", "'join'"],
    ),
    "talk.jsonl": (
        lines({"conversation_id": "c", "user_id": "u", "conversation_history": [{"turn": "x"}]}),
        ["row 0: turn must be a number; got 'x'"],
    ),
}

TUNE = "tune: {d: {objective: DPO}}\n"
WORLD = "data: {world: text}\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

# A recipe and the parts that the message must have.
RECIPES = {
    "empty": ("", ["must hold a mapping of sections"]),
    "list": ("- name: x\n", ["must hold a mapping of sections"]),
    "unclosed": ("name: [x", ["is not a valid recipe", "line 1"]),
    "tab": ("name: x\n\tdata: 1\n", ["is not a valid recipe", "line 2"]),
    "tag": ("name: !!python/object/apply:os.system [true]\n", ["not a valid recipe", "python"]),
    "tag of a class": ("name: !Model x\n", ["not a valid recipe", "!Model"]),
    "bomb": (BOMB, ["alias *a is not allowed"]),
    "deep": ("a: " + "[" * 20_000, ["not a valid recipe"]),
    "key twice": ("name: x\nname: y\n", ["key 'name' is given twice", "line 2"]),
    "two documents": ("name: x\n---\nname: y\n", ["not a valid recipe"]),
    "no data": (f"name: x\n{TUNE}", ["data: must be a section of values"]),
    "two sources": (f"name: x\ndata: {{world: text, path: a}}\n{TUNE}", ["either 'world' or"]),
    "no objective": (f"name: x\n{WORLD}", ["tune: must name at least one objective"]),
    "unknown section": (
        f"name: x\n{WORLD}{TUNE}trainig: {{}}\n",
        ["trainig: unknown key; did you mean 'training'?"],
    ),
    "unknown objective": (
        f"name: x\n{WORLD}tune: {{d: {{objective: DPOO}}}}\n",
        ["tune.d.objective: unknown 'DPOO'; did you mean"],
    ),
    "unknown option": (
        f"name: x\n{WORLD}tune: {{d: {{objective: DPO, label_smoothing: 0.1}}}}\n",
        ["tune.d.label_smoothing: unknown key"],
    ),
    "beta of zero": (
        f"name: x\n{WORLD}tune: {{d: {{objective: DPO, beta: 0}}}}\n",
        ["tune.d: DPO.beta must be", "got 0"],
    ),
    "beta of words": (
        f"name: x\n{WORLD}tune: {{d: {{objective: DPO, beta: much}}}}\n",
        ["DPO.beta must be", "'much'"],
    ),
    "beta not finite": (
        f"name: x\n{WORLD}tune: {{d: {{objective: DPO, beta: .nan}}}}\n",
        ["DPO.beta must be", "nan"],
    ),
    "flip rate of a half": (
        f"name: x\n{WORLD}tune: {{d: {{objective: RDPO, flip_rate: 0.5}}}}\n",
        ["RDPO.flip_rate must be", "0.5"],
    ),
    "rate without noise": (
        f"name: x\n{WORLD}tune: {{d: {{objective: RDPO, flip_rate: per_group}}}}\n",
        ["noise: needed"],
    ),
    "seed of words": (f"name: x\nseed: lucky\n{WORLD}{TUNE}", ["seed: must be an integer"]),
    "share of one": (
        f"name: x\ndata: {{world: text, eval_share: 1.0}}\n{TUNE}",
        ["eval_share must be", "got 1.0"],
    ),
    "odd heads": (
        f"name: x\n{WORLD}model: {{hidden_size: 30, num_heads: 4}}\n{TUNE}",
        ["hidden_size 30 is no multiple of 4 heads"],
    ),
    "name of numbers": (f"name: 3\n{WORLD}{TUNE}", ["name: must be a text; got 3"]),
    "epochs below zero": (
        f"name: x\n{WORLD}training: {{num_train_epochs: -1}}\n{TUNE}",
        ["training: TrainingConfig.num_train_epochs must be", "-1"],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def host_logger():
    """transformers logs to the stream of its first import, which must outlive a test."""
    from transformers.utils import logging

    logging.get_logger()


@pytest.fixture
def pluralign(tmp_path, monkeypatch, capsys):
    """Run the command line in a directory, as the shell would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*arguments):
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pluralign", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        assert end.value.code == 2, said.err
        assert said.out == ""
        assert "Traceback" not in said.err
        assert contents(tmp_path) == before
        return said.err

    return run


def contents(folder):
    """Every file below a directory with what is in it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def squeezed(text):
    """Without white space: a console breaks lines where it likes."""
    return "".join(text.split())


def demand(said, *parts):
    for part in parts:
        assert squeezed(part) in squeezed(said), said


def test_there_are_enough_cases():
    assert len(DATA) + len(RECIPES) >= 80


@pytest.mark.parametrize("name", DATA)
def test_broken_data(pluralign, tmp_path, name):
    content, parts = DATA[name]
    Path(tmp_path / name).write_bytes(content)
    demand(pluralign("check", name), f"error: {name}", *parts)


@pytest.mark.parametrize("name", RECIPES)
def test_broken_recipes(pluralign, tmp_path, name):
    text, parts = RECIPES[name]
    (tmp_path / "r.yaml").write_text(text)
    said = pluralign("check", "r.yaml")
    demand(said, "error: ", "r.yaml", *parts)
    assert squeezed(pluralign("run", "r.yaml")) == squeezed(said)


@pytest.mark.parametrize(
    ("content", "part"), [(b"\xff\xfe\x00n", "cannot be read"), (b"name: \0", "not a valid recipe")]
)
def test_recipes_that_are_no_text(pluralign, tmp_path, content, part):
    (tmp_path / "r.yaml").write_bytes(content)
    demand(pluralign("check", "r.yaml"), "r.yaml", part)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["check", "none.jsonl"], ["no file or directory 'none.jsonl'"]),
        (["check", "someone/pairs"], ["nothing is downloaded unless"]),
        (["check", "none.yaml"], ["there is no recipe at none.yaml"]),
        (["check", "."], ["the directory holds no data file", ".parquet"]),
        (["check", "pairs.jsonl", "--group", "county"], ["county is missing", "['chosen'"]),
        (["check", "pairs.jsonl/more.jsonl"], ["'pairs.jsonl' is a file, not a directory"]),
        (["check", "pair.jsonl"], ["did you mean 'pairs.jsonl'?"]),
        (["check"], ["Missing argument"]),
        (["check", "pairs.jsonl", "--grup", "x"], ["No such option"]),
        (["run", "."], ["recipe . cannot be read"]),
        (["audit", "pairs.jsonl", "--model", "none"], ["no model at none"]),
        (["audit", "none.jsonl", "--model", "none"], ["no file or directory 'none.jsonl'"]),
        (["audit", "pairs.jsonl"], ["Missing option"]),
        (["show", "rdpp"], ["did you mean 'rdpo'?"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_paths_and_options(pluralign, tmp_path, arguments, parts):
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD))
    if arguments[1:] == ["."]:
        (tmp_path / "pairs.jsonl").unlink()
    demand(pluralign(*arguments), *parts)


def test_directories_of_several_kinds(pluralign, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    (tmp_path / "b.csv").write_bytes(b"prompt,chosen,rejected\na,b,c\n")
    demand(pluralign("check", "."), "the directory mixes kinds of files", "one file")
    (tmp_path / "b.csv").unlink()
    (tmp_path / "train_1.jsonl").write_bytes(lines(GOOD))
    demand(pluralign("check", "."), "has the splits ['all', 'train']")


def denied(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_unreadable_directories_and_files(pluralign, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD))
    with monkeypatch.context() as patched:
        # Permissions do not bind every user that runs tests.
        patched.setattr(Path, "iterdir", denied)
        patched.setattr(Path, "rglob", lambda *_: iter(()))
        demand(pluralign("check", "kept"), "kept: cannot be read (Permission denied)", "check the")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rglob", lambda *_: iter(()))
        patched.setattr(Path, "open", denied)
        demand(pluralign("check", "pairs.jsonl"), "pairs.jsonl: cannot be read (Permission denied)")


# Models


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    import torch

    from pluralign.learn import tiny_model, train_tokenizer

    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(["2+2? 4 5"] * 3, vocab_size=270)
    model = tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2)

    def save(name):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)

    save("good")
    save("text")
    (folder / "text" / "config.json").write_text("{not json")
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    save("nan")
    tokenizer.eos_token = None
    save("endless")
    tokenizer.eos_token = "</s>"
    damage(folder, save)
    return folder


def damage(folder, save):
    """Models as a broken copy, a mixed folder or a wrong file leaves them."""
    for name in ("cut", "void", "bare", "tokens", "positions", "deeper", "wider", "unheard"):
        save(name)
    weights = (folder / "cut" / "model.safetensors").read_bytes()
    (folder / "cut" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (folder / "void" / "model.safetensors").write_bytes(b"")
    (folder / "bare" / "model.safetensors").unlink()
    (folder / "tokens" / "tokenizer.json").write_text("{cut")
    for name, key, value in (
        ("positions", "max_position_embeddings", 3),
        ("deeper", "num_hidden_layers", 2),
        ("wider", "hidden_size", 32),
        ("unheard", "model_type", "llamaa"),
    ):
        config = folder / name / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    (folder / "run" / "models").mkdir(parents=True)
    save("run/models/dpo")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "no/where"}'
    )
    (folder / "file.gguf").write_bytes(b"GGUFx")


@pytest.mark.filterwarnings("ignore:.*full logits are computed.*:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nan", ["2 of 2 pairs have a score that is not finite", "Check the model's precision"]),
        ("endless", ["has no EOS token", "set tokenizer.eos_token"]),
        ("text", ["config.json", "not a valid JSON file"]),
        ("cut", ["cut/model.safetensors: is no intact safetensors file", "download it again"]),
        ("void", ["void/model.safetensors: is no intact safetensors file"]),
        ("bare", ["bare: is no model that can be read", "no file named model.safetensors"]),
        ("tokens", ["tokens: is no model that can be read"]),
        ("positions", ["the model has 3 positions", "max_length <= 3"]),
        ("deeper", ["lacks the weights", "model.layers.1", "would be left random"]),
        ("wider", ["wider: is no model that can be read"]),
        ("unheard", ["model type `llamaa`"]),
        ("run", ["no model at", "did you mean", "run/models/dpo?"]),
        ("adapter", ["saved without the model below it", "no/where", "adapter/base"]),
        ("file.gguf", ["the file is cut or damaged"]),
        ("none.gguf", ["none.gguf: there is no such file"]),
    ],
)
def test_broken_models(pluralign, tmp_path, models, name, parts):
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD, GOOD | {"prompt": "3?"}))
    demand(pluralign("audit", "pairs.jsonl", "--model", models / name, "--output", "out"), *parts)


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("cut", DataError, "cut/model.safetensors: is no intact safetensors file"),
        ("deeper", DataError, "lacks the weights"),
        ("run", ParameterError, "did you mean .*run/models/dpo"),
        ("adapter", ParameterError, "saved without the model below it"),
        ("nowhere", ParameterError, "config.json is missing"),
    ],
)
def test_broken_models_in_python(models, name, kind, part):
    """What a caller of the library hears is what the command line says."""
    from pluralign.learn.saved import load_model

    with pytest.raises(kind, match=part):
        load_model(models / name)


def test_broken_tokenizers_in_python(models):
    from pluralign.learn.saved import load_tokenizer

    with pytest.raises(DataError, match="tokens: is no model that can be read"):
        load_tokenizer(models / "tokens")
    with pytest.raises(ParameterError, match=r"no tokenizer at .*tokenizer_config.json"):
        load_tokenizer(models / "nowhere")


def test_pairs_that_do_not_fit_the_audit(pluralign, tmp_path, models):
    (tmp_path / "alone.jsonl").write_bytes(lines({k: v for k, v in GOOD.items() if k != "group"}))
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD))
    audit = ("audit", "--model", models / "good")
    demand(pluralign(*audit, "alone.jsonl", "--group", "region"), "alone.jsonl", "region")
    demand(pluralign(*audit, "pairs.jsonl", "--max-length", 2), "longer than max_length=2", "row 0")
    demand(pluralign(*audit, "pairs.jsonl", "--model", models / "good"), "each given once")
    demand(pluralign(*audit, "pairs.jsonl", "--reference", "none"), "no model at none")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--max-length", "-2"], ["max_length must be an integer >= 2; got -2"]),
        (["--max-length", 0], ["max_length must be an integer >= 2; got 0"]),
        (["--beta", 0, "--reference", "good"], ["beta must be", "> 0.0; got 0.0"]),
        (["--beta", "-1", "--reference", "good"], ["beta must be", "> 0.0; got -1.0"]),
        (["--beta", "nan", "--reference", "good"], ["beta must be", "got nan"]),
        (["--beta", "0.1"], ["beta scales log-ratios to a reference"]),
        (["--truncation", "middle"], ["truncation must be one of", "got 'middle'"]),
        (["--batch-tokens", 0], ["batch_tokens must be", "got 0"]),
        (["--limit", 0], ["limit must be an integer >= 1", "got 0"]),
        (["--split", "train"], ["has no splits", "drop it"]),
        (["--group", ""], ["group must be the name of a column", "got ''"]),
        (["--group", "group", "--group", "county"], ["row 0: group × county is missing"]),
        (["--format", "nope"], ["format must be one of", "got 'nope'"]),
        (["--option", "votes"], ["--option needs key=value; got 'votes'"]),
        (["--option", "votes=each"], ["options have no effect on plain pairs"]),
        (["--option", "votes=["], ["--option votes is not a YAML value"]),
        (["--chat"], ["has no chat template"]),
        (["--output", "pairs.jsonl"], ["output pairs.jsonl is a file; name a directory"]),
        (["--reference", "cut"], ["cut/model.safetensors: is no intact safetensors file"]),
        (["--model", "packaged:smollm3"], ["no packaged model is named 'smollm3'"]),
        (["--model", "some/model"], ["never downloaded", "hf download some/model"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if value[0].startswith("--") else "",
)
def test_options_of_an_audit(pluralign, tmp_path, models, options, parts):
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD, GOOD | {"prompt": "3?"}))
    given = [models / value if value in ("good", "cut") else value for value in options]
    demand(pluralign("audit", "pairs.jsonl", "--model", models / "good", *given), *parts)


def test_a_reference_of_another_vocabulary(pluralign, tmp_path, models):
    from pluralign.learn import tiny_model, train_tokenizer

    tokenizer = train_tokenizer(["alpha beta"] * 3, vocab_size=265)
    tiny_model(tokenizer, hidden_size=16, num_layers=1, num_heads=2).save_pretrained("other")
    tokenizer.save_pretrained("other")
    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD))
    audit = ("audit", "pairs.jsonl", "--model", models / "good", "--reference", "other")
    demand(pluralign(*audit), "different vocabularies")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["check", "pairs.jsonl", "--set", "a=b"], ["--set has no effect on pairs"]),
        (["check", "r.yaml", "--eval", "pairs.jsonl"], ["--eval has no effect on a recipe"]),
        (["check", "pairs.jsonl", "--eval-split", "x"], ["--eval-split has no effect"]),
        (["check", "pairs.jsonl", "--tokenizer", "none"], ["no tokenizer at none"]),
        (["precompute", "none", "pairs.jsonl", "--output", "pairs.jsonl"], ["is a file"]),
        (["precompute", "none", "pairs.jsonl", "--output", "o"], ["no model at none"]),
        (["run", "pairs.jsonl"], ["pairs.jsonl is not a valid recipe"]),
        (["run", "r.yaml", "--group", "county"], ["county is missing", "row 0"]),
        (["run", "r.yaml", "--limit", 1], ["cannot be divided", "eval_share"]),
        (["run", "r.yaml", "--chat"], ["has no chat template"]),
        (["run", "r.yaml", "--set", "output_dir=pairs.jsonl"], ["is a file; name a directory"]),
        (["run", "r.yaml", "--set", "output_dir=kept"], ["output_dir kept is not empty"]),
        (["run", "r.yaml", "--set", "output_dir=kept", "--overwrite"], ["holds no run"]),
        (["run", "r.yaml", "--set", "audit.by=county"], ["no column 'county' to slice by"]),
        (["run", "r.yaml", "--set", "reference=pairs.jsonl"], ["reference pairs.jsonl is a file"]),
        (
            ["run", "r.yaml", "--set", "reference=new/r", "--set", "output_dir=new"],
            ["reference (new/r) lies in output_dir new"],
        ),
        (
            ["run", "r.yaml", "--set", "output_dir=done", "--overwrite", "--set",
             "data.path=done/pairs.jsonl"],
            ["data.path (done/pairs.jsonl) lies in output_dir done, which a run replaces"],
        ),
        (
            ["run", "r.yaml", "--set", "noise.method=gold", "--set",
             "tune.d={objective: RDPO, flip_rate: per_group}"],
            ["method 'gold' needs an attribute 'gold'"],
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if value[0] in ("check", "run", "precompute")
    else "",
)  # fmt: skip
def test_commands_that_cannot_work(pluralign, tmp_path, arguments, parts):
    rows = lines(*(GOOD | {"prompt": f"{i}?"} for i in range(8)))
    for folder in ("kept", "done"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pairs.jsonl").write_bytes(rows)
    (tmp_path / "done" / "run.json").write_text("{}")
    (tmp_path / "pairs.jsonl").write_bytes(rows)
    (tmp_path / "r.yaml").write_text(f"name: x\ndata: {{path: pairs.jsonl}}\n{TUNE}")
    demand(pluralign(*arguments), *parts)


def test_a_full_disk_leaves_nothing_behind(pluralign, tmp_path, models, monkeypatch):
    write = Path.write_text

    def full(path, text, **options):
        write(path, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "pairs.jsonl").write_bytes(lines(GOOD, GOOD | {"prompt": "3?"}))
    (tmp_path / "r.yaml").write_text(f"name: x\n{WORLD}{TUNE}output_dir: out\n")
    monkeypatch.setattr(Path, "write_text", full)
    audit = ("audit", "pairs.jsonl", "--model", models / "good", "--output", "out")
    for arguments in (audit, ("run", "r.yaml")):
        demand(pluralign(*arguments), "No space left on device")
    assert not list(tmp_path.rglob("out/*"))
