"""Ops from sessions to images to masks."""

from __future__ import annotations

from vp_engine.anatomy import PARTS, SIDES, STRUCTURES
from vp_engine.environment.misuse import close_names
from vp_engine.environment.registry import Context, Structure, Suffix
from vp_engine.environment.values import Image, Mask, SessionInfo
from vp_engine.environment.world import World
from vp_engine.errors import RequestRefused


def scan(context: Context, session: SessionInfo) -> Image:
    """Take the best image of a session among those the prompt may use.

    Parameters
    ----------
    session : Session
        ``current``, ``first``, ``last`` or one of ``sessions``.

    Returns
    -------
    Image
        The first in the session's order of preference.

    Raises
    ------
    RequestRefused
        If the session has no image the prompt may use.
    """
    if not session.images:
        raise RequestRefused(
            "this session has no image the prompt may use; widen `images` of the prompt", code="missing_image"
        )
    return context.world.image(session, session.images[0])


def image(context: Context, suffix: Suffix, session: SessionInfo) -> Image:
    """Take the image of a session with a named contrast.

    Parameters
    ----------
    suffix : Suffix
        BIDS suffix, such as ``"FLAIR"``.
    session : Session
        ``current``, ``first``, ``last`` or one of ``sessions``.

    Returns
    -------
    Image
        The best one with that suffix.

    Raises
    ------
    RequestRefused
        If the session has none.
    """
    if suffix not in session.images:
        has = ", ".join(session.images) or "no image"
        raise RequestRefused(
            f"this session has no {suffix} image; it has {has}: name one of these, or leave the contrast out",
            code="missing_image",
        )
    return context.world.image(session, suffix)


def segment(context: Context, image: Image, structure: Structure) -> Mask:
    """Delineate a structure on an image, on the image's own grid.

    Parameters
    ----------
    image : Image
        The scan to look at.
    structure : Structure
        Canonical name. A bilateral name without a side is the union of both sides.

    Returns
    -------
    Mask
        Where the structure is; empty when it is not there.

    Raises
    ------
    RequestRefused
        If the weights do not know the structure, or it has a side and the file does not say which side is left.
    """
    _require_supported(context.world, structure)
    if STRUCTURES[structure].side in SIDES:
        require_lateralised(image, structure)
    if context.phi is None:
        return context.world.segment(image, structure)
    return context.world.segment(image, structure, phi=context.phi)


def parcels(context: Context, image: Image) -> list[Mask]:
    """Delineate every part the weights know, each by itself, without unions.

    Parameters
    ----------
    image : Image
        The scan to look at.

    Returns
    -------
    List[Mask]
        One mask per part, in the order of the vocabulary.

    Raises
    ------
    RequestRefused
        If the file does not say which side is left.
    """
    names = [name for name in PARTS if name in context.world.structures]
    if not names:
        raise RequestRefused(
            "these weights know no part of the brain; choose others with `model`", code="unsupported_structure"
        )
    require_lateralised(image, "the parts of both sides")
    return [context.world.segment(image, name) for name in names]


def is_supported(world: World, structure: str) -> bool:
    """Whether the weights can delineate a structure, by itself or as the union of its parts."""
    parts = STRUCTURES[structure].parts
    return structure in world.structures or (bool(parts) and all(part in world.structures for part in parts))


def require_lateralised(image: Image, what: str) -> None:
    """Refuse what has a side on an image whose file does not say which side is left.

    Raises
    ------
    RequestRefused
    """
    if not image.lateralised:
        raise RequestRefused(
            f"{what} cannot be told apart: the {image.suffix} file does not say which side is left "
            "(no sform and no qform); restore its orientation",
            code="not_lateralised",
        )


def _require_supported(world: World, structure: str) -> None:
    if is_supported(world, structure):
        return
    supported = [name for name in STRUCTURES if is_supported(world, name)]
    kind = STRUCTURES[structure].kind
    alike = [name for name in supported if STRUCTURES[name].kind == kind] if kind == "pathology" else []
    nearest = close_names(structure, supported) or tuple(alike[:3]) or tuple(supported[:3])
    raise RequestRefused(
        f"these weights cannot delineate {structure}; the nearest they can: {', '.join(nearest) or 'nothing'}",
        code="unsupported_structure",
    )


FUNCTIONS = (scan, image, segment, parcels)
