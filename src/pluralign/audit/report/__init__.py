"""The report of a run: one self-contained page, plots first."""

from .page import write_report

__all__ = ["write_report"]
