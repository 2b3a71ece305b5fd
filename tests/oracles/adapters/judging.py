"""Win rates from counts."""

import numpy as np

from adapters import adapter
from pluralign.audit.judging import Duels, Verdicts, win_rates


@adapter(
    inputs={"wins", "losses", "ties"},
    expected_any={"rate_all", "rate_no_ties", "rate_half_ties", "z_sign"},
)
def rates_of_counts(inputs):
    counts = zip(inputs["wins"], inputs["losses"], inputs["ties"], strict=True)
    found = [rates(*count) for count in counts]
    return {
        "rate_all": [one.all.value for one in found],
        "rate_no_ties": [one.no_ties.value for one in found],
        "rate_half_ties": [one.half_ties.value for one in found],
        "z_sign": [one.z for one in found],
    }


def rates(wins, losses, ties):
    said = np.repeat([1.0, 0.0, 0.5], [wins, losses, ties])
    texts = [str(i) for i in range(len(said))]
    duels = Duels(texts, a=["x"] * len(said), b=["y"] * len(said))
    return win_rates(duels, Verdicts(said, [""] * len(said), "counts"), n_bootstrap=100)
