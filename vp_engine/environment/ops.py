"""The registry of all ops: one source for the agent's grammar, the reference page and the walker."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vp_engine.environment import (
    ops_images,
    ops_lesions,
    ops_longitudinal,
    ops_masks,
    ops_numbers,
    ops_places,
    ops_regions,
    ops_results,
)
from vp_engine.environment.registry import Op, Parameter, op_of

__all__ = ["OPS", "Op", "Parameter"]

_FUNCTIONS = (
    *ops_images.FUNCTIONS,
    *ops_regions.FUNCTIONS,
    *ops_masks.FUNCTIONS,
    *ops_lesions.FUNCTIONS,
    *ops_places.FUNCTIONS,
    *ops_longitudinal.FUNCTIONS,
    *ops_numbers.FUNCTIONS,
    *ops_results.FUNCTIONS,
)

OPS: Mapping[str, Op] = MappingProxyType({function.__name__: op_of(function) for function in _FUNCTIONS})
"""Every op of the language by name."""
