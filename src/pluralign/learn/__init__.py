"""Training loops, one file for each host framework."""

__all__: list[str] = []
