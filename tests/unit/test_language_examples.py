"""Generated prompts: what they mean, and that the three languages share no sentence."""

from __future__ import annotations

from itertools import combinations

import pytest

from vp_engine.agent.coverage import left_out
from vp_engine.agent.decoding import Walker
from vp_engine.agent.language.generator import Example, draw_example, seeded
from vp_engine.agent.language.lexicon import SPLITS, Split, lexicon
from vp_engine.agent.language.meaning import (
    Asymmetry,
    Change,
    Everything,
    Measure,
    Question,
    Ratio,
    Where,
)
from vp_engine.agent.language.naming import Piece, name_structures, targets_of
from vp_engine.agent.language.refusing import draw_refusal
from vp_engine.agent.language.steps import first_step, refusal, second_step
from vp_engine.agent.program import linearise, render
from vp_engine.environment.syntax import parse
from vp_engine.environment.validator import check
from vp_engine.environment.vocabulary import PROGRAM_VARIABLES, REASONS


def _code(*clauses: object, where: Where | None = None) -> str:
    return render(first_step(clauses, where or Where()))  # type: ignore[arg-type]  # clauses are passed as they are


def _examples(split: Split, number: int) -> list[Example]:
    rng = seeded("tests", split)
    return [draw_example(split, rng) for _ in range(number)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_program_of_the_language_passes_the_validator_and_the_grammar(split: Split) -> None:
    for example in _examples(split, 300):
        variables: dict[str, str] = {}
        for index, step in enumerate(example.steps):
            walker = Walker(variables, answering=index > 0)
            for terminal in step:
                walker.push(terminal)
            check(parse(render(step)), {k: v for k, v in variables.items() if k not in PROGRAM_VARIABLES})
            assert walker.finished
            assert linearise(render(step)) == list(step)
            variables = walker.variables


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_splits_share_no_sentence_template(one: Split, other: Split) -> None:
    for intent, templates in lexicon(one).sentences.items():
        assert not set(templates) & set(lexicon(other).sentences[intent]), intent


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_splits_share_no_word_of_the_refusal_lists(one: Split, other: Split) -> None:
    for name, words in lexicon(one).words.items():
        assert not set(words) & set(lexicon(other).words[name]), name


def test_training_has_enough_templates_and_every_reason() -> None:
    sentences = lexicon("train").sentences
    assert sum(map(len, sentences.values())) > 300
    by_language = {"missing_image", "one_session"}
    assert {f"refuse_{reason}" for reason in REASONS if reason not in by_language} <= set(sentences)


def test_examples_depend_on_the_seed_alone() -> None:
    assert _examples("train", 20) == _examples("train", 20)


def test_bilateral_without_side_is_the_union_and_both_is_one_row_per_side() -> None:
    assert targets_of([Piece("union", ("hippocampus",))]) == ("hippocampus",)
    assert targets_of([Piece("both", ("hippocampus",))]) == ("left_hippocampus", "right_hippocampus")


def test_a_side_word_applies_to_every_structure_of_its_list_that_has_sides() -> None:
    piece = Piece("left", ("hippocampus", "brainstem", "hemisphere"))
    assert piece.targets() == ("left_hippocampus", "brainstem", "left_hemisphere")


def test_named_structures_carry_their_side() -> None:
    words = lexicon("train")
    rng = seeded("naming")
    for _ in range(200):
        naming = name_structures([Piece("left", ("thalamus",))], words, rng, may_follow=False)
        for said in (naming.noun, naming.bare, naming.adjective):
            assert "l" in said.replace("thal", ""), said
            assert "right" not in said
            assert " r " not in f" {said} "


def test_structures_can_share_a_phrase_and_keep_the_rest_of_their_list() -> None:
    pieces = [Piece("union", ("third_ventricle", "fourth_ventricle", "csf"))]
    said = {name_structures(pieces, lexicon("train"), seeded(n), may_follow=False).bare for n in range(80)}
    joint = [text for text in said if "third and fourth ventricle" in text]
    assert joint
    assert all(any(word in text for word in ("csf", "liquor", "fluid")) for text in joint)


def test_no_list_is_refused_for_structures_that_it_names() -> None:
    examples = [example for example in _examples("train", 1500) if example.steps[0][0] != "op:refuse"]
    refused = [e.prompt for e in examples if left_out(e.prompt, "\n".join(map(render, e.steps)))]
    assert len(refused) < 0.006 * len(examples), refused


def test_what_is_no_structure_is_asked_for_in_the_words_of_requests() -> None:
    words, rng = lexicon("train"), seeded("strangers")
    drawn = [text for reason, text in (draw_refusal(words, rng) for _ in range(600)) if reason == "unknown_structure"]
    strangers = (*words.words["brain_other"], *words.words["brain_other_adjective"])
    assert sum(any(name in text for name in strangers) for text in drawn) > len(drawn) / 3


def test_session_scope_uses_the_best_image() -> None:
    assert _code(Measure(("brainstem",), ("volume",))) == (
        'img = scan(current)\nreport(volume(segment(img, "brainstem")))\n'
    )


def test_participant_scope_loops_over_sessions() -> None:
    code = _code(Measure(("csf",), (), save=True), where=Where(scope="participant"))
    assert code == 'for s in sessions:\n    img = scan(s)\n    save(segment(img, "csf"))\n'


def test_named_contrast_and_session() -> None:
    code = _code(Measure(("csf",), ("mean_intensity",)), where=Where(("FLAIR",), "first"))
    assert code == 'img = image("FLAIR", first)\nreport(mean_intensity(img, segment(img, "csf")))\n'


def test_changes_go_from_the_first_to_the_last_session() -> None:
    code = _code(Change("percent_change", ("ventricles",)), where=Where(scope="participant"))
    assert code == (
        "before = scan(first)\nafter = scan(last)\n"
        'report(percent_change(volume(segment(before, "ventricles")), volume(segment(after, "ventricles"))))\n'
    )


def test_asymmetry_is_left_then_right_and_ratio_numerator_first() -> None:
    code = _code(Asymmetry(("hemisphere",)), Ratio(("csf",), "intracranial_volume"))
    assert 'asymmetry(volume(segment(img, "left_hemisphere")), volume(segment(img, "right_hemisphere")))' in code
    assert 'ratio(volume(segment(img, "csf")), volume(segment(img, "intracranial_volume")))' in code


def test_everything_is_a_loop_over_the_parts() -> None:
    assert _code(Everything(())) == "img = scan(current)\nfor m in parcels(img):\n    save(m)\n"


@pytest.mark.parametrize(("found", "said"), [("greater", "left"), ("less", "right"), ("equal", "equal")])
def test_the_larger_side_is_answered_from_what_was_read(found: str, said: str) -> None:
    question = Question("side", "left_caudate", "right_caudate", about="caudate")
    assert render(second_step(question, found)) == f'answer("{said}", "caudate")\n'


def test_shrinking_compares_before_with_after() -> None:
    code = _code(Question("shrank", "brain", "brain", about="brain"))
    assert code.endswith('read(compare(volume(segment(before, "brain")), volume(segment(after, "brain"))))\n')


def test_refusals_name_their_reason() -> None:
    assert render(refusal("diagnosis")) == 'refuse("diagnosis")\n'
