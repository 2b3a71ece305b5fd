"""How votes, scores and ties become pairs: one small vocabulary for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, final

from ...errors import ParameterError
from ...rules import Kind, OneOf, Within, check, nearest


@final
@dataclass(frozen=True, kw_only=True)
class PairRules:
    """What to do where a format leaves more than one way; given as ``options``.

    Args:
        votes: ``"each"`` vote is a pair with its annotator, or the votes on one pair (in
            one group, if there are groups) become one with their ``"share"`` as
            ``label_prob`` and their number as the attribute ``n_votes``.
        ties: ``"keep"`` them with ``label_prob`` 0.5, or ``"drop"`` them with a warning.
        pairing: of a prompt with several scored responses, the best against a
            ``"random"`` other, against the ``"lowest"``, against each of the ``"rest"``,
            or ``"all"`` pairs.
        score: which rating puts the responses in order.
        confidence: ``"none"``, or ``label_prob`` from the ``"scores"`` of both responses.
        direction: where a set has both labels and scores: ``"check"`` (a label against
            the scores is an error), ``"mend"`` (follow the scores) or ``"trust"`` (follow
            the labels).
        messages: make messages of a transcript, for chat templates.
        join: a second table with more columns, matched by the format's keys.
        seed: of the random choices, >= 0; a row's choice depends on it and the row number.

    Raises:
        ParameterError: if a value is out of range.
    """

    votes: Annotated[str, OneOf("each", "share")] = "each"
    ties: Annotated[str, OneOf("keep", "drop")] = "keep"
    pairing: Annotated[str, OneOf("random", "lowest", "rest", "all")] = "random"
    score: Annotated[str, Kind(str)] = ""
    confidence: Annotated[str, OneOf("none", "scores")] = "none"
    direction: Annotated[str, OneOf("check", "mend", "trust")] = "check"
    messages: Annotated[bool, Kind(bool)] = False
    join: Any = None
    seed: Annotated[int, Within(0, integer=True)] = 0

    def __post_init__(self) -> None:
        check(self)


OPTIONS = frozenset(f.name for f in fields(PairRules))


def pair_rules(
    name: str, known: Mapping[str, tuple[Any, ...]], given: Mapping[str, Any]
) -> PairRules:
    """The rules of a format, of which ``given`` were asked for.

    Args:
        name: of the format.
        known: its options; the first of each option's values is the default, and where
            there are more, they are all that the format knows.
        given: options by name.

    Raises:
        ParameterError: for an option that is unknown, without effect, or out of range.
    """
    problems: list[str] = []
    for key, value in given.items():
        if key not in OPTIONS:
            problems.append(f"options: unknown {key!r}; {nearest(str(key), OPTIONS)}")
        elif key not in known:
            usable = ", ".join(map(repr, sorted(known))) or "none"
            problems.append(
                f"options: {key!r} has no effect on format {name!r}; its options are: {usable}."
            )
        elif len(known[key]) > 1 and not OneOf(*known[key]).admits(value):
            wanted = OneOf(*known[key]).wants()
            problems.append(f"options: {key!r} must be {wanted}; got {value!r}.")
    if problems:
        raise ParameterError("\n".join(problems))
    return PairRules(**{key: values[0] for key, values in known.items()} | dict(given))
