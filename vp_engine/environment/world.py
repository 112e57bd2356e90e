"""What programs can touch: the sessions of one participant, their images, and a network that delineates."""

from __future__ import annotations

from collections.abc import Sequence
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

    def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
        """Delineate several structures at once, as what other measures rest on; they are no results themselves.

        Parameters
        ----------
        image : Image
            One that `image` returned.
        structures : sequence of str
            Canonical names. Those that the weights do not know are left out of the result.
        """
        ...

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        """Say what no measure says of what a mask holds, or whether what measures say of it is right; see `judging`.

        Parameters
        ----------
        image : Image
            One that `image` returned.
        mask : Mask
            Not empty, on the image's grid.
        aspect : str
            One of `vocabulary.ASPECTS`.

        Returns
        -------
        word : str
            One of the words of the aspect, or ``yes`` and ``no`` for those that measures answer; ``unclear`` when the
            images do not tell.
        confidence : float
            Probability that the word is right, 0 to 1; 0 where nothing was learnt of it.
        """
        ...

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        """World of an image → the same anatomy in the world of another, RAS+ mm, (4, 4); rigid.

        The identity for two images of one session.

        Raises
        ------
        RequestRefused
            If the two sessions cannot be registered to each other.
        """
        ...
