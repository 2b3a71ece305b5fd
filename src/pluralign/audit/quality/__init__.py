"""What is wrong with preference data, before anything is trained on it."""

from .check import check_data
from .findings import DataAudit, Finding
from .kinds import KINDS, Kind
from .statistics import minimum_detectable_gap
from .votes import krippendorff_alpha

__all__ = [
    "KINDS",
    "DataAudit",
    "Finding",
    "Kind",
    "check_data",
    "krippendorff_alpha",
    "minimum_detectable_gap",
]
