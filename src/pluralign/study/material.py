"""What a recipe needs before anything is trained: pairs, tokenizer, model, data audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

from ..audit.frames import group_labels
from ..audit.quality import check_data
from ..data import Preferences
from ..datasets import file_hash, load_preferences, make_text_world, train_eval_split
from ..learn import train_tokenizer
from ..learn.rows import TokenRows
from ..learn.saved import PACKAGED
from ..learn.scoring import tokenised
from ..learn.scratch import as_text
from ..learn.trainer import check_fit
from .loading import load_named
from .recipe import DataSection, Recipe
from .shaping import as_chat, with_groups

MAX_ROWS = 50
"""Rows that a finding of the data audit names in the record; its count is of all."""


@final
@dataclass(frozen=True, kw_only=True)
class Material:
    """What the data and model sections of a recipe yield.

    Args:
        train: pairs to tune on, with groups.
        held_out: pairs to audit on.
        demonstrations: prompt and response, for supervised fine-tuning.
        tokenizer: the model's, or a new one.
        model: the given model; ``None`` if the run makes a new one.
        truth: what an embedded world knows.
        data_audit: findings about the pairs, plain values.
        file: SHA-256 of the source, if it is a file or directory.
    """

    train: Preferences
    held_out: Preferences
    demonstrations: list[tuple[Any, Any]]
    tokenizer: Any
    model: Any
    truth: Mapping[str, Any]
    data_audit: dict[str, Any]
    file: str | None


def prepare(recipe: Recipe) -> Material:
    """Read data and model, and refuse what would fail later.

    Raises:
        DataError: if pairs or model cannot be used.
        ParameterError: if there is no such model.
    """
    model, tokenizer = _given(recipe)
    section, truth = recipe.data, cast("Mapping[str, Any]", {})
    if section.world is not None:
        world = make_text_world(seed=recipe.seed, **section.options)
        train, held_out, truth = world.train, world.eval, world.truth
        demonstrations: list[tuple[Any, Any]] = list(world.sft)
        tokenizer = tokenizer or world.tokenizer()
    else:
        train, held_out = train_eval_split(_read(section), section.eval_share, seed=recipe.seed)
        demonstrations = _demonstrations(train)
    tokenizer = tokenizer or _new_tokenizer(demonstrations, recipe.model.vocab_size)
    # Before anything is spent: can every pair be read, can the results be sliced?
    tokens = [tokenised(pairs, tokenizer, recipe.training) for pairs in (train, held_out)]
    if model is not None:
        check_fit(model, TokenRows([part.rows(i) for part in tokens for i in range(len(part))]))
    findings = check_data(
        train,
        tokenizer=tokenizer,
        max_length=recipe.training.max_length,
        truncation=recipe.training.truncation,
        eval_pairs=held_out,
    )
    train, held_out = with_groups(train), with_groups(held_out)
    group_labels(held_out, recipe.audit.by)
    return Material(
        train=train,
        held_out=held_out,
        demonstrations=demonstrations,
        tokenizer=tokenizer,
        model=model,
        truth=truth,
        data_audit=findings.to_json(max_rows=MAX_ROWS),
        file=hash_of(section.path),
    )


def hash_of(source: str | Path | None) -> str | None:
    """SHA-256 of a file or directory; ``None`` for what is not on this machine."""
    return None if source is None or not Path(source).exists() else file_hash(source)


def _given(recipe: Recipe) -> tuple[Any, Any]:
    section = recipe.model
    if section.packaged is not None:
        return load_named(PACKAGED + section.packaged)
    return (None, None) if section.path is None else load_named(section.path)


def _read(section: DataSection) -> Preferences:
    pairs = load_preferences(
        cast(str, section.path),
        format=section.format,
        group=section.group,
        annotator=section.annotator,
        domain=section.domain,
        split=section.split,
        limit=section.limit,
        drop_unusable=section.drop_unusable,
        options=section.options or None,
        allow_download=section.allow_download,
    )
    return as_chat(pairs) if section.chat else pairs


def _demonstrations(train: Preferences) -> list[tuple[Any, Any]]:
    # Both responses, so that the start model knows the language without the labels.
    return [
        *zip(train.prompt, train.chosen, strict=True),
        *zip(train.prompt, train.rejected, strict=True),
    ]


def _new_tokenizer(demonstrations: list[tuple[Any, Any]], vocab_size: int) -> Any:
    texts = [as_text(part) for pair in demonstrations for part in pair]
    return train_tokenizer(texts, vocab_size=vocab_size)
