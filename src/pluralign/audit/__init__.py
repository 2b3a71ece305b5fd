"""Whom does a model serve: metrics of arrays, frames by group, one report."""

__all__: list[str] = []
