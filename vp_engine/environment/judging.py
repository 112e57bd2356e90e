"""Questions about lesions that no measure answers: signs and image features, put together for a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.environment.values import Image, Mask, SessionInfo
from vp_engine.environment.world import World

if TYPE_CHECKING:
    from vp_engine.measure.signs import Head

WITH_CONTRAST_AGENT = "flag_contrast_agent"
"""Flag of an image that says it was taken with contrast agent."""

Answer = Callable[[str, np.ndarray], tuple[str, float]]


class Judging:
    """The numbers that a trained model looks at, of the lesions of one world; those of a head are worked out once.

    Parameters
    ----------
    world : World
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._heads: dict[tuple[SessionInfo, str], tuple[dict[str, np.ndarray], Head]] = {}
        self._last: tuple[tuple[SessionInfo, str, bytes], np.ndarray] | None = None

    def numbers(self, image: Image, mask: Mask) -> np.ndarray:
        """Signs of the lesion, then what the network sees inside it; (N,) float32.

        Parameters
        ----------
        image : Image
        mask : Mask
            Not empty, on the image's grid.
        """
        from vp_engine.measure.signs import ANATOMY, head_of, lesion_signs

        scan = image.session, image.suffix
        key = (*scan, hashlib.sha256(np.packbits(mask.data).tobytes()).digest())
        if self._last is not None and self._last[0] == key:  # one lesion is asked several questions
            return self._last[1]
        if scan not in self._heads:
            anatomy = {name: found.data for name, found in self._world.landmarks(image, ANATOMY).items()}
            self._heads = {scan: (anatomy, head_of(image.data, anatomy, image.affine))}  # of one scan: they are large
        anatomy, head = self._heads[scan]
        signs = lesion_signs(image.data, mask.data, anatomy, image.affine, head)
        found = np.concatenate([signs, self._world.features(image, mask)])
        self._last = key, found
        return found


def judged(judging: Judging, image: Image, mask: Mask, aspect: str, answer: Answer) -> tuple[str, float]:
    """Answer one of the questions of `vision.description`, where the image can show it at all.

    Enhancement shows on T1w alone. That nothing enhances can only be said when the image is known to have been taken
    with contrast agent.

    Parameters
    ----------
    judging : Judging
        Of the world that the image is from.
    image : Image
    mask : Mask
        Not empty, on the image's grid.
    aspect : str
        One of `vocabulary.ASPECTS`. ``pattern``, ``mass_effect`` and ``enhancement`` are answered; of the others it is
        told whether what measures say of the mask is right: ``yes`` or ``no``.
    answer : callable
        From question and numbers to a word and the probability that it is right.

    Returns
    -------
    word : str
        Or ``unclear``.
    probability : float
        That it is right; of ``unclear``, that of the more probable word, 0 where there is no model to say so.
    """
    if aspect == "enhancement" and image.suffix != "T1w":
        return "unclear", 0.0
    word, probability = answer(aspect, judging.numbers(image, mask))
    if aspect == "enhancement" and word == "no" and WITH_CONTRAST_AGENT not in image.flags:
        return "unclear", 0.0
    return word, probability
