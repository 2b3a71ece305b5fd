"""The studio: a local page where a person turns a direction, a budget, a weight; whom it serves."""

from .candidates import Asked, Candidates, read_candidates
from .records import Records, read_records
from .server import serve
from .turning import Ranked, Served, profile, ranked, served

__all__ = [
    "Asked",
    "Candidates",
    "Ranked",
    "Records",
    "Served",
    "profile",
    "ranked",
    "read_candidates",
    "read_records",
    "serve",
    "served",
]
