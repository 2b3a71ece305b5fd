"""Vectors of any objective: its name, its options and the columns of ``PairScores``."""

import torch

from adapters import adapter
from pluralign import PairScores, objectives


@adapter(inputs={"objective", "options", "chosen", "rejected"}, expected_any={"loss", "metrics"})
def named_objective(inputs):
    columns = {
        name: torch.tensor(inputs[name], dtype=None if "length" in name else torch.float64)
        for name in PairScores._fields
        if inputs.get(name) is not None and name != "kind"
    }
    objective = getattr(objectives, inputs["objective"])(**inputs["options"])
    terms = objective(PairScores(**columns, kind=inputs.get("kind", "logprob")))
    return {"loss": terms.loss, "metrics": terms.metrics}
