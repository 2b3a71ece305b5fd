"""Between texts and tokens: prompts in, answers out, and where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from ...errors import IncompatibleError
from .base import Prompt

_BYTES = 4  # tokens that one character may be spread over


@final
class Texts:
    """A tokenizer's view of prompts and answers.

    Args:
        tokenizer: of the model; messages need its chat template.
        core: the model, whose generation settings name the tokens that end a text.
    """

    def __init__(self, tokenizer: Any, core: Any) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        settings: Any = getattr(core, "generation_config", None)
        named = [getattr(settings, "eos_token_id", None), tokenizer.eos_token_id]
        self.ends = frozenset(
            token
            for ids in named
            for token in (ids if isinstance(ids, (list, tuple)) else [ids])
            if token is not None
        )

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokens of a prompt: a text as it is, messages through the chat template.

        Raises:
            IncompatibleError: for messages, if the tokenizer has no chat template.
        """
        if isinstance(prompt, str):
            return tuple(self._tokenizer(prompt)["input_ids"])
        if not getattr(self._tokenizer, "chat_template", None):
            raise IncompatibleError(
                f"{type(self._tokenizer).__name__} has no chat template, but a prompt has "
                "messages; give texts, or set tokenizer.chat_template."
            )
        turns = [dict(turn) for turn in prompt]
        made = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return tuple(made)

    def answer(self, tokens: Sequence[int]) -> str:
        """Text of an answer, without special tokens."""
        return self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def ends_of(self, stop: Sequence[str]) -> frozenset[int]:
        """Tokens that end an answer: those of the model, and stop texts that are one special token.

        The latter never appear in the text of an answer.
        """
        ids = [self._tokenizer.convert_tokens_to_ids(text) for text in stop]
        return self.ends | {token for token in ids if token in self._special}

    def stopped(self, tokens: Sequence[int], stop: Sequence[str]) -> bool:
        """Whether the newest token completes a stop text; only the last tokens are read."""
        if not stop:
            return False
        longest = max(map(len, stop))
        # A token may hold less than a character or no text at all.
        shown = [token for token in tokens if token not in self._special]
        tail = self.answer(shown[-(_BYTES * longest + _BYTES) :])
        return any(text in tail for text in stop) and any(
            text in self.answer(tokens) for text in stop
        )

    def without_stop(self, text: str, stop: Sequence[str]) -> str:
        """The text before the first stop text in it."""
        places = [place for place in map(text.find, stop) if place >= 0]
        return text[: min(places)] if places else text
