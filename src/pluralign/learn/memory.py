"""An estimate of the memory that a run needs, printed before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

from .config import TrainingConfig, uses_bf16


@final
@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes by use, for one process without sharding.

    Args:
        parameters: the model's weights.
        gradients: of the trainable weights.
        optimiser: two moments of the trainable weights (AdamW), float32.
        activations: what the backward pass keeps of the longest possible batch; rough.
    """

    parameters: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of all uses in bytes."""
        return self.parameters + self.gradients + self.optimiser + self.activations

    def as_dict(self) -> dict[str, int]:
        """All uses and the total, for ``run.json``."""
        return {**asdict(self), "total": self.total}

    def __str__(self) -> str:
        unit, name = (2**30, "GiB") if self.total >= 2**30 else (2**20, "MiB")
        parts = ", ".join(f"{use} {value / unit:.1f}" for use, value in asdict(self).items())
        return f"memory estimate: {self.total / unit:.1f} {name} ({parts})"


def estimate_memory(
    model: Any, config: TrainingConfig, *, responses: int, longest: int
) -> MemoryEstimate:
    """Memory of a training step.

    Of each token, a layer keeps about 12 vectors of the hidden width and 3 of the
    feed-forward width; with gradient checkpointing one vector a layer and one whole
    layer. Logits are never kept.

    Args:
        model: a transformers model.
        config: batch size, precision, checkpointing.
        responses: responses a prompt (2 for pairs).
        longest: tokens of the longest prompt plus response.
    """
    parameters = list(model.parameters())
    trainable = [p for p in parameters if p.requires_grad]
    shape = model.config.get_text_config()
    width = shape.hidden_size
    inner = getattr(shape, "intermediate_size", None) or 4 * width
    layer = 12 * width + 3 * inner
    layers = shape.num_hidden_layers
    kept = layers * width + layer if config.gradient_checkpointing else layers * layer
    tokens = config.per_device_train_batch_size * responses * longest
    return MemoryEstimate(
        parameters=sum(p.numel() * p.element_size() for p in parameters),
        gradients=sum(p.numel() * p.element_size() for p in trainable),
        optimiser=sum(8 * p.numel() for p in trainable),
        activations=tokens * kept * (2 if uses_bf16(config) else 4),
    )
