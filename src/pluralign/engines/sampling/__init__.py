"""Samplers: where candidates come from, behind one protocol."""

from .base import Candidate, Sampler, SamplingParams
from .template import PromptTemplate

__all__ = ["Candidate", "PromptTemplate", "Sampler", "SamplingParams"]
