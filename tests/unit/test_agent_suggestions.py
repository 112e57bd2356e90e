"""What is suggested for a structure that is not in the vocabulary."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import yaml

from vp_engine.agent.loop import run_prompt
from vp_engine.agent.planner import Context, History
from vp_engine.agent.suggestions import alike, related, suggestion, with_suggestion
from vp_engine.anatomy import SIDES, STRUCTURES
from vp_engine.cohort.preview import plan_prompt
from vp_engine.environment.instruction import MAX_TEXT, Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.vocabulary import REASONS

ENTRIES = yaml.safe_load(files("vp_engine.agent.language").joinpath("related.yaml").read_text(encoding="utf-8"))
TERMS = [term for entry in ENTRIES for term in entry["terms"]]
UNKNOWN = Observation("refused", code="unknown_structure", message=REASONS["unknown_structure"])


class Writes:
    """Writes one program whatever is asked."""

    def __init__(self, code: str) -> None:
        self.code = code

    def next_instruction(self, context: Context, history: History) -> Instruction:
        return Instruction(self.code)


def test_the_terms_are_many_and_each_stands_once() -> None:
    assert len(TERMS) >= 80
    assert sorted(term for term in set(TERMS) if TERMS.count(term) > 1) == []
    assert all(term == term.lower() and not re.search(r"[_,;]", term) for term in TERMS)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["terms"][0])
def test_entries_point_to_what_can_be_measured(entry: dict[str, object]) -> None:
    nearest = entry["nearest"]
    assert set(entry) <= {"terms", "nearest", "note"}
    assert isinstance(nearest, list)
    assert all(STRUCTURES[name].parts and STRUCTURES[name].side not in SIDES for name in nearest)
    assert nearest or entry.get("note")
    assert len(str(entry.get("note", ""))) <= 110


@pytest.mark.parametrize("term", TERMS)
def test_every_term_is_found_and_said_in_short(term: str) -> None:
    message = with_suggestion(UNKNOWN, f"What is the volume of the left {term.upper()}?").message
    assert message != UNKNOWN.message
    assert f'"{term}"' in message
    assert "`vp ops`" in message
    assert len(message) <= MAX_TEXT


@pytest.mark.parametrize(
    ("prompt", "nearest"),
    [
        ("CA1 volume", ("hippocampus",)),
        ("thickness of the entorhinal cortices and entorhinal cortex", ("cerebral_cortex", "hippocampus")),
        ("frontal lobes", ("cerebral_cortex", "cerebral_white_matter")),
        ("the pons", ("brainstem",)),
        ("corpus callosum in cm3", ("cerebral_white_matter",)),
        ("substantia nigra", ("ventral_dc",)),
        ("striatum", ("caudate", "putamen", "accumbens")),
        ("vermis", ("cerebellum_cortex", "cerebellum")),
        ("choroid plexus", ("lateral_ventricle",)),
        ("Broca\u2019s area", ("cerebral_cortex",)),
        ("sub-thalamic tracts, subthalamic nuclei", ("ventral_dc",)),
        ("pituitary", ()),
        ("skull, scalp and frontal pole of the middle cerebral artery", ("cerebral_cortex",)),
        ("choroid plexxus reliable?", ("lateral_ventricle",)),
        ("hypothalmus volume", ("ventral_dc", "third_ventricle")),
    ],
)
def test_related_structures(prompt: str, nearest: tuple[str, ...]) -> None:
    found = related(prompt)
    assert found is not None
    assert found.nearest == nearest


def test_the_longest_term_counts() -> None:
    found = related("volume of the ventral striatum")
    assert found is not None
    assert found.nearest == ("accumbens",)


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("Volume of the hipocampal", ("hippocampus",)),
        ("segment the left amigdala", ("amygdala",)),
        ("ventrikles", ("ventricles",)),
        ("first quarter of the thalamus", ("thalamus",)),
        ("spots in the brain stem", ("brainstem",)),
        ("write me a poem", ()),
        ("", ()),
        ("tumour", ("tumor",)),
    ],
)
def test_spelling(prompt: str, names: tuple[str, ...]) -> None:
    assert alike(prompt) == names


def test_lesions_of_other_places_are_shown_the_places_that_are_known() -> None:
    text = suggestion("How many thalamic lesions are there?")
    assert "white matter lesions" in text
    assert "deep gray matter" in text


def test_words_of_the_prompt_are_not_repeated() -> None:
    message = with_suggestion(UNKNOWN, "striatum <script>alert(1)</script> /etc/passwd").message
    assert "script" not in message
    assert "passwd" not in message


def test_other_refusals_stay_as_they_are() -> None:
    for observation in (
        Observation("refused", code="diagnosis", message="x"),
        Observation("error", code="unknown_structure", message="x"),
        Observation("done"),
    ):
        assert with_suggestion(observation, "striatum") is observation
    assert with_suggestion(UNKNOWN, "blorb") is UNKNOWN


def test_a_text_that_would_be_too_long_is_not_made_longer() -> None:
    long = Observation("refused", code="misread", message="x" * 250)
    assert with_suggestion(long, "striatum") is long


def test_the_loop_suggests() -> None:
    transcript = run_prompt(Writes('refuse("unknown_structure")\n'), "Volume of the subiculum", _environment())
    assert (transcript.status, transcript.code) == ("refused", "unknown_structure")
    assert "hippocampus" in transcript.reason


def test_vp_plan_shows_what_is_near() -> None:
    preview = plan_prompt("Volume of the subiculum", planner=Writes('refuse("unknown_structure")\n'))
    assert preview.status == "refused"
    assert preview.reason is not None
    assert preview.reason.startswith('unknown_structure: No "subiculum" in the vocabulary; the nearest')


def test_a_misread_prompt_is_told_what_is_near_beside_what_was_left_out() -> None:
    code = 'report(volume(segment(scan(current), "caudate")))\n'
    transcript = run_prompt(Writes(code), "caudate, putamen and vermis volume", _environment())
    assert (transcript.status, transcript.code) == ("refused", "misread")
    assert "leaves out putamen" in transcript.reason
    assert '"vermis"' in transcript.reason
    plain = run_prompt(Writes(code), "caudate and putamen volume", _environment())
    assert "vocabulary" not in plain.reason


def _environment() -> Environment:
    return Environment(PhantomWorld())
