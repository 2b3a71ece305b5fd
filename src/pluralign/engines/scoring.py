"""Rewards of finished texts: our reward model, and any sequence classifier."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from ..errors import DataError, ParameterError
from ..rules import Within, nearest, shown
from ..scores import TokenBatch
from .hosts import bodies_of, core_of, scoring_mode
from .layout import Inputs, Side, whole_rows
from .projection import run_body

_HEAD, _CONFIG, _BODY = "reward_head.safetensors", "reward_config.json", "body"


@final
class RewardModel(nn.Module):
    """A transformer body with a linear head without bias at the last token of a text.

    Use it to learn rewards from preferences. Several outputs give one reward for each
    attribute. Rewards do not depend on batch size or padding; while gradients are off
    they are computed in evaluation mode.

    ``R_a(x, y) = offset_a + scale_a * w_a . h(x ++ y)_last``

    Args:
        body: a causal transformers model whose output has ``last_hidden_state``.
        names: names of the A outputs, unique.
        padding_side: where shorter texts of a batch are padded; rewards do not depend on it.
        offset: what an output is when its head gives 0, by name; 0 where not named. Take the
            mean of the ratings that are to be learned.
        scale: spread of an output, > 0, by name; 1 where not named. Take their standard
            deviation: the head then learns from 0 and 1 whatever scale raters used.

    Raises:
        ParameterError: for names that are empty or not unique, or an offset or scale of
            another name, or out of range.

    Example:
        >>> from transformers import LlamaConfig, LlamaModel
        >>> tiny = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1)
        >>> body = LlamaModel(LlamaConfig(vocab_size=32, num_attention_heads=2, **tiny))
        >>> model = RewardModel(body, names=("helpful", "harmless"))
        >>> batch = TokenBatch(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([[2, 1, 2]]))
        >>> tuple(model.rewards(batch).shape)
        (1, 2, 2)

    References:
        Ivison et al., 2024, arXiv 2406.09279 (head, initialisation, position).
    """

    def __init__(
        self,
        body: nn.Module,
        names: Sequence[str] = ("reward",),
        *,
        padding_side: Side = "right",
        offset: Mapping[str, float] | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        if not self.names or not all(self.names) or len(set(self.names)) < len(self.names):
            raise ParameterError(
                f"RewardModel.names must be unique non-empty names; got {shown(self.names)}."
            )
        config: Any = body.config
        text = config.get_text_config()
        self.body: Any = body
        self.padding_side: Side = padding_side
        first = next(body.parameters())
        self.head = nn.Linear(text.hidden_size, len(self.names), bias=False, device=first.device)
        nn.init.normal_(self.head.weight, 0.0, getattr(text, "initializer_range", 0.02))
        # Not in the state dict, so that checkpoints from before they were there load.
        offsets = _by_name("offset", offset or {}, self.names, 0.0, Within())
        scales = _by_name("scale", scale or {}, self.names, 1.0, Within(0.0, closed="neither"))
        self.register_buffer("offset", offsets.to(first.device), persistent=False)
        self.register_buffer("scale", scales.to(first.device), persistent=False)

    @classmethod
    def from_causal(
        cls,
        model: nn.Module,
        names: Sequence[str] = ("reward",),
        *,
        share: bool = False,
        offset: Mapping[str, float] | None = None,
        scale: Mapping[str, float] | None = None,
    ) -> RewardModel:
        """A reward model whose body starts from a causal language model's.

        Args:
            model: for example the model after supervised tuning.
            names: names of the outputs.
            share: use the body itself, so that training changes ``model`` too, instead
                of a copy.
            offset: as for the class.
            scale: as for the class.
        """
        body = bodies_of(core_of(model))[0]
        return cls(body if share else copy.deepcopy(body), names, offset=offset, scale=scale)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Rewards float32 ``(B, K, A)``, differentiable."""
        device = self.head.weight.device
        inputs, last = whole_rows(batch, padding_side=self.padding_side)
        if self.padding_side == "right":  # a causal body never sees what comes after
            inputs = inputs._replace(mask=None)
        with scoring_mode(self):
            hidden = run_body(self.body, inputs.to(device)).last_hidden_state
        at_end = hidden[torch.arange(len(last), device=device), last.to(device)]
        rewards = nn.functional.linear(at_end.float(), self.head.weight.float())
        offset, scale = (part.to(device) for part in self.scaling())
        return (offset + scale * rewards).view(len(batch.lengths), -1, len(self.names))

    def scaling(self) -> tuple[Tensor, Tensor]:
        """Offset and scale of the outputs, float32 ``(A,)`` each."""
        offset: Any = self.offset
        scale: Any = self.scale
        return offset, scale

    def rewards(self, batch: TokenBatch) -> Tensor:
        """Rewards float32 ``(B, K, A)``, differentiable; the same as calling the model."""
        return self(batch)

    def save(self, directory: str | Path) -> None:
        """Write body, head and names; no pickles."""
        from safetensors.torch import save_file

        directory = Path(directory)
        self.body.save_pretrained(directory / _BODY)
        save_file({"weight": self.head.weight.detach().cpu().contiguous()}, directory / _HEAD)
        parts = zip(("offset", "scale"), self.scaling(), strict=True)
        scaling = {part: dict(zip(self.names, v.tolist(), strict=True)) for part, v in parts}
        text = json.dumps({"names": list(self.names), **scaling}, indent=2)
        (directory / _CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> RewardModel:
        """Read what :meth:`save` wrote, in the dtype it was saved in.

        Raises:
            DataError: if the directory holds no reward model.
        """
        from safetensors.torch import load_file
        from transformers import AutoModel

        directory = Path(directory)
        if not (directory / _CONFIG).is_file():
            raise DataError(f"no {_CONFIG} here; name a saved reward model.", source=str(directory))
        config = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
        body = AutoModel.from_pretrained(directory / _BODY, dtype="auto")
        scaling = {part: config.get(part) for part in ("offset", "scale")}
        model = cls(body, config["names"], **scaling)
        weight = load_file(directory / _HEAD)["weight"]
        model.head.to(weight.dtype).load_state_dict({"weight": weight})
        return model


def _by_name(
    part: str, given: Mapping[str, float], names: Sequence[str], usual: float, rule: Within
) -> Tensor:
    for name, value in given.items():
        if name not in names:
            raise ParameterError(f"RewardModel.{part} names {name!r}; {nearest(name, names)}")
        if not rule.admits(value):
            raise ParameterError(
                f"RewardModel.{part}[{name!r}] must be {rule.wants()}; got {shown(value)}."
            )
    return torch.tensor([given.get(name, usual) for name in names], dtype=torch.float32)


@torch.no_grad()
def score_with(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Rewards of a transformers sequence classifier (``AutoModelForSequenceClassification``).

    Use it for published reward models. The model's own forward decides which token it
    reads; a model without padding token is asked row by row.

    Args:
        model: the classifier.
        batch: B prompts with K responses each, tokenised for this model.

    Returns:
        Its logits, float32 ``(B, K, A)``, without gradient, in evaluation mode.

    Raises:
        DataError: naming the rows with an empty response.
    """
    host: Any = model
    pad = host.config.get_text_config().pad_token_id
    inputs, last = whole_rows(batch, 0 if pad is None else pad)
    parts = (
        [slice(0, len(last))] if pad is not None else [slice(i, i + 1) for i in range(len(last))]
    )
    with scoring_mode(model):
        found = [_classify(host, inputs, rows, int(last[rows].max()) + 1) for rows in parts]
    return torch.cat(found).float().view(len(batch.lengths), batch.lengths.shape[1] - 1, -1)


def _classify(host: Any, inputs: Inputs, rows: slice, width: int) -> Tensor:
    mask = inputs.ids if inputs.mask is None else inputs.mask
    return host(
        input_ids=inputs.ids[rows, :width].to(host.device),
        attention_mask=mask[rows, :width].to(host.device).long(),
    ).logits
