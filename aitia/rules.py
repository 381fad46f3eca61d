"""What a rule of one's own is written with: the decorator, the scale of evidence, and the measurements of a run.

`engine/causes/custom.py` shows an example; every file in `engine/causes/` is one.
"""

from aitia.engine.case import Case
from aitia.engine.causes.base import DECISIVE, MODERATE, STRONG, WEAK, Weight, against, supports, symptom
from aitia.engine.causes.custom import cause

__all__ = [
    "DECISIVE",
    "MODERATE",
    "STRONG",
    "WEAK",
    "Case",
    "Weight",
    "against",
    "cause",
    "supports",
    "symptom",
]
