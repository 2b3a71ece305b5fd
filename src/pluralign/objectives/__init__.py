"""Formulas that training minimises: pure functions of tensors, unreduced."""

from .base import Objective, PairObjective, Terms, margin
from .dpo import DPO

__all__ = ["DPO", "Objective", "PairObjective", "Terms", "margin"]
