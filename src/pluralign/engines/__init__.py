"""The only place that touches a host framework's model."""

from .head import token_logprobs
from .logit_shape import LogitShape
from .logprobs import LogProbs, SequenceScores
from .reference import ReferenceCache, ReferenceKey, reference_key
from .scoring import RewardModel, score_with

__all__ = [
    "LogProbs",
    "LogitShape",
    "ReferenceCache",
    "ReferenceKey",
    "RewardModel",
    "SequenceScores",
    "reference_key",
    "score_with",
    "token_logprobs",
]
