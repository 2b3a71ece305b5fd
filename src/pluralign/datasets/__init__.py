"""Readers of the field's formats, and worlds with known truth."""

from .formats import FORMATS
from .readers import iter_preferences, load_preferences
from .sources import file_hash
from .splits import train_eval_split
from .text_world import DIRECTIONS, FLIP_RATES, TextWorld, make_text_world
from .texts import LEXICON, text_attributes
from .trl import to_trl

__all__ = [
    "DIRECTIONS",
    "FLIP_RATES",
    "FORMATS",
    "LEXICON",
    "TextWorld",
    "file_hash",
    "iter_preferences",
    "load_preferences",
    "make_text_world",
    "text_attributes",
    "to_trl",
    "train_eval_split",
]
