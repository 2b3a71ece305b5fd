"""How a language model is told a direction: numbers in an instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DataError, ParameterError
from ...rules import OneOf, Within, check, shown
from .base import Prompt


@final
@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    r"""Puts the weights of named attributes into the system or the user message.

    Use it for models that take a preference direction in words. ``style="weights"`` follows
    directional preference alignment (integers ``round(scale * v_j)``, the sum of weighted
    ratings is to be maximised), ``style="levels"`` follows SteerLM (``clip(round(4 v_j), 0, 4)``
    for each attribute). Models were tuned on one convention: another is off their training
    format. The wording is ours.

    In the user message the instruction stands after the prompt, so that the directions of
    one prompt share all tokens before it.

    Args:
        attributes: names of the d attributes, in the order of a direction.
        placement: ``"user"`` or ``"system"``.
        style: ``"weights"`` or ``"levels"``.
        scale: what a weight of 1 is written as (``"weights"`` only).

    Raises:
        ParameterError: for names that are empty or not unique.

    Example:
        >>> template = PromptTemplate(attributes=("helpfulness", "brevity"))
        >>> print(template.instruction((0.8, 0.6)))
        Write the answer that maximises this weighted rating: 80*helpfulness + 60*brevity.
        >>> template.render("Why is the sky blue?", (0.8, 0.6)).startswith("Why is the sky")
        True

    References:
        Wang et al., 2024, arXiv 2402.18571. Dong et al., 2023, arXiv 2310.05344.
    """

    attributes: tuple[str, ...]
    placement: Annotated[Literal["user", "system"], OneOf("user", "system")] = "user"
    style: Annotated[Literal["weights", "levels"], OneOf("weights", "levels")] = "weights"
    scale: Annotated[int, Within(1, 10_000, integer=True)] = 100

    def __post_init__(self) -> None:
        check(self)
        given: Any = self.attributes
        names = tuple(given) if isinstance(given, (list, tuple)) else ()
        if (
            not names
            or not all(isinstance(name, str) and name for name in names)
            or len(set(names)) < len(names)
        ):
            raise ParameterError(
                f"PromptTemplate.attributes must be unique non-empty names; got {shown(given)}."
            )
        object.__setattr__(self, "attributes", names)

    def instruction(self, direction: ArrayLike) -> str:
        """The sentence for one direction, shape (d,).

        Raises:
            DataError: if the direction has another length or is not finite.
        """
        values = np.asarray(direction, dtype=np.float64)
        if values.shape != (len(self.attributes),) or not np.isfinite(values).all():
            raise DataError(
                f"a direction must have {len(self.attributes)} finite values, one for each of "
                f"{', '.join(self.attributes)}; got {shown(direction)}."
            )
        if self.style == "levels":
            levels = np.clip(np.round(4 * values), 0, 4).astype(int)
            named = zip(self.attributes, levels, strict=True)
            return f"Write an answer with {', '.join(f'{name}: {level}' for name, level in named)}."
        weights = np.round(self.scale * values).astype(int)
        named = zip(self.attributes, weights, strict=True)
        terms = " + ".join(f"{weight}*{name}" for name, weight in named)
        return f"Write the answer that maximises this weighted rating: {terms}."

    def render(self, prompt: Prompt, direction: ArrayLike) -> Prompt:
        """The prompt with the instruction; messages stay messages.

        A text with ``placement="system"`` becomes messages.
        """
        instruction = self.instruction(direction)
        if self.placement == "system":
            return _with_system(prompt, instruction)
        if isinstance(prompt, str):
            return f"{prompt}\n\n{instruction}"
        turns = [dict(turn) for turn in prompt]
        turns[-1]["content"] = f"{turns[-1]['content']}\n\n{instruction}"
        return turns


def _with_system(prompt: Prompt, instruction: str) -> Sequence[dict[str, str]]:
    turns = (
        [{"role": "user", "content": prompt}]
        if isinstance(prompt, str)
        else [dict(turn) for turn in prompt]
    )
    if turns[0]["role"] == "system":
        turns[0]["content"] = f"{turns[0]['content']}\n\n{instruction}"
        return turns
    return [{"role": "system", "content": instruction}, *turns]
