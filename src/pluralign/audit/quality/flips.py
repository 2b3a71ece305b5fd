"""Labels that a model believes flipped."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ...data import ScoredPairs
from ...errors import IncompatibleError
from ..noise import FlipRate, flip_posterior, from_margins
from .findings import Finding, percents
from .ledger import Ledger

_FEWEST = 2  # margins from which a rate can be estimated


def implicit_margins(scored: ScoredPairs, size: int) -> NDArray[np.float64]:
    """Logit ``(N,)`` with which the model prefers chosen.

    Raises:
        IncompatibleError: if the scores are of other pairs, or log-probabilities without beta.
    """
    if len(scored) != size:
        raise IncompatibleError(
            f"margins are of {len(scored)} pairs; the data has {size}. Score the same pairs."
        )
    if scored.kind != "reward" and scored.beta is None:
        raise IncompatibleError(
            "margins from log-probabilities need the beta that the model was tuned with; "
            "set ScoredPairs.beta."
        )
    margin = scored.chosen - scored.rejected
    if scored.ref_chosen is not None and scored.ref_rejected is not None:
        margin = margin - (scored.ref_chosen - scored.ref_rejected)
    return margin if scored.kind == "reward" else margin * float(scored.beta or 1.0)


def flip_findings(ledger: Ledger, margin: NDArray[np.float64], confidence: float) -> list[Finding]:
    """Rows whose flip posterior is above one half, at the rate estimated in their group.

    ``rho = e sigma(-z) / ((1 - e) sigma(z) + e sigma(-z))``, with the rate ``e`` of highest
    likelihood. It is right for a calibrated model only.
    """
    posterior = np.full(len(ledger), np.nan)
    rates: dict[str, FlipRate] = {}
    everyone = [("all", np.ones(len(ledger), dtype=np.bool_))]
    for name, member in ledger.members() if ledger.groups else everyone:
        used = member & np.isfinite(margin) & (ledger.label_prob != 0.5)
        if used.sum() >= _FEWEST:
            rates[name] = from_margins(margin[used], confidence=confidence, scale="fixed")
            posterior[used] = flip_posterior(margin[used], rates[name].value)
    rows = np.flatnonzero(posterior > 0.5)
    if not len(rows):
        return []
    noisiest = max(rates, key=lambda name: rates[name].value)
    rate = rates[noisiest]
    return [
        Finding(
            "flipped_by_model",
            "warning",
            f"{len(rows):,} of {int(np.isfinite(posterior).sum()):,} labels look flipped to the "
            f"model; its estimate of the flip rate is highest in {noisiest}: "
            f"{percents(rate.value, rate.low, rate.high)}.",
            len(rows),
            tuple(rows.tolist()),
            data={
                "posterior": np.round(posterior[rows], 6).tolist(),
                "rates": {name: asdict(found) for name, found in rates.items()},
                "groups": ledger.by_group(rows),
            },
        )
    ]
