"""Lesions one by one and words about masks, as sentences."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from vp_engine.agent.planner import Context
from vp_engine.agent.transcript import Transcript
from vp_engine.cohort.answers import answer
from vp_engine.cohort.described import MOST_TOLD
from vp_engine.environment.values import Number, Result, SessionInfo, Text
from vp_engine.environment.vocabulary import ASPECTS

ONE = SessionInfo(None, None, ("T1w", "FLAIR"))
FIRST = SessionInfo("01", date(2020, 1, 1), ("FLAIR",))
LAST = SessionInfo("02", date(2021, 1, 1), ("FLAIR",))


def said(*results: Result, prompt: str = "") -> str:
    return answer(Transcript(Context(prompt), (), "ok"), results)


def size(number: int, mm3: float, **fields: object) -> Number:
    row = Number(mm3, "mm3", f"lesion_{number:03d}", "volume", "FLAIR", ONE, qc_score=0.9)
    return replace(row, **fields)  # type: ignore[arg-type]  # fields of a number


def word(word: str, aspect: str, target: str = "lesion", confidence: float | None = 0.93) -> Text:
    return Text(word, target, ONE, measure=aspect, image="FLAIR", confidence=confidence)


def test_a_lesion_is_one_sentence_with_all_that_is_known_of_it() -> None:
    rows = (
        size(1, 2310.0),
        size(1, 18.2, measure="max_diameter", unit="mm"),
        size(1, 11.0, measure="perpendicular_diameter", unit="mm"),
        word("right_frontal_lobe", "place", "lesion_001"),
        word("bright", "signal", "lesion_001"),
        word("ring", "pattern", "lesion_001", 0.6),
        size(2, 90.0),
        word("infratentorial", "place", "lesion_002"),
    )
    assert said(*rows, prompt="in ml") == (
        "Lesion 1: volume 2.31 mL, largest diameter 18.2 mm, perpendicular diameter 11.0 mm, in the right frontal "
        "lobe, brighter than white matter on FLAIR, ring-like (unsure: 0.60). "
        "Lesion 2: volume 0.0900 mL, infratentorial."
    )


def test_a_hundred_lesions_are_a_few_sentences() -> None:
    rows = [size(number, 1000.0 / number) for number in range(1, 101)]
    text = said(*rows)
    assert text.count("Lesion ") == MOST_TOLD
    assert text.endswith("The other 90 of the lesions: volume 10.0 mm3 to 90.9 mm3; see the rows.")
    assert len(text) < 600


def test_one_lesion_more_is_told_and_not_left_as_a_range_of_one() -> None:
    text = said(*(size(number, 100.0 - number) for number in range(1, MOST_TOLD + 2)))
    assert f"Lesion {MOST_TOLD + 1}: volume 89.0 mm3." in text
    assert "other" not in text


def test_doubt_about_the_delineation_is_said_once() -> None:
    text = said(*(size(number, 10.0, qc_score=0.41) for number in range(1, 4)))
    assert text.count("low confidence") == 1
    assert text.endswith("Lesion 3: volume 10.0 mm3 (low confidence: qc_score 0.41).")


def test_what_is_undefined_is_said() -> None:
    row = size(1, 0.0, measure="relative_intensity", unit="1", flags=("no_white_matter",))
    text = said(replace(row, value=None))
    assert text.startswith("Lesion 1: intensity relative to white matter on FLAIR undefined.")


def test_sessions_are_told_apart() -> None:
    rows = size(1, 10.0, session=FIRST), size(1, 12.0, session=LAST)
    assert said(*rows) == ("In session 01, lesion 1: volume 10.0 mm3. In session 02, lesion 1: volume 12.0 mm3.")


def test_words_about_a_mask_come_with_their_confidence() -> None:
    rows = word("both", "side"), word("left_parietal_lobe", "place", confidence=0.81), word("many", "number")
    assert said(*rows) == (
        "Lesions: on both sides (confidence 0.93), mostly in the left parietal lobe (confidence 0.81), "
        "many pieces (confidence 0.93)."
    )


def test_what_images_do_not_tell_is_said_as_such() -> None:
    rows = word("left", "side"), word("unclear", "mass_effect", confidence=0.0), word("unclear", "enhancement")
    text = "Lesions: on the left (confidence 0.93), mass effect and enhancement unclear from these images."
    assert said(*rows) == text


def test_nothing_found_is_said_once() -> None:
    rows = word("none", "side", "tumor", None), word("none", "place", "tumor", None)
    assert said(*rows) == "Tumor: none found."


@pytest.mark.parametrize(("aspect", "one"), [(aspect, one) for aspect, words in ASPECTS.items() for one in words])
def test_every_word_of_every_aspect_can_be_said(aspect: str, one: str) -> None:
    text = said(word(one, aspect))
    others = [said(word(other, aspect)) for other in ASPECTS[aspect] if other != one]
    assert text.startswith("Lesions: ")
    assert "{" not in text
    assert "_" not in text
    assert text not in others


def test_flags_of_words_are_explained() -> None:
    text = said(replace(word("left", "side"), flags=("mask_resampled",)))
    assert "(mask_resampled)" in text
