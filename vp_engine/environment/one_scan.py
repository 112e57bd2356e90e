"""A world with one scan whose structures are known: what a program would say of a lesion there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vp_engine.anatomy import PARTS, STRUCTURES
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.judging import WITH_CONTRAST_AGENT, Answer, Judging, judged
from vp_engine.environment.omega import Environment
from vp_engine.environment.values import FEATURES, Image, Mask, SessionInfo, Text
from vp_engine.volumes.volume import Volume

_PROGRAM = 'img = scan(current)\nreport(describe(img, {mask}, "{aspect}"))\n'
_ALL = 'segment(img, "lesion")'
_LARGEST = f"largest({_ALL})"

Found = Callable[[str], NDArray[np.bool_]]
Features = Callable[[NDArray[np.bool_]], NDArray[np.float32]]


def found_in(labels: NDArray[np.int64]) -> Found:
    """Structures of a map, (X, Y, Z): 0 for background, 1 + position in `anatomy.PARTS` otherwise."""
    return lambda name: np.isin(labels, [1 + PARTS.index(part) for part in STRUCTURES[name].parts])


def found_among(masks: Mapping[str, NDArray[np.bool_]]) -> Found:
    """Structures whose parts are masks of one shape; parts without a mask are empty."""

    def found(name: str) -> NDArray[np.bool_]:
        parts = [masks[part] for part in STRUCTURES[name].parts if part in masks]
        together: NDArray[np.bool_] = np.logical_or.reduce(parts or [np.zeros_like(next(iter(masks.values())))])
        return together

    return found


def _nothing_seen(_mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.zeros(FEATURES, np.float32)


def _nothing_learnt(_question: str, _numbers: np.ndarray) -> tuple[str, float]:
    return "unclear", 0.0


class OneScan:
    """One scan, as a `World`.

    Parameters
    ----------
    volume : Volume
    suffix : str
        BIDS suffix of its contrast.
    found : callable
        Where a structure is, by its canonical name.
    features : callable, optional
        What the network sees inside a mask.
    answer : callable, optional
        As `judging.judged` takes it; nothing was learnt where there is none.
    contrast_agent : bool
        Whether it is said that there was contrast agent.
    """

    structures = frozenset(PARTS)

    def __init__(
        self,
        volume: Volume,
        suffix: str,
        found: Found,
        *,
        features: Features = _nothing_seen,
        answer: Answer = _nothing_learnt,
        contrast_agent: bool = False,
    ) -> None:
        self._session = SessionInfo(None, None, (suffix,))
        self._volume = volume
        self._found = found
        self._features = features
        self._answer = answer
        self._flags = (WITH_CONTRAST_AGENT,) if contrast_agent else ()
        self._judging = Judging(self)

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """The only one."""
        return (self._session,)

    def image(self, session: SessionInfo, suffix: str) -> Image:
        """Return the scan."""
        return Image(session, suffix, self._volume.data, self._volume.affine, flags=self._flags)

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        """Return a structure where it is known to be; `phi` changes nothing."""
        del phi
        return Mask(image, structure, self._found(structure))

    def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
        """Return several structures."""
        return {name: self.segment(image, name) for name in structures}

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        """What the network sees, (C,) float32."""
        del image
        return self._features(mask.data)

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        """Ask the model."""
        return judged(self._judging, image, mask, aspect, self._answer)

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        """Nothing but one scan: the identity, (4, 4)."""
        del image, to
        return np.eye(4)


def said_of_lesions(world: OneScan, aspect: str) -> Text:
    """What a program says of the largest lesion of a world; of all of them for ``number``.

    The word is the code of the refusal where the program is refused.
    """
    environment = Environment(world)
    code = _PROGRAM.format(mask=_ALL if aspect == "number" else _LARGEST, aspect=aspect)
    observation = environment.run(Instruction(code))
    if observation.status != "done":
        return Text(observation.code or "unclear", measure=aspect)
    (said,) = environment.reported
    if not isinstance(said, Text):
        raise TypeError(f"expected a word from describe, got {type(said).__name__}")
    return said
