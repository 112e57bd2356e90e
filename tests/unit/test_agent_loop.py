"""The turn loop with planners that write what the test wants."""

from __future__ import annotations

import json

from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Context, History
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld

MEASURE = 'report(volume(segment(scan(current), "brainstem")))\n'
ASK = (
    "img = scan(current)\n"
    'read(compare(volume(segment(img, "left_hippocampus")), volume(segment(img, "right_hippocampus"))))\n'
)


class Script:
    """Writes the given pieces in turn, the last one for ever."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.seen: list[str] = []
        self.context: Context | None = None

    def next_instruction(self, context: Context, history: History) -> Instruction:
        self.context = context
        self.seen = [observation.text() for _, observation in history]
        return Instruction(self.pieces[min(len(history), len(self.pieces) - 1)])


def _environment(**world: object) -> Environment:
    return Environment(PhantomWorld(**world))  # type: ignore[arg-type]  # keywords of the phantom


def test_one_piece_of_code() -> None:
    environment = _environment()
    transcript = run_prompt(Script(MEASURE), "brainstem volume", environment)
    assert transcript.status == "ok"
    assert [row.target for row in environment.reported] == ["brainstem"]


def test_what_is_read_comes_back_to_the_planner() -> None:
    planner = Script(ASK, 'answer("right", "hippocampus")\n')
    environment = _environment()
    transcript = run_prompt(planner, "which is larger?", environment)
    assert planner.seen == ["ok; less"]
    assert transcript.status == "ok"
    assert len(transcript.turns) == 2
    assert transcript.program == ASK + "\n" + planner.pieces[1]


def test_a_refusal_ends_the_prompt_with_its_reason() -> None:
    transcript = run_prompt(Script('refuse("diagnosis")\n'), "is it dementia?", _environment())
    assert (transcript.status, transcript.code) == ("refused", "diagnosis")
    assert transcript.reason


def test_the_same_error_twice_ends_the_prompt() -> None:
    transcript = run_prompt(Script("report(scan(current))\n"), "x", _environment())
    assert (transcript.status, transcript.code) == ("failed", "wrong_type")
    assert len(transcript.turns) == 2


def test_after_one_error_the_planner_may_do_better() -> None:
    transcript = run_prompt(Script("report(scan(current))\n", MEASURE), "x", _environment())
    assert transcript.status == "ok"


def test_turns_are_bounded() -> None:
    transcript = run_prompt(Script(ASK), "x", _environment(), max_turns=3)
    assert (transcript.status, transcript.code) == ("failed", "budget_turns")
    assert len(transcript.turns) == 3


def test_the_planner_is_told_images_sessions_and_scope() -> None:
    planner = Script(MEASURE)
    run_prompt(planner, "x", _environment(images=("FLAIR", "T1w"), sessions=2), scope="participant")
    assert planner.context == Context("x", ("FLAIR", "T1w"), 2, "participant")


def test_transcripts_are_plain_json() -> None:
    transcript = run_prompt(Script(MEASURE), "<b>brainstem</b>", _environment())
    stored = json.loads(json.dumps(transcript.as_json()))
    assert stored["turns"][0]["program"] == MEASURE
    assert stored["turns"][0]["observation"] == "done"
