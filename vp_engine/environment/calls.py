"""Which vision calls a program may make, found without running it, so that all can be made in one pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from vp_engine.anatomy import PARTS
from vp_engine.environment.around import LANDMARKS
from vp_engine.environment.ops_images import is_supported
from vp_engine.environment.syntax import parse
from vp_engine.environment.values import SessionInfo
from vp_engine.environment.walker import segment_nodes
from vp_engine.environment.world import World


@dataclass(frozen=True, slots=True)
class ImageKey:
    """An image as a program names it.

    Attributes
    ----------
    suffix : str or None
        Contrast; None for the best image of the session (`scan`).
    session : str
        ``current``, ``first``, ``last``, or ``each`` for a loop over `sessions`.
    """

    suffix: str | None
    session: str


@dataclass(frozen=True, slots=True)
class SegmentCall:
    """One call of `segment` or `parcels` on one image, or of an op that has anatomy delineated there.

    Attributes
    ----------
    image : ImageKey
        On what.
    structure : str or None
        Canonical name; None for every part (`parcels`).
    order : int or None
        Which embedding it takes: place among the calls of `segment` in the text; None for `parcels` and for what other
        ops have delineated.
    """

    image: ImageKey
    structure: str | None
    order: int | None


@dataclass(frozen=True, slots=True)
class PlannedSegmentation:
    """One mask that a program may ask of the network: on which image, which structure, with which embedding."""

    session: SessionInfo
    suffix: str
    structure: str
    order: int | None


_ON_LANDMARKS = ("located", "with_signal", "relative_intensity", "describe")
"""Ops that have anatomy delineated on the image that is their first argument."""

_Keys = tuple[str | ImageKey, ...]


def segment_calls(code: str) -> list[SegmentCall]:
    """Find every vision call of a program, those of branches not taken included.

    Parameters
    ----------
    code : str
        Program text. Images that came from an earlier program are unknown here; their calls are left out.

    Returns
    -------
    list of SegmentCall
        In the order of the text, without duplicates.

    Raises
    ------
    Misuse
        If the text does not parse.
    """
    tree = parse(code)
    orders = {node: order for order, node in enumerate(segment_nodes(tree))}
    names: dict[str, _Keys] = {"current": ("current",), "first": ("first",), "last": ("last",), "sessions": ("each",)}
    found: dict[SegmentCall, None] = {}
    _follow(tree.body, names, orders, found)
    return sorted(found, key=lambda call: len(orders) if call.order is None else call.order)


def planned_segmentations(code: str, world: World) -> list[PlannedSegmentation]:
    """Resolve the vision calls of a program in a world; what the world lacks is left out.

    Parameters
    ----------
    code : str
        Program text.
    world : World
        Whose sessions, images and structures.

    Returns
    -------
    list of PlannedSegmentation
        In the order of the text, sessions in time order, without duplicates.

    Raises
    ------
    Misuse
        If the text does not parse.
    """
    places = {"first": slice(0, 1), "last": slice(-1, None), "current": slice(-1, None), "each": slice(None)}
    planned: dict[PlannedSegmentation, None] = {}
    for call in segment_calls(code):
        structures = [call.structure] if call.structure is not None else list(PARTS)
        for session in world.sessions[places[call.image.session]]:
            suffix = call.image.suffix or next(iter(session.images), None)
            if suffix is None or suffix not in session.images:
                continue
            for structure in structures:
                if is_supported(world, structure):
                    planned[PlannedSegmentation(session, suffix, structure, call.order)] = None
    return list(planned)


def _follow(
    body: list[ast.stmt], names: dict[str, _Keys], orders: dict[ast.Call, int], found: dict[SegmentCall, None]
) -> None:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]):
                found |= dict.fromkeys(_calls_in(statement.value, names, orders))
                names[name] = _keys(statement.value, names)
            case ast.Expr():
                found |= dict.fromkeys(_calls_in(statement.value, names, orders))
            case ast.For(target=ast.Name(id=name)):
                found |= dict.fromkeys(_calls_in(statement.iter, names, orders))
                names[name] = _keys(statement.iter, names)
                before = dict(names)
                # the second turn sees what the first one assigned
                for _ in range(2):
                    _follow(statement.body, names, orders, found)
                    _join(names, before)
            case ast.If():
                found |= dict.fromkeys(_calls_in(statement.test, names, orders))
                other = dict(names)
                _follow(statement.body, names, orders, found)
                _follow(statement.orelse, other, orders, found)
                _join(names, other)


def _join(names: dict[str, _Keys], other: dict[str, _Keys]) -> None:
    for name, keys in other.items():
        names[name] = tuple(dict.fromkeys((*names.get(name, ()), *keys)))


def _calls_in(node: ast.expr, names: dict[str, _Keys], orders: dict[ast.Call, int]) -> Iterator[SegmentCall]:
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Name(id="segment"), args=[image, ast.Constant(value=str(structure))]):
                keys, wanted, order = _keys(image, names), structure, orders[call]
                yield from (SegmentCall(key, wanted, order) for key in keys if isinstance(key, ImageKey))
            case ast.Call(func=ast.Name(id=name), args=[image, *_]) if name in _ON_LANDMARKS and _looks_around(call):
                keys = _keys(image, names)
                yield from (SegmentCall(k, one, None) for k in keys if isinstance(k, ImageKey) for one in LANDMARKS)
            case ast.Call(func=ast.Name(id="parcels"), args=[image]):
                yield from (SegmentCall(key, None, None) for key in _keys(image, names) if isinstance(key, ImageKey))


def _looks_around(call: ast.Call) -> bool:
    """Whether a call of one of `_ON_LANDMARKS` needs them; counting does not."""
    match call.args[-1]:
        case ast.Constant(value="number"):
            return False
    return True


def _keys(node: ast.expr, names: dict[str, _Keys]) -> _Keys:
    """Sessions or images an expression may stand for; nothing when it is neither."""
    match node:
        case ast.Name(id=name):
            return names.get(name, ())
        case ast.List():
            return tuple(key for element in node.elts for key in _keys(element, names))
        case ast.Call(func=ast.Name(id="scan"), args=[session]):
            return tuple(ImageKey(None, key) for key in _keys(session, names) if isinstance(key, str))
        case ast.Call(func=ast.Name(id="image"), args=[ast.Constant(value=str(suffix)), session]):
            return tuple(ImageKey(suffix, key) for key in _keys(session, names) if isinstance(key, str))
    return ()
