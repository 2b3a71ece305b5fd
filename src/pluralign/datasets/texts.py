"""The texts of the embedded world: what can be said, and what can be counted in it.

Short word-level advice. A response has a fixed number of sentences with four places each;
what fills the places is what a reader may like or not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

LEXICON: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "polite": ("please", "kindly", "thanks", "welcome"),
        "eager": ("great", "wonderful", "fantastic", "hooray"),
        "hedged": ("maybe", "perhaps", "possibly", "probably"),
        "direct": ("certainly", "definitely", "surely", "simply"),
        "cautious": ("carefully", "gently", "slowly", "safely"),
        "swift": ("quickly", "boldly", "rapidly", "briskly"),
        "concrete": ("twice", "hourly", "daily", "weekly"),
        "sourced": ("reportedly", "provenly", "officially", "traditionally"),
    }
)
"""The words that show each attribute of a text."""

# A sentence has four places. Each is filled, with equal chances, by a word of one of two
# attributes or by a plain word; so every response has the same length and, to a model
# that has only read such texts, the same probability: what ranks them is preference.
_PLACES = (
    ("polite", "eager", ("well", "so", "okay", "now")),
    ("hedged", "direct", ("first", "next", "also", "still")),
    ("cautious", "swift", ("normally", "evenly", "fully", "mainly")),
    ("concrete", "sourced", ("sometimes", "somehow", "anyway", "somewhere")),
)
_FRAMES = ("how should i {} the {} {} ?", "what is the best way to {} the {} {} ?")
_VERBS = ("clean", "move", "paint", "mend", "store", "sell", "sort", "test")
_OBJECTS = ("lamp", "bike", "chair", "clock", "kettle", "mirror", "guitar", "camera", "carpet")
_MOMENTS = ("tonight", "tomorrow", "today", "alone", "outside", "indoors")
_FOLLOW_UPS = ("check", "dry", "rest", "wrap")
_SENTENCES = 3


def text_attributes(texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """What each text is like, counted from its words.

    Args:
        texts: N texts.

    Returns:
        float64 ``(N,)`` in [0, 1] by attribute of :data:`LEXICON`: words that show the
        attribute per sentence, at most 1.

    Example:
        >>> found = text_attributes(["please check it slowly twice . so check it twice ."])
        >>> found["polite"].item(), found["concrete"].item()
        (0.5, 1.0)
    """
    split = [re.findall(r"\w+|\.", text.lower()) for text in texts]
    sentences = np.array([max(1, row.count(".")) for row in split], dtype=np.float64)
    return {
        name: np.minimum(
            1.0, np.array([sum(word in lexicon for word in row) for row in split]) / sentences
        )
        for name, lexicon in LEXICON.items()
    }


def utility(texts: Sequence[str], direction: Mapping[str, float]) -> NDArray[np.float64]:
    """The attributes of N texts weighted by a direction, float64 ``(N,)``."""
    found = text_attributes(texts)
    total = np.zeros(len(texts))
    for name, weight in direction.items():
        total += weight * found[name]
    return total


def prompts_and_tasks() -> dict[str, str]:
    """Every prompt with the task that it asks about."""
    parts = itertools.product(_FRAMES, _VERBS, _OBJECTS, _MOMENTS)
    return {
        frame.format(verb, thing, moment): f"{verb} the {thing}"
        for frame, verb, thing, moment in parts
    }


def _fillings() -> list[tuple[str, ...]]:
    """The words that can stand in each place of a sentence."""
    return [(*LEXICON[one], *LEXICON[other], *plain) for one, other, plain in _PLACES]


def words() -> list[str]:
    """Every word and mark that a text of the world can hold, sorted."""
    filled = itertools.chain.from_iterable(_fillings())
    asked = itertools.chain.from_iterable(prompt.split() for prompt in prompts_and_tasks())
    return sorted({*filled, *asked, *_FOLLOW_UPS, "it", "."})


def random_responses(rng: np.random.Generator, prompts: Sequence[str]) -> list[str]:
    """One random response to each prompt: the task first, then follow-ups."""
    tasks = prompts_and_tasks()
    shape = (len(prompts), _SENTENCES)
    places = [rng.choice(np.array(place), size=shape).tolist() for place in _fillings()]
    follow_ups = rng.choice(np.array(_FOLLOW_UPS), size=shape).tolist()
    replies: list[str] = []
    for row, prompt in enumerate(prompts):
        acts = [tasks[prompt], *(f"{verb} it" for verb in follow_ups[row][1:])]
        sentences = [
            f"{opening} {stance} {act} {manner} {detail} ."
            for act, opening, stance, manner, detail in zip(
                acts, *(place[row] for place in places), strict=True
            )
        ]
        replies.append(" ".join(sentences))
    return replies
