"""Layers that torch does not have; torch only."""

from .domain_heads import DomainHeads
from .ghost_norm import (
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    GhostBatchNorm3d,
    convert_ghost_norm,
    revert_ghost_norm,
)
from .recalibration import recalibrate, stale_share

__all__ = [
    "DomainHeads",
    "GhostBatchNorm1d",
    "GhostBatchNorm2d",
    "GhostBatchNorm3d",
    "convert_ghost_norm",
    "recalibrate",
    "revert_ghost_norm",
    "stale_share",
]
