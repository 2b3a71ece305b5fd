"""The report of a run: one self-contained page, plots first."""

from .collection import write_collection_report
from .decision import write_decision_report
from .drivers import write_drivers_report
from .groups import write_groups_report
from .page import write_report
from .steering import write_steering_report

__all__ = [
    "write_collection_report",
    "write_decision_report",
    "write_drivers_report",
    "write_groups_report",
    "write_report",
    "write_steering_report",
]
