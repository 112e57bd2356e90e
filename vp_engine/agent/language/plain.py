"""Draw the plainest requests: one measure, or the mask, of one structure, in the usual words and without ornament."""

from __future__ import annotations

from random import Random

from vp_engine.agent.language.choosing import one_piece
from vp_engine.agent.language.lexicon import Lexicon
from vp_engine.agent.language.meaning import Measure, Region, Target
from vp_engine.agent.language.regions import DIRECTIONS, HALVED
from vp_engine.agent.language.requests import Drawn
from vp_engine.agent.language.sentences import Said, Slotted, sentence

_MEASURES = ("volume",) * 4 + ("surface_area", "mean_intensity", "max_diameter", "mean_thickness")


def draw_plain(lexicon: Lexicon, rng: Random) -> Drawn:
    """One structure or a half of it, as everybody calls it."""
    piece = one_piece(rng)
    while "intracranial_volume" in piece.bases:  # which says its measure itself
        piece = one_piece(rng)
    (base,) = piece.bases
    words = lexicon.names[base]
    noun = rng.choice((words.nouns[0], base.replace("_", " ")))
    if piece.side != "union":
        noun = f"{piece.side} {noun}"
    elif words.plurals and rng.random() < 0.4:
        noun = rng.choice(words.plurals)
    targets: tuple[Target, ...] = piece.targets()
    if base in HALVED and rng.random() < 0.15:
        direction = rng.choice(DIRECTIONS)
        targets = tuple(Region("part", (target,), direction) for target in targets)
        noun = f"{direction} {rng.choice(('part', 'half'))} of the {noun}"
    measures = () if rng.random() < 0.15 else (rng.choice(_MEASURES),)
    slots: Slotted = {"X": noun}
    if measures:
        slots["M"] = str(lexicon.rules[measures[0]][0].items[0])
    template = rng.choice(lexicon.sentences["plain" if measures else "plain_show"])
    return Measure(targets, measures, save=not measures), sentence(template, lexicon, rng, Said(extra=slots))
