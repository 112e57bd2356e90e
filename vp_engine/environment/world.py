"""What programs can touch: the sessions of one participant, their images, and a network that delineates."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vp_engine.environment.values import Image, Mask, SessionInfo

__all__ = ["SessionInfo", "World"]


class World(Protocol):
    """Everything outside the program; `cohort` implements it on real scans, `phantom` on ellipsoids.

    Attributes
    ----------
    sessions : tuple of SessionInfo
        In time order, at least one.
    structures : frozenset of str
        Canonical names that the weights can delineate. A union need not be listed when all its parts are.
    """

    @property
    def sessions(self) -> tuple[SessionInfo, ...]: ...

    @property
    def structures(self) -> frozenset[str]: ...

    def image(self, session: SessionInfo, suffix: str) -> Image:
        """Load the best image with one of the suffixes in ``session.images``."""
        ...

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        """Delineate a supported structure.

        Parameters
        ----------
        image : Image
            One that `image` returned.
        structure : str
            Part or union of parts.
        phi : (D,) float array, optional
            Conditioning vector the language model wrote for this call; None for the network's own.
        """
        ...
