"""A text encoder of transformers as one module: from token ids to a vector for each text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ..errors import DataError, IncompatibleError, ParameterError
from ..rules import OneOf, shown

Pooling = Literal["mean", "first", "last"]

_POOLING = OneOf("mean", "first", "last")


@final
class TextEncoder(nn.Module):
    """Pools the last hidden states of a transformers body: features for heads of domains.

    Use it below ``nn.DomainHeads`` in training (``heads(encoder(tokens))``), and as the encoder of
    ``steer.domain_sessions.DomainSession``. Padding has no influence on the features.

    Args:
        body: a transformers model that returns ``last_hidden_state``, such as of ``AutoModel``.
        pooling: ``"mean"`` over the tokens of a text, its ``"first"`` token (BERT's CLS) or its
            ``"last"`` (decoders).

    Raises:
        ParameterError: for an unknown pooling.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> body = BertModel(BertConfig(vocab_size=20, intermediate_size=16, **size))
        >>> tokens = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3)}
        >>> tuple(TextEncoder(body)(tokens).shape)
        (1, 8)
    """

    def __init__(self, body: nn.Module, pooling: Pooling = "mean") -> None:
        super().__init__()
        if not _POOLING.admits(pooling):
            raise ParameterError(
                f"TextEncoder.pooling must be {_POOLING.wants()}; got {shown(pooling)}."
            )
        self.body, self.pooling = body, pooling

    @property
    def width(self) -> int:
        """Size d of the features."""
        config: Any = self.body.config
        return int(config.get_text_config().hidden_size)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features ``(N, d)`` of a tokenizer's output: ``input_ids`` and ``attention_mask``.

        Raises:
            DataError: for a text without a token.
            IncompatibleError: for a body that returns no ``last_hidden_state``.
        """
        found: Any = self.body(**inputs)
        states: Tensor | None = getattr(found, "last_hidden_state", None)
        if states is None:
            raise IncompatibleError(
                f"{type(self.body).__name__} returns no last_hidden_state; give the body of the "
                "model (AutoModel), not one with a head."
            )
        given = inputs.get("attention_mask")
        mask = torch.ones(states.shape[:2], device=states.device) if given is None else given
        mask = mask.to(states.dtype)
        counts = mask.sum(1)
        if bool((counts == 0).any()):
            row = int((counts == 0).nonzero()[0])
            raise DataError(f"text {row} has no token.", rows=[row])
        if self.pooling == "mean":
            return (states * mask[..., None]).sum(1) / counts[:, None]
        rows = torch.arange(len(states), device=states.device)
        first = mask.argmax(1)
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        return states[rows, first if self.pooling == "first" else last]
