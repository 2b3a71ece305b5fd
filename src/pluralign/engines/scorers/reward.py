"""Reward models as scorers: published classifiers, and those that were trained here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import DataError, DataQualityWarning, IncompatibleError, ParameterError
from ...rules import nearest, shown
from ...scores import TokenBatch
from ..scoring import RewardModel, score_with
from .base import Item, Scores, check_items

Render: TypeAlias = Literal["chat", "plain"] | Callable[[Item], str]
Outputs: TypeAlias = Sequence[str | int] | Mapping[str, str | int]

_BATCH = 16


@final
class ClassifierScorer:
    """A transformers sequence classifier as a scorer of one or several attributes.

    Use it for published reward models, with one output or many. An output's name is its
    label in the model's configuration; give names where it has none. For another scale,
    such as HelpSteer's ``(output - 10) / 20``, wrap it in ``Scaled``.

    Args:
        model: an ``AutoModelForSequenceClassification``, where it should run.
        tokenizer: its tokenizer; the side that it pads on does not matter.
        outputs: which outputs to take: labels or numbers, or a mapping from the name of an
            attribute to a label or number. All of them if not given.
        render: how an item becomes one text: ``"chat"`` by the tokenizer's chat template,
            ``"plain"`` by joining prompt and response, or a function of the item.
        max_length: longest text in tokens; longer ones are not ok. The model's number of
            positions if not given.
        batch_size: texts in a forward pass, >= 1.
        name: for records; the model's own name if not given.

    Raises:
        ParameterError: for an output that the model lacks, or a batch size below 1.
        IncompatibleError: for ``"chat"`` without a chat template.

    Example:
        >>> from transformers import AutoModelForSequenceClassification  # doctest: +SKIP
        >>> ClassifierScorer(model, tokenizer,  # doctest: +SKIP
        ...     outputs={"helpfulness": 9, "verbosity": 4})

    Differs from the paper: none; a model is used as published.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        outputs: Outputs | None = None,
        render: Render = "chat",
        max_length: int | None = None,
        batch_size: int = _BATCH,
        name: str = "",
    ) -> None:
        self.model = model
        self.name = name or _name_of(model)
        labels: Mapping[int, str] = model.config.id2label
        chosen = _chosen(outputs, [labels[i] for i in range(len(labels))])
        self.names = tuple(chosen)
        self._index = list(chosen.values())
        self._texts = _Texts(tokenizer, render, _longest(model.config, max_length), batch_size)

    def score(self, items: Sequence[Item]) -> Scores:
        """The chosen outputs of each text; not ok where it is too long or gives no number."""

        def logits(batch: TokenBatch) -> Tensor:
            return score_with(self.model, batch)[:, 0, self._index]

        return self._texts.scores(items, self.names, logits)


