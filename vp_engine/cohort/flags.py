"""Everything that can stand in the column `flags`, with what it means; the documentation prints these."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.ops_longitudinal import OUTSIDE_OTHER_SESSION
from vp_engine.volumes.codes import FIXES, NOTICES

NOT_SKULL_BOUNDED = "not_skull_bounded"
"""With a colon and the structure: it ends at the skull, and the image has none."""

TOUCHES_IMAGE_EDGE = "touches_image_edge"
"""With a colon and the structure: its mask has a voxel in an outermost slice of the image."""

SESSION_LEFT_OUT = "session_left_out"
"""With a colon and the label: a session that has no scan for a prompt about all of them."""

REGISTRATION_FAILED = "registration_failed"
"""With a colon and the suffix: an image of the session not read together with this one, as it could not be aligned."""

STREAM_REFUSED = "stream_refused"
"""With a colon and the suffix: an image of the session not read together with this one, as the gate refuses it."""

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        **FIXES,
        **NOTICES,
        "flag_several_scans": "the session has more scans of this contrast; the plainest was taken",
        "flag_contrast_agent": "the only scan of this contrast was taken with contrast agent",
        NOT_SKULL_BOUNDED: (
            "the image shows a brain without its head (skull-stripped), so that the fluid at the surface of the brain "
            "is incomplete: `intracranial_volume` is the brain and what is left of the fluid, not what the skull "
            "holds; do not normalise by it. The structure follows a colon; ratios to it have the flag too"
        ),
        TOUCHES_IMAGE_EDGE: (
            "the mask reaches the border of the image, which may have cut off a part of the structure. The structure "
            "follows a colon"
        ),
        "mask_resampled": "a mask was used on the grid of another image than the one it was made on",
        OUTSIDE_OTHER_SESSION: (
            "a part of what was followed lies where the other session has no image; it was left out, as it can be "
            "neither new nor gone"
        ),
        "different_images": "the number is made of measurements on two contrasts",
        "empty_mask": "nothing was found, so that there is no value",
        "part_not_found": (
            "a region is made of several structures, and one that everyone has was not found: the region is not "
            "what its name says; the structure follows a colon"
        ),
        "no_white_matter": "there is no white matter to compare it with, so that there is no value",
        "no_landmarks": "too little anatomy was found to say where in the brain it lies",
        "too_many_pieces": "there are more than 999 pieces, too many to say where each of them lies",
        "signal_unknown": (
            "some pieces could not be compared with white matter; they were not taken, whatever they look like"
        ),
        "zero_denominator": "something was divided by 0, so that there is no value",
        REGISTRATION_FAILED: (
            "under `streams: together`, an image of the session could not be aligned with the one measured and was not "
            "read with it; its suffix follows a colon, the reason is in the sidecar of the transform"
        ),
        STREAM_REFUSED: (
            "under `streams: together`, an image of the session cannot be trusted and was not read with the one "
            "measured; its suffix follows a colon"
        ),
        SESSION_LEFT_OUT: "a session had no scan for a prompt about all of them; its label follows a colon",
    }
)
"""Flag, without what may follow a colon, to meaning."""


# in the meaning of a flag, what is said of the column of the table
_OF_COLUMN = re.compile(r"[.;,]? (?:[Tt]he|[Ii]ts) (?:structure|suffix|label) follows a colon[^.]*|; their number .*")


def meaning_of(kind: str) -> str:
    """What a flag means, as a part of a sentence in plain text, without what is said of the column of the table.

    >>> meaning_of("touches_image_edge")
    'the mask reaches the border of the image, which may have cut off a part of the structure'
    """
    return _OF_COLUMN.sub("", FLAGS.get(kind, kind.replace("_", " "))).replace("`", "").removesuffix(".")


def reaches_skull(structure: str) -> bool:
    """Whether a structure ends at the skull: the fluid around the brain, and what holds it."""
    return "csf" in STRUCTURES[structure].parts


def mask_flags(structure: str, *, at_edge: bool, skull_stripped: bool) -> tuple[str, ...]:
    """Flags of a mask, sorted.

    Parameters
    ----------
    structure : str
        Canonical name.
    at_edge : bool
        Whether the mask reaches the border of the image.
    skull_stripped : bool
        Whether the image shows a brain without its head.

    >>> mask_flags("intracranial_volume", at_edge=False, skull_stripped=True)
    ('not_skull_bounded:intracranial_volume',)
    """
    found = ((NOT_SKULL_BOUNDED, skull_stripped and reaches_skull(structure)), (TOUCHES_IMAGE_EDGE, at_edge))
    return tuple(f"{flag}:{structure}" for flag, holds in found if holds)
