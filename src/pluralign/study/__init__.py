"""Whole experiments: recipes, the pipeline that runs them, factorial studies."""

from .pipeline import run_recipe
from .recipe import Recipe, load_recipe

__all__ = ["Recipe", "load_recipe", "run_recipe"]
