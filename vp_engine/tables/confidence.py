"""How a `qc_score` is to be read, wherever one is shown."""

from __future__ import annotations

LOOK_BELOW = 0.7
"""Delineations with a lower `qc_score` are to be looked at.

On scans that neither the network nor the score had seen, these were 94 % of all with a Dice below 0.6, and 21 % of the
others (docs/user-guide.md, "How far to trust a mask"). The op `quality` asks something else: whether the Dice to be
expected is below 0.6.
"""
