"""A small world of texts in which the truth is known: who prefers what, and who errs how often.

Short word-level advice over about a hundred words. What a text is like can be counted
in it (``text_attributes``), each group of annotators has a direction over those
attributes, and its observed labels are its true ones flipped at the group's rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, final

import numpy as np
from numpy.typing import NDArray

from ..data import Preferences
from ..errors import ParameterError
from ..rules import AnyOf, Within, check, nearest, shown
from .texts import LEXICON, prompts_and_tasks, random_responses, utility, words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DIRECTIONS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "north": {"polite": 1.0, "hedged": 0.7, "concrete": 0.3},
        "south": {"cautious": 1.0, "concrete": 0.8},
    }
)
"""What each group of the world prefers, unless told otherwise: mostly different things."""

FLIP_RATES: Mapping[str, float] = MappingProxyType({"north": 0.05, "south": 0.35})
"""How often the label of each group is reversed, unless told otherwise."""

_SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
_EVAL_PROMPT_SHARE = 0.25


@final
@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The numbers that a world is made from, checked together."""

    seed: Annotated[int, Within(0, integer=True)]
    n_train: Annotated[int, Within(2, integer=True)]
    n_eval: Annotated[int, Within(2, integer=True)]
    n_gold: Annotated[int, Within(0, integer=True)]
    n_sft: Annotated[int, Within(1, integer=True)]
    annotators: Annotated[int, Within(1, integer=True)]
    double_share: Annotated[float, Within(0.0, 1.0)]
    sharpness: Annotated[float | None, AnyOf(None, Within(0.0, closed="neither"))]
    groups: Mapping[str, Mapping[str, float]]
    flip_rates: Mapping[str, float]
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        check(self)

    def conflicts(self) -> list[str]:
        """What is wrong with the groups, each message with the value and the cure."""
        if not self.groups:
            return ["groups is empty; name at least one group and its direction."]
        found = [
            f"{name} names groups {sorted(given)}, but groups has {sorted(self.groups)}."
            for name, given in (("flip_rates", self.flip_rates), ("shares", self.shares))
            if set(given) != set(self.groups)
        ]
        for group, direction in self.groups.items():
            unknown = [name for name in direction if name not in LEXICON]
            found += [
                f"group {group!r} has the unknown attribute {name!r}; {nearest(name, LEXICON)}"
                for name in unknown
            ]
            if not any(direction.values()):
                found.append(f"group {group!r} prefers nothing; give one non-zero weight.")
        rates = Within(0.0, 0.5, closed="left")
        found += [
            f"flip_rates[{name!r}] must be {rates.wants()}; got {shown(rate)}."
            for name, rate in self.flip_rates.items()
            if not rates.admits(rate)
        ]
        sizes = Within(0.0, closed="neither")
        found += [
            f"shares[{name!r}] must be {sizes.wants()}; got {shown(share)}."
            for name, share in self.shares.items()
            if not sizes.admits(share)
        ]
        if not found:
            sizes_of_groups = _divide(self.n_train, self.shares)
            found += [
                f"n_train={self.n_train} and shares leave no pair to group {name!r}."
                for name, size in sizes_of_groups.items()
                if not size
            ]
        if self.n_gold > self.n_train:
            found.append(f"n_gold must be at most n_train={self.n_train}; got {self.n_gold}.")
        return found


