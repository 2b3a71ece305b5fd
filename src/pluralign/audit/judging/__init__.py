"""Which of two answers is better: judges, win rates and who is served by them."""

from .duels import Duels, Judge, Verdicts
from .judges import ModelJudge, ScorerJudge
from .rates import Rate, WinRates, win_frame, win_rates
from .sheets import read_sheet, write_sheet

__all__ = [
    "Duels",
    "Judge",
    "ModelJudge",
    "Rate",
    "ScorerJudge",
    "Verdicts",
    "WinRates",
    "read_sheet",
    "win_frame",
    "win_rates",
    "write_sheet",
]
