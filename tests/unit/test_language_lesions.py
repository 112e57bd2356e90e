"""The language of lesions: one by one, selected, described, new and followed; what its sentences mean."""

from __future__ import annotations

import re

import pytest

from vp_engine.agent.coverage import left_out
from vp_engine.agent.decoding import Walker
from vp_engine.agent.language.generator import NAMED_CONTRASTS, Example, draw_example, seeded
from vp_engine.agent.language.lesion_requests import LESION_DRAWS, draw_described
from vp_engine.agent.language.lexicon import SPLITS, Split, lexicon
from vp_engine.agent.language.meaning import (
    Change,
    Clause,
    Described,
    Each,
    Followed,
    Measure,
    Presence,
    Region,
    Where,
    contrast_in,
    fate_in,
    in_hemisphere,
)
from vp_engine.agent.language.questions import draw_brightness, draw_lesion_side, name_of
from vp_engine.agent.language.refusing import draw_refusal
from vp_engine.agent.language.requests import draw_list
from vp_engine.agent.language.steps import first_step, second_step
from vp_engine.agent.program import render
from vp_engine.anatomy import STRUCTURES
from vp_engine.environment.instruction import Instruction
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.vocabulary import ASPECTS, FATES, PLACES, SIGNALS

OPS = ("pieces", "smallest", "at_least", "touching", "located", "with_signal", "changed", "follow", "describe",
       "perpendicular_diameter", "relative_intensity")  # fmt: skip
NEW = Region("changed", ("lesion",), "new")


def _code(*clauses: Clause, where: Where | None = None) -> str:
    return render(first_step(clauses, where or Where()))


def _programs(split: Split, number: int) -> list[tuple[Example, str]]:
    rng = seeded("lesions", split)
    examples = [draw_example(split, rng) for _ in range(number)]
    return [(example, "\n".join(map(render, example.steps))) for example in examples]


@pytest.mark.parametrize("split", SPLITS)
def test_every_op_and_every_word_about_lesions_is_drawn(split: Split) -> None:
    text = "".join(code for _, code in _programs(split, 3500))
    assert not [op for op in OPS if f"{op}(" not in text]
    words = set(re.findall(r'"([a-z_0-9]+)"', text))
    assert set(ASPECTS) | set(FATES) | set(SIGNALS) <= words
    # sides are those of the hemispheres nearer, as in every other sentence
    assert len({place for place in PLACES if not place.endswith("hemisphere")} - words) <= 2


@pytest.mark.parametrize("split", SPLITS)
def test_programs_about_lesions_run(split: Split) -> None:
    drawn = [(example, code) for example, code in _programs(split, 240) if any(f"{op}(" in code for op in OPS)]
    assert len(drawn) > 15
    for example, code in drawn:
        environment = Environment(PhantomWorld(NAMED_CONTRASTS, sessions=max(2, example.sessions)))
        for step in example.steps:
            seen = environment.run(Instruction(render(step)))
            assert seen.status in ("ok", "done"), (example.prompt, code, seen.text())


