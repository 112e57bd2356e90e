"""Terminals of the program side: one token per op, variable, structure name, suffix, word and reason.

Programs travel through the language model in prefix order without punctuation: every op has a fixed number
of arguments, so brackets, commas and line ends follow from the registry and need not be predicted.
``report(volume(segment(img, "brainstem")))`` is ``op:report op:volume op:segment var:img structure:brainstem mod``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vp_engine.environment.ops import OPS
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES, SUFFIXES, TEXT_TYPES

MOD = "mod"
"""Follows the structure of every segment call; its hidden state becomes φ. Not part of the program text."""
END = "end"
"""Closes the body of a loop; a change of indentation in the text."""
STOP = "stop"
"""Ends a piece of code."""

VARIABLES: tuple[str, ...] = ("img", "img2", "before", "after", "mask", "x", "y")
"""Names a program may assign."""
LOOP_VARIABLES: Mapping[str, str] = MappingProxyType({"s": "Session", "m": "Mask", "i": "Image"})
"""Names of loop variables and the type of what they run over."""

SCOPES: tuple[str, ...] = ("session", "participant")
MAX_SESSIONS = 3
"""Numbers of sessions from here on share one token."""

CONTEXT_TERMINALS: tuple[str, ...] = (
    "pad",
    "begin",
    "prompt",
    "program",
    "observation",
    *(f"scope:{scope}" for scope in SCOPES),
    *(f"sessions:{n}" for n in range(1, MAX_SESSIONS + 1)),
    *(f"has:{suffix}" for suffix in SUFFIXES),
)
"""Tokens in front of the prompt and between the parts of a dialogue."""

_CONSTANTS = ("Structure", "Suffix", "Word", "Reason", "Length", "Direction", "Place", "Signal", "Fate", "Aspect")

PROGRAM_TERMINALS: tuple[str, ...] = (
    STOP,
    END,
    MOD,
    *(f"op:{name}" for name in OPS),
    *(f"set:{name}" for name in VARIABLES),
    *(f"for:{name}" for name in LOOP_VARIABLES),
    *(f"var:{name}" for name in (*PROGRAM_VARIABLES, *VARIABLES, *LOOP_VARIABLES)),
    *(f"{kind.lower()}:{word}" for kind in _CONSTANTS for word in TEXT_TYPES[kind]),
)
"""Everything a program can consist of."""

TERMINALS: tuple[str, ...] = (*CONTEXT_TERMINALS, *PROGRAM_TERMINALS)


def constant(kind: str, word: str) -> str:
    """Terminal of a text argument.

    Raises
    ------
    ValueError
        If the word is not in the closed list of its kind.

    >>> constant("Suffix", "FLAIR")
    'suffix:FLAIR'
    """
    if word not in TEXT_TYPES[kind]:
        raise ValueError(f"expected a {kind} of the vocabulary, got {word!r}")
    return f"{kind.lower()}:{word}"


def split_terminal(terminal: str) -> tuple[str, str]:
    """Kind and name of a terminal.

    >>> split_terminal("op:volume"), split_terminal("mod")
    (('op', 'volume'), ('mod', ''))
    """
    kind, _, name = terminal.partition(":")
    return kind, name


def constant_kind(kind: str) -> str | None:
    """Type of the language that a terminal's kind stands for; None when it is no text argument."""
    return next((name for name in _CONSTANTS if name.lower() == kind), None)
