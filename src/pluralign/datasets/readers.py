"""``load_preferences``: from whatever holds the pairs to validated :class:`Preferences`."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

from ..data import Preferences
from ..errors import DataError, DataQualityWarning, ParameterError
from ..rows import raise_rows
from ..rules import OneOf, Within, shown
from .shapes import Format, shape_rows
from .sources import open_source

Source: TypeAlias = str | Path | Iterable[Mapping[str, Any]] | Preferences
"""A path, a data set object (or a mapping of its splits), rows, or pairs already read."""


def load_preferences(
    source: Source | Any,
    *,
    format: Format = "auto",
    group: str | None = None,
    annotator: str | None = None,
    domain: str | None = None,
    attributes: Sequence[str] = (),
    limit: int | None = None,
    split: str | None = None,
    drop_unusable: bool = False,
) -> Preferences:
    r"""Read preference pairs, keeping who gave them.

    Use it for files and data sets of prompt, chosen and rejected in any of the four shapes
    that ``format`` names; other shapes (votes, scores, rankings) must be made pairs first.
    Nothing is downloaded and nothing is unpickled.

    Args:
        source: a file (``.jsonl``, ``.json``, ``.csv`` or ``.tsv``, each also ``.gz``;
            ``.parquet``), a directory of such files or one saved by
            ``datasets.Dataset.save_to_disk``, a data set of that library or a mapping of
            its splits, an iterable with one mapping a pair, or :class:`Preferences`.
        format: ``"standard"`` (strings), ``"conversational"`` (lists of messages),
            ``"implicit"`` (no prompt: chosen and rejected hold the whole exchange and the
            prompt is what they share), ``"token_ids"``, or ``"auto"`` to tell from the
            rows. A shared string is cut after the last mark of an assistant's turn, such
            as ``\n\nAssistant:``; before its last white space if there is no such mark
            and ``"implicit"`` was asked for. Nothing is stripped, so prompt plus response
            is the stored text again.
        group: column to use as group (default: ``group``, if there is one).
        annotator: column to use as annotator, likewise.
        domain: column to use as domain, likewise.
        attributes: numeric columns to keep.
        limit: read only the first so many rows, >= 1.
        split: which split, where the source has several.
        drop_unusable: drop rows in which a text is missing or blank, or without a shared
            prompt, with a warning; if false they are an error. Rows of a wrong type or
            format are always an error.

    Returns:
        The pairs in the order of the source. A dropped row leaves its number unused in
        ``pair_id``.

    Raises:
        DataError: naming the file, the rows, what is wrong and what to do.
        FileNotFoundError: if there is no such path, with the nearest name that exists.
        IncompatibleError: if the object cannot hold pairs at all.
        ParameterError: if an option is out of its range or without effect.

    Example:
        >>> turns = "Human: 2+2?\n\nAssistant: "
        >>> pairs = load_preferences([{"chosen": turns + "4.", "rejected": turns + "5."}])
        >>> pairs.prompt[0].endswith("Assistant:"), pairs.chosen[0]
        (True, ' 4.')
    """
    _check_options(format, limit, attributes)
    if isinstance(source, Preferences):
        _refuse_options(
            source, format, group, annotator, domain, tuple(attributes), split, drop_unusable
        )
        return source if limit is None else source.select(range(min(limit, len(source))))
    stream, name = open_source(source, split)
    rows, unusable = shape_rows(list(itertools.islice(stream, limit)), format, name)
    if unusable and not drop_unusable:
        hint = " drop_unusable=True drops such rows with a warning."
        raise_rows(list(unusable.items()), name, len(rows), hint=hint)
    if unusable:
        rows, name = _without(rows, unusable, name)
    return Preferences.from_records(
        rows, group=group, annotator=annotator, domain=domain, attributes=attributes, source=name
    )


def _without(
    rows: list[dict[str, Any]], unusable: Mapping[int, str], name: str
) -> tuple[list[dict[str, Any]], str]:
    """The usable rows, still under their own numbers, and a name that tells of the others."""
    examples = "; ".join(f"row {row}: {why}" for row, why in list(unusable.items())[:3])
    if len(unusable) == len(rows):
        raise DataError(f"all {len(rows)} rows are unusable: {examples}.", source=name)
    warnings.warn(
        f"{name}: dropped {len(unusable)} of {len(rows)} rows: {examples}.",
        DataQualityWarning,
        stacklevel=3,
    )
    kept = [{"id": number, **row} for number, row in enumerate(rows) if number not in unusable]
    return kept, f"{name} (without {len(unusable)} unusable rows)"


def _check_options(format: str, limit: int | None, attributes: Sequence[str]) -> None:
    formats, sizes = OneOf(*get_args(Format)), Within(1, integer=True)
    problems: list[str] = []
    if not formats.admits(format):
        problems.append(f"format must be {formats.wants()}; got {shown(format)}.")
    if limit is not None and not sizes.admits(limit):
        problems.append(f"limit must be {sizes.wants()} or None; got {shown(limit)}.")
    if isinstance(attributes, str):
        problems.append(f"attributes must be a list of names; got the string {attributes!r}.")
    if problems:
        raise ParameterError("\n".join(problems))


def _refuse_options(source: Preferences, *options: object) -> None:
    if options != ("auto", None, None, None, (), None, False):
        raise ParameterError(
            f"{source.source}: the pairs are read already, so only limit has an effect; "
            "use select or with_columns on them."
        )
