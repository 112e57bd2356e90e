"""From a Python function to an op: its annotations are the signature, its docstring is the reference.

Types of the language are words: ``Session``, ``Image``, ``Mask``, ``Number``, ``Text``, ``Cutout``, ``Features``,
``List[...]`` of the first four, and the text types of `vocabulary.TEXT_TYPES`, whose values stand in the program as
constants.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from vp_engine.environment.values import Cutout, Features, Image, Mask, Number, Result, SessionInfo, Text, Value
from vp_engine.environment.world import World

Structure = Annotated[str, "Structure"]
Suffix = Annotated[str, "Suffix"]
Word = Annotated[str, "Word"]
Reason = Annotated[str, "Reason"]
Length = Annotated[str, "Length"]
Direction = Annotated[str, "Direction"]
Place = Annotated[str, "Place"]
Signal = Annotated[str, "Signal"]
Fate = Annotated[str, "Fate"]
Aspect = Annotated[str, "Aspect"]

TYPE_NAMES: Mapping[type, str] = MappingProxyType(
    {
        SessionInfo: "Session",
        Image: "Image",
        Mask: "Mask",
        Number: "Number",
        Text: "Text",
        Cutout: "Cutout",
        Features: "Features",
    }
)
"""Python class of a value -> its type in the language."""

LIST_TYPES: tuple[str, ...] = ("List[Session]", "List[Image]", "List[Mask]", "List[Number]")
"""Lists the language knows; lists of lists do not exist."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an op can reach beside its arguments; a working copy that lasts one step.

    Attributes
    ----------
    world : World
        Sessions, images, network.
    results : list
        What the prompt has produced so far, in order; ops append.
    read : list
        Values to feed back to the agent; ops append.
    phi : (D,) float array or None
        Conditioning vector of the segment call being run.
    kept : dict
        What ops have worked out of an image and need again at the next turn of a loop; ops fill it.
    """

    world: World
    results: list[Result]
    read: list[Value]
    phi: np.ndarray | None = None
    kept: dict[Hashable, Any] = field(default_factory=dict)

    def with_phi(self, phi: np.ndarray | None) -> Context:
        """Return the same context for a call with a conditioning vector."""
        return replace(self, phi=phi)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an op: its name and the types it accepts."""

    name: str
    accepts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One function of the language.

    Attributes
    ----------
    name : str
        As programs write it.
    parameters : tuple of Parameter
        All required, given by position.
    returns : str or None
        Type of the result; None for a statement (`report`, `save`, ...).
    doc : str
        Numpydoc text.
    function : callable
        Takes a `Context` first when `needs_context`.
    needs_context : bool
        Whether it does.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: str | None
    doc: str
    function: Callable[..., Any]
    needs_context: bool

    def signature(self) -> str:
        """Return the op as one line, such as ``volume(mask: Mask) -> Number``."""
        arguments = ", ".join(f"{p.name}: {' | '.join(p.accepts)}" for p in self.parameters)
        return f"{self.name}({arguments})" + (f" -> {self.returns}" if self.returns else "")


def type_names(annotation: Any) -> tuple[str, ...]:
    """Types of the language that an annotation stands for; a union gives several.

    Raises
    ------
    TypeError
        If the annotation is none of the language's types.
    """
    if get_origin(annotation) is UnionType:
        return tuple(name for member in get_args(annotation) for name in type_names(member))
    if get_origin(annotation) is Annotated:
        return (str(annotation.__metadata__[0]),)
    if get_origin(annotation) is list:
        return (f"List[{TYPE_NAMES[get_args(annotation)[0]]}]",)
    if annotation in TYPE_NAMES:
        return (TYPE_NAMES[annotation],)
    raise TypeError(f"expected a type of the program language, got {annotation!r}")


def op_of(function: Callable[..., Any]) -> Op:
    """Describe a function as an op.

    Raises
    ------
    TypeError
        If an annotation is not a type of the language, or there is no docstring.
    """
    hints = get_type_hints(function, include_extras=True)
    returned = hints.pop("return")
    needs_context = hints.pop("context", None) is Context
    doc = inspect.getdoc(function)
    if not doc:
        raise TypeError(f"the op {function.__name__} has no docstring")
    return Op(
        name=function.__name__,
        parameters=tuple(Parameter(name, type_names(hint)) for name, hint in hints.items()),
        returns=None if returned is NoneType else type_names(returned)[0],
        doc=doc,
        function=function,
        needs_context=needs_context,
    )


def type_of(value: Value) -> str:
    """Type of a value in the language.

    Raises
    ------
    KeyError
        If it is no value of the language; `bool`, `int` and `str` are none.
    """
    if isinstance(value, list):
        if not value:
            return "List[Mask]"  # the pieces of an empty mask; no other list can be empty
        return f"List[{TYPE_NAMES[type(value[0])]}]"
    return TYPE_NAMES[type(value)]
