"""Steering experiments: prompts in, two arms at equal cost, one record and one report out."""

from .experiment import SteeringResult, run_steering
from .prompts import Asked, read_prompts
from .recipe import SteeringRecipe, load_steering
from .sampling import sample_prompts
from .sections import SamplerSection

__all__ = [
    "Asked",
    "SamplerSection",
    "SteeringRecipe",
    "SteeringResult",
    "load_steering",
    "read_prompts",
    "run_steering",
    "sample_prompts",
]
