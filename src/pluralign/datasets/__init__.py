"""Readers of the field's formats, and worlds with known truth."""

from .readers import load_preferences
from .splits import train_eval_split
from .text_world import DIRECTIONS, FLIP_RATES, TextWorld, make_text_world
from .texts import LEXICON, text_attributes

__all__ = [
    "DIRECTIONS",
    "FLIP_RATES",
    "LEXICON",
    "TextWorld",
    "load_preferences",
    "make_text_world",
    "text_attributes",
    "train_eval_split",
]
