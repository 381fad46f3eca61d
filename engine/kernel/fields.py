"""What a row of statistics holds: the contract of the compiled and the numpy path."""

from __future__ import annotations

from typing import Final

FIELDS: Final = (
    "count",  # entries in all
    "mean",  # this and the following are of the finite entries; NaN without any
    "std",  # divided by n
    "min",
    "max",
    "absmax",
    "l1",  # sum of absolute values; NaN or Inf when an entry is
    "l2",  # root of the sum of squares; NaN or Inf when an entry is
    "zero_share",  # exactly 0
    "sat_share",  # below `low` or above `high`
    "nonfinite",  # count of NaN or Inf
    "nans",  # count of NaN
    "first_nonfinite",  # index of the first one in row-major order; -1 without any
    "dead_share",  # share of features that are 0 in all samples; NaN without samples
    "sample_std",  # mean over the entries of a sample of the standard deviation over samples
    "moved",  # L2 norm of what changed since `before`; NaN without it
    "changed_share",  # share of entries that changed at all
)
"""Columns of a row."""
WIDTH: Final = len(FIELDS)
AT: Final = {name: i for i, name in enumerate(FIELDS)}
"""Column of a field."""
FLAT: Final = 0
FEATURES_LAST: Final = 1
CHANNELS: Final = 2
