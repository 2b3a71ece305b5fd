"""The only place that touches a host framework's model."""

__all__: list[str] = []
