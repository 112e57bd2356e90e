"""What one prompt's programs can touch: real scans of one participant, delineated by the vision network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import numpy as np

from vp_engine.anatomy import STRUCTURES
from vp_engine.cohort.choice import Choice, PlannedScan
from vp_engine.cohort.scans import Delineation, Scans, boxed
from vp_engine.cohort.streams import Pair
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.judging import Judging, judged
from vp_engine.environment.omega import Environment
from vp_engine.environment.values import Image, Mask, SessionInfo
from vp_engine.errors import RequestRefused

PHI_DISAGREES = "phi_disagrees"
"""Code of a refusal that is a fault of the model, not of the request."""

NOT_ALIGNED = "not_aligned"
"""Code of a refusal to follow something between two sessions that could not be registered to each other."""

ANONYMOUS_BASELINE = date(1900, 1, 1)
"""Where the calendar of a participant starts when only days since baseline are known; BIDS has dates before 1925
stand for shifted ones, and only differences are ever used."""


class CohortWorld:
    """A `World` over the scans chosen for one planned prompt.

    Parameters
    ----------
    choices : sequence of Choice
        One scan per session and suffix, sessions in time order.
    scans : Scans
        Shared by all prompts of the participant.
    agrees : callable, optional
        Whether a conditioning vector stands for a structure. With it, a vector that disagrees with the structure the
        program names is refused.

    Attributes
    ----------
    delineated : dict
        (path of the scan, structure) → its choice, for everything delineated so far; `CohortEnvironment` takes out
        again what a program delineated that failed.
    aligned_pairs : list of Pair
        Images of two sessions that were registered for the programs, in order, whether that worked or not.
    """

    def __init__(
        self, choices: Sequence[Choice], scans: Scans, *, agrees: Callable[[np.ndarray, str], bool] | None = None
    ) -> None:
        self._scans = scans
        self._agrees = agrees
        self._choices = {(choice.scan.session, choice.scan.suffix): choice for choice in choices}
        self._sessions = _sessions(choices)
        self._judging = Judging(self)
        self.delineated: dict[tuple[str, str], Choice] = {}
        self.aligned_pairs: list[Pair] = []

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """In time order."""
        return self._sessions

    @property
    def structures(self) -> frozenset[str]:
        """Canonical names the weights can delineate."""
        return frozenset(name for name in STRUCTURES if self._scans.can(name))

    def choice(self, session: SessionInfo, suffix: str) -> Choice:
        """The scan of a session with this suffix.

        Raises
        ------
        RequestRefused
            If the session has none that the prompt may use.
        """
        choice = self._choices.get((session.label, suffix))
        if choice is None:
            raise RequestRefused(
                f"Expected {suffix} in session {session.label or '(the only one)'}, "
                f"which has {', '.join(session.images) or 'no image'}; "
                "name one that is there, or leave the contrast out.",
                code="missing_image",
            )
        return choice

    def image(self, session: SessionInfo, suffix: str) -> Image:
        """The scan of a session with this suffix.

        Raises
        ------
        RequestRefused
            If the session has none that the prompt may use.
        InputRefused
            If the gate refuses the file.
        """
        choice = self.choice(session, suffix)
        volume = self._scans.volume(choice.scan.path)
        return Image(
            session=session,
            suffix=suffix,
            data=volume.data,
            affine=volume.affine,
            lateralised=volume.lateralised,
            flags=tuple(sorted({*volume.flags, *choice.flags})),
        )

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        """Delineate a structure on an image of this world.

        Raises
        ------
        RequestRefused
            If the weights do not know it, or if `phi` stands for something else.
        """
        if phi is not None and self._agrees is not None and not self._agrees(phi, structure):
            raise RequestRefused(
                f"The program names {structure}, but the vector the agent wrote with it stands for something else; "
                "ask in other words.",
                code=PHI_DISAGREES,
            )
        choice = self.choice(image.session, image.suffix)
        found = self._scans.delineation(choice.scan.path, structure)
        self.delineated[choice.scan.path, structure] = choice
        flags = (*found.flags, *self._scans.left_out(choice.scan.path))
        return Mask(image=image, structure=structure, data=found.full(), qc_score=found.qc_score, flags=flags)

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        """What the network sees of an image of this world inside a mask on its grid, pooled; (C,) float32."""
        return self._scans.features(self.choice(image.session, image.suffix).scan.path, mask.data)

    def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
        """Delineate several structures with one pass of the network, without taking them as results."""
        path = self.choice(image.session, image.suffix).scan.path
        known = [name for name in structures if self._scans.can(name)]
        self._scans.want(path, known)
        found = {name: self._scans.delineation(path, name) for name in known}
        return {
            name: Mask(image=image, structure=name, data=one.full(), qc_score=one.qc_score, flags=one.flags)
            for name, one in found.items()
        }

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        """Ask the model that was fitted to the network; ``unclear`` where it is not sure or there is none."""
        return judged(self._judging, image, mask, aspect, self._scans.segmenter.answer)

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        """World of an image of this world → world of another, RAS+ mm, (4, 4); rigid, the identity in one session.

        Raises
        ------
        RequestRefused
            If the two sessions cannot be registered to each other.
        """
        if image.session == to.session:
            return np.eye(4)
        order = [self._sessions.index(one.session) for one in (image, to)]
        scan, other = (self.choice(one.session, one.suffix).scan for one in (image, to))
        pair = self._scans.between(*((scan, other) if order[0] < order[1] else (other, scan)))
        if all((pair.fixed, pair.moving) != (kept.fixed, kept.moving) for kept in self.aligned_pairs):
            self.aligned_pairs.append(pair)
        if not pair.registration.accepted:
            from vp_engine.volumes.registration import REASONS  # loaded by now

            why = "; ".join(REASONS[reason] for reason in pair.registration.reasons)
            raise RequestRefused(
                f"Expected the {pair.fixed.suffix} image of session {pair.fixed.session} and the "
                f"{pair.moving.suffix} image of session {pair.moving.session} to show one head in two positions, and "
                f"they could not be aligned ({why}); ask for the volumes of each session, or name another contrast.",
                code=NOT_ALIGNED,
            )
        return pair.leading_from(scan)

    def regions(self, saved: Iterable[Mask]) -> dict[tuple[str, str], Delineation]:
        """Regions among masks that were saved: (path of the scan, name) → where it is."""
        return {
            (self.choice(mask.image.session, mask.image.suffix).scan.path, mask.structure): boxed(
                mask.data, mask.qc_score, mask.flags
            )
            for mask in saved
            if mask.is_region
        }


class CohortEnvironment(Environment):
    """Forgets what a piece of code delineated when it ends in an error, as its results are forgotten.

    Parameters
    ----------
    world : CohortWorld
    clock : callable
        Seconds, for the time budget.
    """

    def __init__(self, world: CohortWorld, *, clock: Callable[[], float]) -> None:
        super().__init__(world, clock=clock)
        self._delineated = world.delineated

    def run(self, instruction: Instruction) -> Observation:
        """Check one piece of code and run it, as `Environment.run` does."""
        before = dict(self._delineated)
        observation = super().run(instruction)
        if observation.status not in ("ok", "done"):
            self._delineated.clear()
            self._delineated.update(before)
        return observation


def _sessions(choices: Sequence[Choice]) -> tuple[SessionInfo, ...]:
    by_label: dict[str | None, list[PlannedScan]] = {}
    for choice in choices:
        by_label.setdefault(choice.scan.session, []).append(choice.scan)
    by_days = any(_date(scans[0].acquired) is None for scans in by_label.values())
    return tuple(
        SessionInfo(
            label=label,
            acquired=_shifted(scans[0].days) if by_days else _date(scans[0].acquired),
            images=tuple(scan.suffix for scan in scans),
        )
        for label, scans in by_label.items()
    )


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        return None  # not a date; the walk of the dataset reports it


def _shifted(days: float | None) -> date | None:
    return None if days is None else ANONYMOUS_BASELINE + timedelta(days=days)