@final
@dataclass(frozen=True, eq=False)
class TextWorld:
    """Pairs, demonstrations and the truth behind them; made by :func:`make_text_world`.

    Attributes:
        train: pairs with observed labels; ``group``, ``annotator`` and the attributes
            ``flipped`` (1.0 where the label is reversed), ``gold`` (1.0 known right, 0.0
            known wrong, NaN not examined) and, if asked for, ``second`` (1.0 where a second
            annotator of the group agreed, 0.0 where not, NaN where nobody was asked).
        eval: pairs with true labels on prompts that ``train`` does not have.
        sft: demonstrations (prompt, response) without any preference.
        truth: directions, flip rates, sizes and settings; plain data for JSON.
    """

    train: Preferences
    eval: Preferences
    sft: tuple[tuple[str, str], ...]
    truth: Mapping[str, Any] = field(repr=False)

    @property
    def sft_texts(self) -> list[str]:
        """Prompt and response of each demonstration as one text."""
        return [f"{prompt} {response}" for prompt, response in self.sft]

    def utility(self, texts: Sequence[str], group: str) -> NDArray[np.float64]:
        """How much a group truly likes each response.

        Args:
            texts: N responses.
            group: name of a group of this world.

        Returns:
            float64 ``(N,)``: the attributes of the text weighted by the group's direction.

        Raises:
            ParameterError: if there is no such group.
        """
        if group not in self.truth["groups"]:
            hint = nearest(group, self.truth["groups"])
            raise ParameterError(f"this world has no group {group!r}; {hint}")
        return utility(texts, self.truth["groups"][group])

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word-level tokenizer of all words of all worlds, built here without a download.

        Punctuation is a token of its own, so a prompt and a response meet at a token
        boundary with or without a space. Special tokens are not added by itself.

        Raises:
            ImportError: if transformers is not installed.
        """
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {word: i for i, word in enumerate((*_SPECIAL, *words()))}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            pad_token="<pad>",
            bos_token="<bos>",
            eos_token="<eos>",
            unk_token="<unk>",
            model_max_length=128,
            clean_up_tokenization_spaces=False,
        )


def make_text_world(
    seed: int = 0,
    *,
    n_train: int = 6000,
    n_eval: int = 2000,
    n_gold: int = 400,
    n_sft: int = 3000,
    groups: Mapping[str, Mapping[str, float]] = DIRECTIONS,
    flip_rates: Mapping[str, float] = FLIP_RATES,
    shares: Mapping[str, float] | None = None,
    annotators: int = 5,
    double_share: float = 0.0,
    sharpness: float | None = None,
) -> TextWorld:
    """Make a seeded world of preference pairs whose truth is known.

    Use it to see whether a method hears every group: the groups want mostly different
    things, prompts do not tell who asks, and one group's labels are noisier. A loss that
    ignores this pulls the model by (1 - 2 flip_rate) of each group's weight, hence towards
    the group that errs less. Not a substitute for people: its preferences are linear and
    its errors independent of the pair.

    A pair is two random responses to one prompt; pairs that the group is indifferent about
    are drawn again. The true label is the sign of the difference of utility, or a
    Bradley-Terry draw at ``sharpness``; the observed one is flipped at the group's rate.

    Args:
        seed: >= 0; the same seed and arguments give the same world.
        n_train: training pairs of all groups together.
        n_eval: evaluation pairs, divided equally between the groups.
        n_gold: training pairs whose label was examined, divided equally likewise (all
            pairs of a group that has fewer).
        n_sft: demonstrations.
        groups: weight of attributes by group.
        flip_rates: probability in [0, 0.5) of a reversed label, by group.
        shares: relative numbers of training pairs by group; equal if not given.
        annotators: annotators of each group.
        double_share: share of training pairs that a second annotator saw, in [0, 1].
        sharpness: scale of the utilities in logits, > 0; ``None`` for true labels
            without chance.

    Raises:
        ParameterError: listing all arguments that cannot be used.

    Example:
        >>> world = make_text_world(n_train=40, n_eval=20, n_gold=10, n_sft=5)
        >>> world.train.group_sizes(), world.eval.attributes["flipped"].sum().item()
        ({'north': 20, 'south': 20}, 0.0)
    """
    settings = _Settings(
        seed=seed,
        n_train=n_train,
        n_eval=n_eval,
        n_gold=n_gold,
        n_sft=n_sft,
        annotators=annotators,
        double_share=double_share,
        sharpness=sharpness,
        groups={name: dict(direction) for name, direction in groups.items()},
        flip_rates=dict(flip_rates),
        shares=dict(shares) if shares is not None else dict.fromkeys(groups, 1.0),
    )
    # One stream for each part: asking for more of one leaves the others as they were.
    streams = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    rng_prompts, rng_train, rng_eval, rng_sft = streams
    prompts = rng_prompts.permutation(list(prompts_and_tasks())).tolist()
    held_out = round(len(prompts) * _EVAL_PROMPT_SHARE)
    train = _train_pairs(rng_train, settings, prompts[held_out:])
    evaluation = _eval_pairs(rng_eval, settings, prompts[:held_out])
    asked = rng_sft.choice(prompts[held_out:], size=n_sft).tolist()
    return TextWorld(
        train=train,
        eval=evaluation,
        sft=tuple(zip(asked, random_responses(rng_sft, asked), strict=True)),
        truth=_truth(settings, train, evaluation),
    )


def _divide(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to the shares that add up to ``total``."""
    ends = np.cumsum(list(shares.values())) / sum(shares.values()) * total
    counts = np.diff(np.rint(ends).astype(int), prepend=0).tolist()
    return dict(zip(shares, counts, strict=True))


