"""``load_preferences`` and ``iter_preferences``: from whatever holds pairs to ``Preferences``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

from ..data import LABEL_COLUMNS, NUMBER_COLUMNS, TEXT_COLUMNS, Preferences
from ..errors import ParameterError
from ..rules import OneOf, Within, nearest, shown
from .batches import Batches, Wanted
from .formats import FORMATS
from .labels import Label, check_label
from .shapes import Shape

# Columns that pairs have under these names; an attribute would hide them.
_OWN = frozenset(("id", *TEXT_COLUMNS, *LABEL_COLUMNS, *NUMBER_COLUMNS, "chosen_first"))

Source: TypeAlias = str | Path | Iterable[Mapping[str, Any]] | Preferences
"""A path, a data set object (or a mapping of its splits), rows, or pairs already read."""


def load_preferences(
    source: Source | Any,
    *,
    format: str = "auto",
    group: Label = None,
    annotator: Label = None,
    domain: Label = None,
    attributes: Sequence[str] = (),
    limit: int | None = None,
    split: str | None = None,
    drop_unusable: bool = False,
    options: Mapping[str, Any] | None = None,
    allow_download: bool = False,
) -> Preferences:
    r"""Read preference pairs, keeping who gave them.

    Use it for files and data sets in any of the four shapes of pairs or in a format of
    ``FORMATS``, in which the field's public sets are stored. For files larger than memory
    use :func:`iter_preferences`. Nothing is unpickled, no code of a data set is run, and
    nothing is downloaded unless that is allowed.

    Args:
        source: a file (``.jsonl``, ``.json``, ``.csv`` or ``.tsv``, each also ``.gz``;
            ``.parquet``), a directory of such files or one saved by
            ``datasets.Dataset.save_to_disk``, a data set of that library or a mapping of
            its splits, an iterable with one mapping a pair, or :class:`Preferences`.
        format: ``"standard"`` (strings), ``"conversational"`` (lists of messages),
            ``"implicit"`` (no prompt: chosen and rejected hold the whole exchange and the
            prompt is what they share), ``"token_ids"``, a name of ``FORMATS``, or
            ``"auto"`` to tell from the rows where that is safe. An implicit string is cut
            after the last shared mark of an assistant's turn, such as ``\n\nAssistant:``;
            before its last white space if there is no such mark and ``"implicit"`` was
            asked for. Nothing is stripped, so prompt plus response is the stored text.
        group: column to use as group (default: ``group``, if there is one);
            ``"column.field"`` for a nested one; several names for their combinations.
        annotator: column to use as annotator, likewise.
        domain: column to use as domain, likewise.
        attributes: numeric columns to keep, beside those of the format.
        limit: read only the first so many rows, >= 1.
        split: which split, where the source has several.
        drop_unusable: drop rows in which a text is missing or blank, or without a shared
            prompt, with a warning; if false they are an error. Rows of a wrong type or
            format are always an error.
        options: what a format leaves open (votes, ties, pairing, ...); each format knows
            its own, with defaults, as ``FORMATS[name].options`` lists them. An option
            without effect is an error.
        allow_download: read ``owner/name`` or ``owner/name:configuration`` from the
            Hugging Face hub if there is no such path.

    Returns:
        The pairs in the order of the source. A dropped row leaves its number unused in
        ``pair_id``; several pairs of one row are named ``number-0``, ``number-1``, ...

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
        >>> row = {"instruction": "2+2?", "output_1": "4", "output_2": "5", "preference": 1}
        >>> votes = [row, row, row | {"preference": 2}, row]
        >>> load_preferences(votes, options={"votes": "share"}).label_prob.item()
        0.75
    """
    wanted = Wanted(
        format=format,
        group=group,
        annotator=annotator,
        domain=domain,
        attributes=attributes,
        limit=limit,
        split=split,
        drop_unusable=drop_unusable,
        options=_checked(options),
        allow_download=allow_download,
    )
    _check(wanted)
    if isinstance(source, Preferences):
        _refuse_options(source, wanted)
        return source if limit is None else source.select(range(min(limit, len(source))))
    (pairs,) = Batches(source, wanted, None)
    return pairs


def iter_preferences(
    source: Source | Any,
    *,
    chunk_rows: int = 10_000,
    format: str = "auto",
    group: Label = None,
    annotator: Label = None,
    domain: Label = None,
    attributes: Sequence[str] = (),
    limit: int | None = None,
    split: str | None = None,
    drop_unusable: bool = False,
    options: Mapping[str, Any] | None = None,
    allow_download: bool = False,
) -> Iterator[Preferences]:
    """Read preference pairs in chunks, for sources larger than memory.

    Use it to audit or filter what does not fit into memory; otherwise
    :func:`load_preferences`. JSON Lines, CSV, Parquet and iterables are read in memory of
    a few chunks; a JSON array is read whole. Formats that join rows which may stand
    anywhere (shares of votes, DICES) are refused. How rows are read is told by the first
    chunk and holds for all; what was dropped is said once, at the end. That ids are
    unique is checked within a chunk only.

    Args:
        source: as for :func:`load_preferences`.
        chunk_rows: rows of the source in a chunk, >= 1.
        format: likewise.
        group: likewise.
        annotator: likewise.
        domain: likewise.
        attributes: likewise.
        limit: likewise, for all chunks together.
        split: likewise.
        drop_unusable: likewise.
        options: likewise.
        allow_download: likewise; rows are then read over the network and not stored.

    Yields:
        Pairs of consecutive rows; ``pair_id`` and the row numbers of errors count from
        the start of the source.

    Raises:
        DataError: as soon as a chunk cannot be used; the chunks before are out by then.
        FileNotFoundError: if there is no such path.
        IncompatibleError: if the object cannot hold pairs at all.
        ParameterError: if an option is out of its range or without effect.

    Example:
        >>> rows = ({"prompt": "2+2?", "chosen": "4", "rejected": str(i)} for i in range(5, 10))
        >>> [pairs.pair_id for pairs in iter_preferences(rows, chunk_rows=3)]
        [('0', '1', '2'), ('3', '4')]
    """
    wanted = Wanted(
        format=format,
        group=group,
        annotator=annotator,
        domain=domain,
        attributes=attributes,
        limit=limit,
        split=split,
        drop_unusable=drop_unusable,
        options=_checked(options),
        allow_download=allow_download,
    )
    _check(wanted)
    if not Within(1, integer=True).admits(chunk_rows):
        raise ParameterError(f"chunk_rows must be an integer >= 1; got {shown(chunk_rows)}.")
    if isinstance(source, Preferences):
        _refuse_options(source, wanted)
        size = min(limit or len(source), len(source))
        starts = range(0, size, chunk_rows)
        return (source.select(range(at, min(at + chunk_rows, size))) for at in starts)
    return iter(Batches(source, wanted, chunk_rows))


def _checked(options: object) -> Mapping[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ParameterError(f"options must be a mapping of names to values; got {shown(options)}.")
    return options


def _check(wanted: Wanted) -> None:
    names = (*get_args(Shape), *FORMATS)
    problems: list[str] = []
    if not OneOf(*names).admits(wanted.format):
        problems.append(
            f"format must be one of {', '.join(map(repr, names))}; got {shown(wanted.format)}; "
            f"{nearest(str(wanted.format), names)}"
        )
    if wanted.limit is not None and not Within(1, integer=True).admits(wanted.limit):
        problems.append(f"limit must be an integer >= 1 or None; got {shown(wanted.limit)}.")
    taken = [name for name in wanted.attributes if name in _OWN]
    if taken and not isinstance(wanted.attributes, str):
        problems.append(f"attributes: {taken[0]!r} is a column of pairs already; leave it out.")
    if isinstance(wanted.attributes, str):
        problems.append(
            f"attributes must be a list of names; got the string {wanted.attributes!r}."
        )
    for name in ("group", "annotator", "domain"):
        if problem := check_label(name, getattr(wanted, name)):
            problems.append(problem)
    for name in ("drop_unusable", "allow_download"):
        if not isinstance(getattr(wanted, name), bool):
            problems.append(f"{name} must be true or false; got {shown(getattr(wanted, name))}.")
    if problems:
        raise ParameterError("\n".join(problems))


def _refuse_options(source: Preferences, wanted: Wanted) -> None:
    if wanted != Wanted(limit=wanted.limit, attributes=type(wanted.attributes)()):
        raise ParameterError(
            f"{source.source}: the pairs are read already, so only limit has an effect; "
            "use select or with_columns on them."
        )
