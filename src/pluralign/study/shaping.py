"""Small changes of shape between what readers give and what models and audits take."""

from __future__ import annotations

from typing import Any

from ..data import Preferences


def with_groups(pairs: Preferences) -> Preferences:
    """The pairs, all in one group if nobody said who gave them."""
    return pairs if pairs.group is not None else pairs.with_columns(group=("all",) * len(pairs))


def as_chat(pairs: Preferences) -> Preferences:
    """String prompts as a user's turn, string responses as the assistant's."""

    def turn(texts: Any, role: str) -> list[Any]:
        return [({"role": role, "content": t},) if isinstance(t, str) else t for t in texts]

    return pairs.with_columns(
        prompt=turn(pairs.prompt, "user"),
        chosen=turn(pairs.chosen, "assistant"),
        rejected=turn(pairs.rejected, "assistant"),
    )