def _true_pairs(
    rng: np.random.Generator, settings: _Settings, group: str, size: int, prompts: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(prompt, truly preferred, other) of pairs between which the group sees a difference."""
    pairs: list[tuple[str, str, str]] = []
    while len(pairs) < size:
        asked = rng.choice(np.array(prompts), size=size).tolist()
        first, second = random_responses(rng, asked), random_responses(rng, asked)
        direction = settings.groups[group]
        gap = utility(first, direction) - utility(second, direction)
        likes_first = gap > 0
        if settings.sharpness is not None:
            likes_first = rng.random(size) < 1.0 / (1.0 + np.exp(-settings.sharpness * gap))
        for row in np.flatnonzero(np.abs(gap) > 1e-9).tolist():
            one, other = first[row], second[row]
            pairs.append((asked[row], one, other) if likes_first[row] else (asked[row], other, one))
    return pairs[:size]


def _pairs_of_group(
    rng: np.random.Generator, settings: _Settings, group: str, size: int, prompts: Sequence[str]
) -> list[dict[str, Any]]:
    flipped = rng.random(size) < settings.flip_rates[group]
    people = rng.integers(settings.annotators, size=size)
    return [
        {
            "prompt": prompt,
            "chosen": other if wrong else better,
            "rejected": better if wrong else other,
            "group": group,
            "annotator": f"{group}-{person + 1}",
            "flipped": float(wrong),
        }
        for (prompt, better, other), wrong, person in zip(
            _true_pairs(rng, settings, group, size, prompts),
            flipped.tolist(),
            people.tolist(),
            strict=True,
        )
    ]


def _train_pairs(
    rng: np.random.Generator, settings: _Settings, prompts: Sequence[str]
) -> Preferences:
    gold = _divide(settings.n_gold, dict.fromkeys(settings.groups, 1.0))
    rows: list[dict[str, Any]] = []
    for group, size in _divide(settings.n_train, settings.shares).items():
        made = _pairs_of_group(rng, settings, group, size, prompts)
        for number, row in enumerate(made):
            row["gold"] = 1.0 - row["flipped"] if number < gold[group] else np.nan
        if settings.double_share:
            _ask_again(rng, settings, group, made)
        rows += made
    order = rng.permutation(len(rows)).tolist()
    names = ["flipped", "gold", *(["second"] if settings.double_share else [])]
    return Preferences.from_records(
        [rows[i] for i in order], attributes=names, source="text world, train"
    )


def _ask_again(
    rng: np.random.Generator, settings: _Settings, group: str, rows: Sequence[dict[str, Any]]
) -> None:
    """Add whether a second annotator of the group gave the same label."""
    asked = rng.random(len(rows)) < settings.double_share
    errs = rng.random(len(rows)) < settings.flip_rates[group]
    for row, seen, wrong in zip(rows, asked.tolist(), errs.tolist(), strict=True):
        row["second"] = float(wrong == bool(row["flipped"])) if seen else np.nan


def _eval_pairs(
    rng: np.random.Generator, settings: _Settings, prompts: Sequence[str]
) -> Preferences:
    clean = replace(settings, flip_rates=dict.fromkeys(settings.groups, 0.0))
    sizes = _divide(settings.n_eval, dict.fromkeys(settings.groups, 1.0))
    rows = [
        row
        for group, size in sizes.items()
        for row in _pairs_of_group(rng, clean, group, size, prompts)
    ]
    return Preferences.from_records(rows, attributes=["flipped"], source="text world, eval")


def _truth(settings: _Settings, train: Preferences, evaluation: Preferences) -> dict[str, Any]:
    return {
        "seed": settings.seed,
        "groups": {name: dict(direction) for name, direction in settings.groups.items()},
        "flip_rates": dict(settings.flip_rates),
        "n_train": train.group_sizes(),
        "n_eval": evaluation.group_sizes(),
        "n_gold": int(np.isfinite(train.attributes["gold"]).sum()),
        "annotators": settings.annotators,
        "double_share": settings.double_share,
        "sharpness": settings.sharpness,
    }
