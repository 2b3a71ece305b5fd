"""The formats in which the field's preference sets are stored, one table of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from .annotations import ALPACA_FARM, CROSS_ANNOTATIONS, PANDALM
from .helpsteer import HELPSTEER, HELPSTEER2, HELPSTEER2_PREFERENCE
from .judges import ALPACA_EVAL, LLMBAR
from .raters import DICES, MULTIPICO, PRISM
from .shp import SHP
from .spec import Format
from .transcripts import HH_RLHF
from .ultrafeedback import ULTRAFEEDBACK, ULTRAFEEDBACK_BINARIZED

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        one.name: one
        for one in (
            HH_RLHF,
            ULTRAFEEDBACK,
            ULTRAFEEDBACK_BINARIZED,
            HELPSTEER,
            HELPSTEER2,
            HELPSTEER2_PREFERENCE,
            SHP,
            ALPACA_FARM,
            CROSS_ANNOTATIONS,
            PRISM,
            DICES,
            PANDALM,
            LLMBAR,
            MULTIPICO,
            ALPACA_EVAL,
        )
    }
)
"""Every format by the name that ``load_preferences(..., format=...)`` takes."""


def recognised(columns: Iterable[object]) -> Format | None:
    """The format that a row's columns tell safely, if there is one."""
    names = set(columns)
    fitting = [one for one in FORMATS.values() if one.told_by(names)]
    return fitting[0] if len(fitting) == 1 else None
