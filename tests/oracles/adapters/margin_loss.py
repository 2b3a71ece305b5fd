"""Any listed pair objective on a batch: ``{"objective": "X", "options": {...}, "chosen": [...]}``.

Every other input is a field of ``PairScores``. Serves new losses without a line of test code.
"""

import torch

import pluralign.objectives
from adapters import adapter
from pluralign import PairScores


@adapter(inputs={"objective", "options", "chosen", "rejected"}, expected_any={"loss", "gradient"})
def margin_loss(inputs):
    tensors = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in inputs.items()
        if name in PairScores._fields and name != "kind"
    }
    tensors["chosen"].requires_grad_()
    objective = getattr(pluralign.objectives, inputs["objective"])(**inputs["options"])
    terms = objective(PairScores(**tensors))
    (gradient,) = torch.autograd.grad(terms.loss.sum(), tensors["chosen"])
    return {"loss": terms.loss, "gradient": gradient, **terms.metrics}
