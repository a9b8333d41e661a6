"""Columns → tensors: statistics fitted at the training cut, tables packed, torch-frame's TensorFrames taken from them.

Statistics (vocabularies, medians, scales) come from rows whose time is at most the training cut, never later. Each
column goes from Arrow to a tensor in one vectorised pass. A cell is a value, NULL, or masked: not known yet to the seed
that looks at it.
"""

from rdl.features.calendar import seasons
from rdl.features.fitting import fit
from rdl.features.packing import Features, pack
from rdl.features.statistics import Statistics

__all__ = ["Features", "Statistics", "fit", "pack", "seasons"]
