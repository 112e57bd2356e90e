"""What a language model that was not trained for it is told: the language in short, examples, the request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vp_engine.agent.decoding import MAX_LINES
from vp_engine.agent.planner import Context, History
from vp_engine.agent.spelling import FENCE
from vp_engine.agent.terminals import LOOP_VARIABLES, VARIABLES
from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.ops import OPS
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES, REASONS, TEXT_TYPES

_RULES = f"""\
You translate a request about brain scans into a short program. The program is run on the scans by a tool; you see no
image. Write only the program, between two lines {FENCE}, with the statements and words below and nothing else:

NAME = OP(...)
OP(...)
for NAME in LIST:
    statements

- Do what is asked and nothing more. One report(...) for each number that is asked for, one save(...) for each structure
  that is to be shown, outlined or segmented. A structure that is measured need not be saved.
- `left and right`, `each` or `both sides separately` mean a line for the left and one for the right structure; without
  a side take the structure that has none in its name.
- scan(current) takes the best image. Take image("FLAIR", current) only when the request names that contrast, even if it
  is not at hand: the tool checks that.
- Scope session: one session, `current`. Scope participant: a loop over `sessions`; for a change between visits
  scan(first) and scan(last).
- Yes-or-no questions and `which is larger` need two pieces: the first ends with read(...), you are told what was read,
  the second says answer(...).
- Refuse with the one reason that fits what cannot be done. Never refuse because a scan may be missing."""


@dataclass(frozen=True, slots=True)
class Worked:
    """A request with the pieces of code that do it, and what was read after each but the last."""

    context: Context
    pieces: tuple[str, ...]
    observations: tuple[str, ...] = ()


# the last ones weigh most with small models, and most requests can be done
EXAMPLES: tuple[Worked, ...] = (
    Worked(Context("Volumes of all structures"), ("for m in parcels(scan(current)):\n    report(volume(m))\n",)),
    Worked(Context("Segment the liver."), ('refuse("out_of_domain")\n',)),
    Worked(
        Context("hippocampal volume as a fraction of ICV, and how asymmetric are the amygdalae?"),
        (
            (
                "img = scan(current)\n"
                'report(ratio(volume(segment(img, "hippocampus")), volume(segment(img, "intracranial_volume"))))\n'
                'report(asymmetry(volume(segment(img, "left_amygdala")), volume(segment(img, "right_amygdala"))))\n'
            ),
        ),
    ),
    Worked(Context("Does this patient have Alzheimer's disease?"), ('refuse("diagnosis")\n',)),
    Worked(
        Context("Mean signal in the caudate", ("T1w", "T2w"), 3, "participant"),
        ('for s in sessions:\n    img = scan(s)\n    report(mean_intensity(img, segment(img, "caudate")))\n',),
    ),
    Worked(
        Context("By how many percent did the brain shrink between first and last visit?", ("T1w",), 2, "participant"),
        (
            (
                "before = scan(first)\nafter = scan(last)\n"
                'report(percent_change(volume(segment(before, "brain")), volume(segment(after, "brain"))))\n'
            ),
        ),
    ),
    Worked(
        Context("Which putamen is larger?"),
        (
            (
                "img = scan(current)\n"
                'read(compare(volume(segment(img, "left_putamen")), volume(segment(img, "right_putamen"))))\n'
            ),
            'answer("left", "putamen")\n',
        ),
        ("ok; greater",),
    ),
    Worked(
        Context("outline the ventricles and the thalamus on the FLAIR", ("T1w", "FLAIR")),
        ('img = image("FLAIR", current)\nsave(segment(img, "ventricles"))\nsave(segment(img, "thalamus"))\n',),
    ),
    Worked(
        Context("Volume and location of each lesion on FLAIR, and how many touch the ventricles?", ("T1w", "FLAIR")),
        (
            (
                'img = image("FLAIR", current)\nfor m in pieces(segment(img, "lesion")):\n    report(volume(m))\n'
                '    report(describe(img, m, "place"))\n'
                'report(count(touching(segment(img, "lesion"), segment(img, "ventricles"))))\n'
            ),
        ),
    ),
    Worked(
        Context("Measure the volume of the left and right hippocampus."),
        (
            (
                'img = scan(current)\nreport(volume(segment(img, "left_hippocampus")))\n'
                'report(volume(segment(img, "right_hippocampus")))\n'
            ),
        ),
    ),
)


@lru_cache(maxsize=1)
def briefing() -> str:
    """Return the rules and the words of the program language, written from the registry."""
    loops = ", ".join(f"{name} ({kind})" for name, kind in LOOP_VARIABLES.items())
    given = ", ".join(f"{name} ({kind})" for name, kind in PROGRAM_VARIABLES.items())
    parts = [_RULES]
    parts.append(f"At most {MAX_LINES} lines.\nNames to assign: {', '.join(VARIABLES)}. Of loops: {loops}.")
    parts.append(f"Always there: {given}.")
    parts.append("Ops:\n" + "\n".join(f"{op.signature()}  # {_first_line(op.doc)}" for op in OPS.values()))
    kinds = dict.fromkeys(kind for op in OPS.values() for p in op.parameters for kind in p.accepts)
    short = [kind for kind in kinds if kind in TEXT_TYPES and kind not in ("Reason", "Structure")]
    parts.append("\n".join(f"{kind}: {', '.join(TEXT_TYPES[kind])}" for kind in short))
    parts.append("Reason:\n" + "\n".join(f"{code}: {sentence.split(';')[0]}" for code, sentence in REASONS.items()))
    parts.append(f"Structure: {', '.join(STRUCTURES)}")
    return "\n\n".join(parts)


def conversation(context: Context, history: History) -> list[tuple[str, str]]:
    """Return what is said by ``user`` and ``assistant`` in turn, up to where the next piece of code is asked for.

    Parameters
    ----------
    context : Context
        The request.
    history : sequence of (Instruction, Observation)
        What has been run for it.
    """
    turns: list[tuple[str, str]] = []
    for worked in EXAMPLES:
        turns += _dialogue(worked.context, worked.pieces, worked.observations)
    seen = [observation.text() for _, observation in history]
    turns += _dialogue(context, [instruction.code for instruction, _ in history], seen)
    (speaker, first), *rest = turns
    return [(speaker, f"{briefing()}\n\n{first}"), *rest]


def _dialogue(context: Context, pieces: Sequence[str], observations: Sequence[str]) -> Iterator[tuple[str, str]]:
    # one line, so that what users type is not taken for a part of the conversation
    request = " ".join(context.prompt.split())
    hand = f"Images: {', '.join(context.images)}. Sessions: {context.sessions}. Scope: {context.scope}."
    yield "user", f"Request: {request}\n{hand}"
    for number, code in enumerate(pieces):
        yield "assistant", f"{FENCE}\n{code}{FENCE}"
        if number < len(observations):
            yield "user", _told(observations[number])


def _told(observation: str) -> str:
    if observation.startswith("ok"):
        return f"Read: {observation.removeprefix('ok; ')}\nWrite the next piece."
    return f"The program was not run, {observation}\nWrite it anew."


def _first_line(doc: str) -> str:
    return doc.partition("\n")[0].replace("``", "")
