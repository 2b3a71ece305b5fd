"""Who answers at the table: a swap in words and JSON, of which code takes only names of items."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:  # a negotiation without a language model needs no torch
    from ..engines.sampling.base import Sampler, SamplingParams

View = Mapping[str, Any]
"""What a stakeholder is shown: all of it is public."""


class Stakeholder(Protocol):
    """Speaks for one group: a person at a form, a rule, or a role-played language model."""

    def counter(self, view: View) -> str:
        """Words and, as the last thing in braces, ``{"drop": item or null, "add": item}``."""
        ...


@final
@dataclass(frozen=True)
class PromptedStakeholder:
    """A language model that is asked, in words, to speak for a group.

    Use it to see how a role-played discussion would go. Not as the group's own voice: models
    flatter and invent. Whatever it writes, only two names of items are read from it.

    Args:
        sampler: what answers; any sampler of ``engines.sampling``.
        role: who speaks and what matters to them.
        params: of the sampling; give a seed for one and the same answer.

    Example:
        >>> from pluralign.engines.sampling import SamplingParams, ScriptedSampler
        >>> says = '{"drop": null, "add": "ramp"}'
        >>> model = ScriptedSampler(answer=lambda prompt, direction, rng: says)
        >>> speaker = PromptedStakeholder(model, "You use a wheelchair.", SamplingParams())
        >>> speaker.counter({"group": "wheelchair users", "items": []})
        '{"drop": null, "add": "ramp"}'
    """

    sampler: Sampler
    role: str
    params: SamplingParams

    def counter(self, view: View) -> str:
        """The model's answer to the view."""
        prompt = (
            f"{self.role}\nYou speak for the group {view['group']!r}. This is on the table:\n"
            f"{json.dumps(dict(view), indent=1)}\n"
            "Say in two sentences which single swap would serve your group best, then end with "
            '{"drop": name of an item in the package or null, "add": name of another item}.'
        )
        return self.sampler.sample([prompt], 1, self.params)[0][0].text
