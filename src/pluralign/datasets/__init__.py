"""Readers of the field's formats, and worlds with known truth."""

__all__: list[str] = []
