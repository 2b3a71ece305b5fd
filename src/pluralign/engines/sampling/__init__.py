"""Samplers: where candidates come from, behind one protocol."""

from .base import Candidate, Sampler, SamplingParams
from .local import Steering, TransformersSampler
from .template import PromptTemplate

__all__ = [
    "Candidate",
    "PromptTemplate",
    "Sampler",
    "SamplingParams",
    "Steering",
    "TransformersSampler",
]