@pytest.mark.parametrize("draw", LESION_DRAWS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_kind_of_request_has_sentences_in_every_language(draw: object, split: Split) -> None:
    rng = seeded(split, str(draw))
    for _ in range(60):
        _, sentence = draw(lexicon(split), rng)  # type: ignore[operator]  # parametrised with functions
        assert "{" not in sentence
        assert sentence.strip()


def test_requests_about_lesions_are_not_refused_for_what_they_name() -> None:
    rng, words = seeded("covered"), lexicon("train")
    drawn = [draw(words, rng) for draw in LESION_DRAWS for _ in range(40)]
    refused = [sentence for clause, sentence in drawn if left_out(sentence, _code(clause))]
    assert len(refused) <= 0.01 * len(drawn), refused


def test_one_row_per_lesion_is_a_loop_over_pieces() -> None:
    clause = Each("lesion", ("volume", "distance"), ("place",), other="ventricles", save=True)
    assert _code(clause) == (
        'img = scan(current)\nfor m in pieces(segment(img, "lesion")):\n    save(m)\n    report(volume(m))\n'
        '    report(distance(m, segment(img, "ventricles")))\n    report(describe(img, m, "place"))\n'
    )


def test_selections_are_made_of_each_other_in_one_order() -> None:
    lesions = Region("at_least", (Region("located", ("lesion",), "left_frontal_lobe"),), "5mm")
    assert 'count(at_least(located(img, segment(img, "lesion"), "left_frontal_lobe"), "5mm"))' in _code(
        Measure((lesions,), ("count",))
    )


def test_a_signal_may_be_looked_at_on_another_image_than_the_one_that_is_segmented() -> None:
    holes = Region("with_signal", ("lesion",), "dark", "T1w")
    assert contrast_in(Region("largest", (holes,))) == "T1w"
    assert _code(Measure((holes,), ("count",)), where=Where(scope="participant")) == (
        'for s in sessions:\n    img = scan(s)\n    img2 = image("T1w", s)\n'
        '    report(count(with_signal(img2, segment(img, "lesion"), "dark")))\n'
    )
    assert _code(Described("tumor", ("side", "signal"), contrast="FLAIR")) == (
        'img = scan(current)\nimg2 = image("FLAIR", current)\nmask = segment(img, "tumor")\n'
        'report(describe(img, mask, "side"))\nreport(describe(img2, mask, "signal"))\n'
    )


def test_a_description_in_one_word_needs_no_variable() -> None:
    assert _code(Described(Region("largest", ("lesion",)), ("place",))) == (
        'img = scan(current)\nreport(describe(img, largest(segment(img, "lesion")), "place"))\n'
    )


@pytest.mark.parametrize(("fate", "image"), [("new", "after"), ("gone", "before"), ("stable", "after")])
def test_what_became_of_lesions_is_seen_on_the_image_they_lie_on(fate: str, image: str) -> None:
    pair = 'segment(before, "lesion"), segment(after, "lesion")'
    assert _code(Each(Region("changed", ("lesion",), fate), ("volume",), ("place",))) == (
        f'before = scan(first)\nafter = scan(last)\nfor m in pieces(changed({pair}, "{fate}")):\n'
        f'    report(volume(m))\n    report(describe({image}, m, "place"))\n'
    )


def test_requests_about_two_sessions_share_their_images_and_questions_come_last() -> None:
    code = _code(Presence(NEW, "lesion"), Followed("lesion"), Change("change", ("ventricles",)))
    assert code.count("scan(first)") == code.count("scan(last)") == 1
    assert code.endswith("read(count(mask))\n")
    assert 'follow(segment(before, "lesion"), segment(after, "lesion"))\n' in code
    assert render(second_step(Presence(NEW, "lesion"), "some")) == 'answer("yes", "lesion")\n'


def test_regions_are_called_what_the_environment_calls_them() -> None:
    assert fate_in(Region("at_least", (NEW,), "3mm")) == "new"
    assert name_of(Region("at_least", (NEW,), "3mm")) == "lesion_new_at_least_3mm"
    assert name_of(Region("touching", ("lesion", "ventricles"))) == "lesion_touching_ventricles"
    assert name_of(Region("located", ("lesion",), "periventricular")) == "lesion_in_periventricular"


def test_the_second_mask_of_a_comparison_between_sessions_follows_from_the_first() -> None:
    walker = Walker({"before": "Image", "after": "Image"})
    for terminal in ("op:report", "op:count", "op:changed", "op:segment", "var:before", "structure:lesion", "mod"):
        walker.push(terminal)
    forced: list[str] = []
    while (terminal := walker.forced() or "") and len(forced) < 10:
        walker.push(terminal)
        forced.append(terminal)
    assert forced == ["op:segment", "var:after", "structure:lesion", "mod"]
    assert walker.allowed() == tuple(f"fate:{fate}" for fate in FATES)


def test_the_side_of_one_lesion_is_described_and_that_of_many_is_answered() -> None:
    words = lexicon("train")
    rng = seeded("sides")
    for _ in range(150):
        question, _ = draw_lesion_side(words, rng)
        assert words.names[question.about].plurals  # type: ignore[union-attr]
        described, said = draw_described(words, rng)
        if isinstance(described, Described) and described.aspects == ("side",):
            assert not re.search(r"\b(most|more|mostly)\b(?! (hyper|hypo)?intense)", said)


def test_the_brightness_of_one_lesion_is_described_and_that_of_many_is_answered() -> None:
    words = lexicon("train")
    rng = seeded("signals")
    for _ in range(300):
        question, sentence = draw_brightness(words, rng)
        about = question.about  # type: ignore[union-attr]
        if STRUCTURES[about].kind == "pathology":
            plurals = [plural.removeprefix("all ") for plural in words.names[about].plurals]
            assert any(plural in sentence for plural in plurals) or any(
                adjective in sentence for adjective in words.names[about].adjectives
            )


def test_places_that_have_a_name_are_no_strangers() -> None:
    words, rng = lexicon("train"), seeded("places")
    named = re.compile(r"\b(periventricular|juxtacortical|infratentorial) (lesions|wmhs?|plaques|infarcts)")
    drawn = [draw_refusal(words, rng) for _ in range(3000)]
    assert not [text for reason, text in drawn if reason == "unknown_structure" and named.search(text)]


def test_lists_hold_measures_of_different_kinds() -> None:
    words, rng = lexicon("train"), seeded("lists")
    kinds = {frozenset(type(clause).__name__ for clause in draw_list(words, rng)[0]) for _ in range(300)}
    assert {frozenset({"Measure", "Asymmetry"}), frozenset({"Measure", "Ratio"})} <= kinds


def test_hemispheres_are_told_by_what_is_nearer() -> None:
    assert name_of(in_hemisphere("lesion", "left")) == "lesion_nearer_left_hemisphere"
