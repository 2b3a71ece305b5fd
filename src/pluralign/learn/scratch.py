"""Tokenizers and tiny models trained from nothing, for recipes, demos and tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..data import Text
from ..errors import ParameterError

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1000) -> Any:
    """A byte-level BPE tokenizer with BOS, EOS and padding, learned from texts.

    Use it where no pretrained tokenizer is at hand; every text can be encoded and decoded
    without loss. Each encoded text starts with BOS.

    Args:
        texts: the texts to learn from.
        vocab_size: entries, at least 260 (256 bytes, three special tokens and a merge).

    Returns:
        A ``transformers.PreTrainedTokenizerFast``.

    Raises:
        ParameterError: if ``vocab_size`` cannot hold the bytes.

    Example:
        >>> tokenizer = train_tokenizer(["to be or not to be"] * 3, vocab_size=280)
        >>> tokenizer.decode(tokenizer("to be")["input_ids"])
        '<s>to be'
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size < 260:
        raise ParameterError(f"vocab_size must be an integer >= 260; got {vocab_size}.")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=f"{BOS} $A", special_tokens=[(BOS, core.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


def tiny_model(
    tokenizer: Any,
    *,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    max_length: int = 1024,
    seed: int = 0,
) -> Any:
    """A small Llama with random weights for a tokenizer.

    Args:
        tokenizer: gives the size of the vocabulary and the special tokens.
        hidden_size: width, a multiple of ``2 * num_heads``.
        num_layers: decoder layers.
        num_heads: attention heads.
        max_length: positions.
        seed: of the weights; the caller's random state is left as it was.

    Returns:
        A ``transformers.LlamaForCausalLM`` in float32, in evaluation mode.

    Raises:
        ParameterError: if the width cannot be split into heads.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if hidden_size % (2 * num_heads):
        raise ParameterError(
            f"hidden_size must be a multiple of 2 * num_heads = {2 * num_heads}; got {hidden_size}."
        )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def as_text(text: Text) -> str:
    """A string as it is, a conversation as its contents a line each, ids as nothing."""
    if isinstance(text, str):
        return text
    return "\n".join(str(part["content"]) for part in text if not isinstance(part, int))
