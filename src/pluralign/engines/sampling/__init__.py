"""Samplers: where candidates come from, behind one protocol."""

from .base import Candidate, Sampler, SamplingParams
from .local import Steering, TransformersSampler
from .ray_data import RaySampler
from .registry import find_sampler, sampler_names
from .scripted import ScriptedSampler
from .server import ServerSampler
from .template import PromptTemplate
from .vllm_engine import VLLMSampler

__all__ = [
    "Candidate",
    "PromptTemplate",
    "RaySampler",
    "Sampler",
    "SamplingParams",
    "ScriptedSampler",
    "ServerSampler",
    "Steering",
    "TransformersSampler",
    "VLLMSampler",
    "find_sampler",
    "sampler_names",
]
