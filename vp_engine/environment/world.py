"""What programs can touch: the sessions of one participant, their images, and a network that delineates."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vp_engine.environment.values import Image, Mask, SessionInfo

__all__ = ["SessionInfo", "World"]


class World(Protocol):
    """Everything outside the program; `cohort` implements it on real scans, `phantom` on ellipsoids."""

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """In time order, at least one."""
        ...

    @property
    def structures(self) -> frozenset[str]:
        """Canonical names that the weights can delineate; a union need not be listed when all its parts are."""
        ...

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

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        """Pool what the network sees of an image inside a mask on the image's grid; (C,) float32.

        All 0 when there is nothing to see: an empty mask, or a world without a network.
        """
        ...
