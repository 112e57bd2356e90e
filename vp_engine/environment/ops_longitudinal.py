"""Ops that follow lesions from one session to another: what is new, gone, grown, shrunk or stable.

The pieces of both masks are matched on the grid of the later one, to which the earlier ones are carried by the rigid
motion between the sessions. What is measured, is measured on the grid of each mask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vp_engine.environment.grids import all_flags, lowest_score
from vp_engine.environment.misuse import Misuse
from vp_engine.environment.ops_lesions import MAX_PIECES
from vp_engine.environment.ops_numbers import annual_rate, change, percent_change
from vp_engine.environment.ops_results import report
from vp_engine.environment.regions import not_found, region
from vp_engine.environment.registry import Context, Fate
from vp_engine.environment.values import Mask, Number, Text
from vp_engine.environment.vocabulary import FATES, REASONS
from vp_engine.errors import RequestRefused

if TYPE_CHECKING:
    from vp_engine.measure.following import Lesion

OUTSIDE_OTHER_SESSION = "outside_other_session"
"""Flag: a part of a mask lies where the other session has no image, and was left out."""


def changed(context: Context, earlier: Mask, later: Mask, fate: Fate) -> Mask:
    """Take the pieces of a mask by what became of them between two sessions, such as new lesions: ``x_new``.

    The sessions are aligned rigidly. Pieces that overlap, or come within 1 mm, are one lesion, be it that it split or
    that several merged. It is ``grown`` or ``shrunk`` when its volume changed by more than 25 % and by more than a
    shift of its surface by half a voxel explains, else ``stable``; ``new`` and ``gone`` when one session has
    nothing there. Gone pieces lie on the image of the earlier mask, all others on that of the later one. What lies
    where the other session has no image is left out and flagged ``outside_other_session``.

    Parameters
    ----------
    earlier, later : Mask
        The same structure or region in two sessions.
    fate : Fate
        One of ``new``, ``gone``, ``grown``, ``shrunk``, ``stable``.

    Raises
    ------
    RequestRefused
        If there is one session only, or the two cannot be aligned.
    """
    found = _matched(context, earlier, later)
    mask, other = (earlier, later) if fate == "gone" else (later, earlier)
    numbers = found.earlier if fate == "gone" else found.later
    wanted = [n for lesion in found.lesions if lesion.fate == fate for n in _numbers(lesion, fate)]
    flags = all_flags(found.flags, other.image.flags)
    return region(f"{mask.structure}_{fate}", np.isin(numbers, wanted), mask, other, flags=flags)


def follow(context: Context, earlier: Mask, later: Mask) -> None:
    """Write what became of each piece of a mask, such as each lesion, between two sessions, as rows.

    Lesions are matched as in `changed` and numbered across both sessions by the larger of their volumes: ``x_001``,
    ``x_002``, ... Each has its ``volume`` in both sessions (0 where it is not), ``change``, ``percent_change`` and,
    when the dates are known, ``annual_rate`` of the volume, and a text row ``fate``. Rows of ``x_new``, ``x_gone``,
    ``x_grown``, ``x_shrunk`` and ``x_stable`` with the earlier session as reference hold how many there are (``count``)
    and their ``volume``: in the later session, of those that are gone in the earlier one. Two pairs of sessions need
    two prompts, as the numbers would mean two things.

    Parameters
    ----------
    earlier, later : Mask
        The same structure or region in two sessions.

    Raises
    ------
    RequestRefused
        If there is one session only, or the two cannot be aligned.
    """
    found = _matched(context, earlier, later)
    for number, lesion in enumerate(found.lesions, 1):
        target = f"{later.structure}_{number:03d}"
        before = found.number(earlier, lesion.earlier_mm3, "mm3", target, "volume")
        after = found.number(later, lesion.later_mm3, "mm3", target, "volume")
        rows: list[Number | Text] = [
            before,
            after,
            change(context, before, after),
            percent_change(context, before, after),
        ]
        if found.dated:
            rows.append(annual_rate(context, before, after))
        image, session = later.image.suffix, later.image.session
        rows.append(Text(lesion.fate, target, session, measure="fate", image=image, flags=after.flags))
        _report(context, rows)
    for fate in FATES:
        own = [lesion for lesion in found.lesions if lesion.fate == fate]
        volume_mm3 = sum((one.earlier_mm3 if fate == "gone" else one.later_mm3 for one in own), 0.0)
        target = f"{later.structure}_{fate}"
        totals = (("count", float(len(own)), "1"), ("volume", volume_mm3, "mm3"))
        _report(
            context, [found.number(later, value, unit, target, measure, total=True) for measure, value, unit in totals]
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """Numbered pieces of two sessions, each (X, Y, Z) on its own grid, and the lesions they belong to."""

    masks: tuple[Mask, Mask]
    earlier: np.ndarray
    later: np.ndarray
    lesions: tuple[Lesion, ...]
    flags: tuple[str, ...]

    @property
    def dated(self) -> bool:
        """Whether a rate per year can be told."""
        days = [mask.image.session.acquired for mask in self.masks]
        return days[0] is not None and days[1] is not None and days[0] < days[1]

    def number(self, mask: Mask, value: float, unit: str, target: str, measure: str, *, total: bool = False) -> Number:
        """Number of one of the two masks; a total has the earlier session as reference."""
        flags = (flag for one in self.masks for flag in (*one.flags, *one.image.flags))
        return Number(
            value=value,
            unit=unit,
            target=target,
            measure=measure,
            image=mask.image.suffix,
            session=mask.image.session,
            reference_session=self.masks[0].image.session if total else None,
            qc_score=lowest_score(*self.masks),
            flags=all_flags(self.flags, tuple(flags)),
        )


def _matched(context: Context, earlier: Mask, later: Mask) -> _Matched:
    _require_two_sessions(context, earlier, later)
    to_later = context.world.aligned(earlier.image, later.image)
    following, regions, carrying = _measure()
    placed_affine = to_later @ earlier.image.affine  # of the earlier grid, in the world of the later one
    earlier_data, cut_earlier = carrying.seen_by(earlier.data, placed_affine, later.data.shape, later.image.affine)
    later_data, cut_later = carrying.seen_by(later.data, later.image.affine, earlier.data.shape, placed_affine)
    numbers = regions.numbered(earlier_data), regions.numbered(later_data)
    for mask, own in zip((earlier, later), numbers, strict=True):
        _require_few(mask, int(own.max(initial=0)))
    carried = carrying.carried_labels(numbers[0], placed_affine, later.data.shape, later.image.affine)
    back = carrying.carried_labels(numbers[1], later.image.affine, earlier.data.shape, placed_affine)
    links = {  # both ways: on thicker slices two lesions may come to lie in one voxel, which holds one number
        *following.linked_pieces(carried, numbers[1], later.image.affine),
        *following.linked_pieces(numbers[0], back, placed_affine),
    }
    affines = {"earlier_affine": earlier.image.affine, "later_affine": later.image.affine}
    same_grid = earlier.data.shape == later.data.shape and np.allclose(
        placed_affine, later.image.affine, rtol=0.0, atol=1e-3
    )
    flags = [] if same_grid else ["mask_resampled"]
    flags += [OUTSIDE_OTHER_SESSION] if cut_earlier or cut_later else []
    flags += ["different_images"] if earlier.image.suffix != later.image.suffix else []
    lesions = following.followed(*numbers, links, **affines)
    return _Matched((earlier, later), *numbers, lesions, tuple(sorted(flags)))


def _require_two_sessions(context: Context, earlier: Mask, later: Mask) -> None:
    sessions = context.world.sessions
    if len(sessions) < 2:
        raise RequestRefused(REASONS["one_session"], code="one_session")
    if earlier.structure != later.structure:
        raise Misuse(
            "lesions are followed within one structure",
            code="target_mismatch",
            expected=earlier.structure,
            got=later.structure,
        )
    if sessions.index(earlier.image.session) >= sessions.index(later.image.session):
        same = earlier.image.session == later.image.session
        raise Misuse(
            "lesions are followed from an earlier to a later session",
            code="session_order",
            expected="the mask of the earlier session first",
            got="the same session" if same else "the later session first",
        )
    for mask in (earlier, later):
        if not mask.data.any() and (absent := not_found(mask)):
            raise RequestRefused(
                f"{', '.join(absent)} was not found in session {mask.image.session.label}, and everyone has it, so "
                "that nothing can be said to be gone or new; look at the mask, or name another image",
                code="empty_mask",
            )


def _require_few(mask: Mask, count: int) -> None:
    if count > MAX_PIECES:
        raise Misuse(
            f"{mask.structure} falls into too many pieces to be followed one by one",
            code="too_many_pieces",
            expected=f"<= {MAX_PIECES} pieces; at_least(mask, length) leaves out the small ones",
            got=str(count),
        )


def _numbers(lesion: Lesion, fate: str) -> tuple[int, ...]:
    return lesion.earlier if fate == "gone" else lesion.later


def _report(context: Context, rows: Iterable[Number | Text]) -> None:
    for row in rows:
        report(context, row)


def _measure() -> tuple[ModuleType, ModuleType, ModuleType]:
    # imported at the first call: scipy takes longer to load than a program to be checked
    from vp_engine.measure import following, regions
    from vp_engine.volumes import carrying

    return following, regions, carrying


FUNCTIONS = (changed, follow)