@final
class RewardScorer:
    """A :class:`RewardModel` as a scorer; its outputs are the attributes.

    Use it for what ``RewardTrainer`` trained. Prompts and responses are put together as in
    training: texts are joined and end with EOS, conversations go through the chat template.

    Args:
        model: the reward model, where it should run.
        tokenizer: its tokenizer.
        max_length: longest text in tokens; longer ones are not ok.
        batch_size: texts in a forward pass, >= 1.
        name: for records.

    Raises:
        ParameterError: for a batch size below 1.

    Example:
        >>> from pluralign.engines import RewardModel  # doctest: +SKIP
        >>> RewardScorer(RewardModel.load("runs/reward/model"), tokenizer)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: RewardModel,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        batch_size: int = _BATCH,
        name: str = "",
    ) -> None:
        self.model = model
        self.name = name or f"reward model on {_name_of(model.body)}"
        self.names = model.names
        config = model.body.config
        longest = _longest(config, max_length)
        self._texts = _Texts(tokenizer, "plain", longest, batch_size, ends=True)

    def score(self, items: Sequence[Item]) -> Scores:
        """Rewards of each response; not ok where it is too long or gives no number."""

        def rewards(batch: TokenBatch) -> Tensor:
            return self.model(batch)[:, 0]

        return self._texts.scores(items, self.names, rewards)


class _Texts:
    """Items as token ids, scored in batches of similar length."""

    def __init__(
        self,
        tokenizer: Any,
        render: Render,
        longest: int | None,
        batch_size: int,
        *,
        ends: bool = False,
    ) -> None:
        if isinstance(batch_size, bool) or batch_size < 1:
            raise ParameterError(f"batch_size must be an integer >= 1; got {shown(batch_size)}.")
        if render == "chat" and not getattr(tokenizer, "chat_template", None):
            raise IncompatibleError(
                f"{type(tokenizer).__name__} has no chat template; set tokenizer.chat_template, or "
                "give render='plain' or a function that writes an item as the model expects it."
            )
        self.tokenizer = tokenizer
        self.render = render
        self.longest = longest
        self.batch_size = batch_size
        self.ends = ends

    @torch.no_grad()
    def scores(
        self, items: Sequence[Item], names: Sequence[str], function: Callable[[TokenBatch], Tensor]
    ) -> Scores:
        """Rows of a function that gives (B, d) for B texts."""
        ids = [self._ids(item) for item in check_items(items)]
        values: NDArray[np.float64] = np.full((len(ids), len(names)), np.nan)
        usable = [i for i in self._short(ids) if len(ids[i])]
        order = sorted(usable, key=lambda i: len(ids[i]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            lengths = torch.tensor([[0, len(ids[i])] for i in rows])
            flat = torch.tensor([token for i in rows for token in ids[i]])
            values[rows] = function(TokenBatch(flat, lengths)).double().cpu().numpy()
        ok = np.asarray(np.isfinite(values).all(axis=1))
        if usable and not ok.any():
            raise DataError(
                f"the model gives no finite score for any of {len(usable)} texts; check its "
                "weights and precision."
            )
        return Scores(names, np.where(ok[:, None], values, 0.0), ok)

    def _short(self, ids: Sequence[Sequence[int]]) -> list[int]:
        limit = self.longest
        short = [i for i, row in enumerate(ids) if limit is None or len(row) <= limit]
        if len(short) < len(ids):
            warnings.warn(
                f"{len(ids) - len(short)} of {len(ids)} texts are longer than max_length={limit} "
                "tokens and were not scored.",
                DataQualityWarning,
                stacklevel=4,
            )
        return short

    def _ids(self, item: Item) -> list[int]:
        chat = False
        if callable(self.render):
            text = self.render(item)
        elif self.render == "plain" and isinstance(item.prompt, str):
            text = item.prompt + item.response
        else:
            chat, text = True, self.tokenizer.apply_chat_template(_turns(item), tokenize=False)
        found = self.tokenizer(text, add_special_tokens=not chat, verbose=False)
        ids: list[int] = list(found["input_ids"])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        if self.ends and not chat and eos is not None and ids[-1:] != [eos]:
            ids.append(eos)
        return ids


def _turns(item: Item) -> list[dict[str, str]]:
    asked = item.prompt
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else map(dict, asked)
    return [*turns, {"role": "assistant", "content": item.response}]


def _chosen(outputs: Outputs | None, labels: Sequence[str]) -> dict[str, int]:
    """Number of the output of each attribute, by the attribute's name."""
    if isinstance(outputs, Mapping):
        found = {name: _number(one, labels) for name, one in outputs.items()}
    else:
        numbers = [_number(one, labels) for one in (labels if outputs is None else outputs)]
        found = {labels[i]: i for i in numbers}
        if len(found) < len(numbers):
            raise ParameterError(f"outputs must be different; got {shown(outputs)}.")
    if not found or not all(found):
        raise ParameterError(f"outputs must name at least one output; got {shown(outputs)}.")
    return found


def _number(one: str | int, labels: Sequence[str]) -> int:
    if isinstance(one, str) and one in labels:
        return labels.index(one)
    if isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(labels):
        return one
    raise ParameterError(
        f"the model has no output {shown(one)}; {nearest(str(one), labels)} Outputs are numbered "
        f"from 0 to {len(labels) - 1}."
    )


def _longest(config: Any, max_length: int | None) -> int | None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if max_length is not None and max_length < 1:
        raise ParameterError(f"max_length must be an integer >= 1; got {shown(max_length)}.")
    known = [limit for limit in (positions, max_length) if limit]
    return min(known) if known else None


def _name_of(model: Any) -> str:
    return str(getattr(model, "name_or_path", "") or type(model).__name__)
