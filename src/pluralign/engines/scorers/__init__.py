"""Scorers: what a response is worth in each attribute, behind one protocol."""

from .base import Item, Scorer, Scores
from .combining import Ensemble, Joined, Scaled
from .formatting import FormatChecks
from .length import Length
from .readability import Readability
from .relevance import Relevance
from .reward import ClassifierScorer, RewardScorer
from .scripted import ScriptedScorer
from .sentiment import Sentiment

__all__ = [
    "ClassifierScorer",
    "Ensemble",
    "FormatChecks",
    "Item",
    "Joined",
    "Length",
    "Readability",
    "Relevance",
    "RewardScorer",
    "Scaled",
    "Scorer",
    "Scores",
    "ScriptedScorer",
    "Sentiment",
]
