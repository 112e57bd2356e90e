"""Questions about lesions that no measure answers: signs and image features, put together for a trained model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vp_engine.environment.values import Image, Mask
from vp_engine.environment.world import World

WITH_CONTRAST_AGENT = "flag_contrast_agent"
"""Flag of an image that says it was taken with contrast agent."""

Answer = Callable[[str, np.ndarray], tuple[str, float]]


def lesion_numbers(world: World, image: Image, mask: Mask) -> np.ndarray:
    """Everything a trained model looks at: signs of the lesion, then what the network sees inside it; float32.

    Parameters
    ----------
    world : World
    image : Image
    mask : Mask
        Not empty, on the image's grid.
    """
    from vp_engine.measure.signs import ANATOMY, lesion_signs

    anatomy = {name: found.data for name, found in world.landmarks(image, ANATOMY).items()}
    signs = lesion_signs(image.data, mask.data, anatomy, image.affine)
    return np.concatenate([signs, world.features(image, mask)])


def judged(world: World, image: Image, mask: Mask, aspect: str, answer: Answer) -> tuple[str, float]:
    """Answer one of the questions of `vision.description`, where the image can show it at all.

    Enhancement shows on T1w alone. That nothing enhances can only be said when the image is known to have been taken
    with contrast agent.

    Parameters
    ----------
    world : World
    image : Image
    mask : Mask
        Not empty, on the image's grid.
    aspect : str
        ``pattern``, ``mass_effect`` or ``enhancement``.
    answer : callable
        From question and numbers to a word and the probability that it is right.
    """
    if aspect == "enhancement" and image.suffix != "T1w":
        return "unclear", 0.0
    word, probability = answer(aspect, lesion_numbers(world, image, mask))
    if aspect == "enhancement" and word == "no" and WITH_CONTRAST_AGENT not in image.flags:
        return "unclear", 0.0
    return word, probability
