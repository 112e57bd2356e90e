"""Ops on lesions one by one: what they are called, which are chosen, what is said of them, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vp_engine.environment.describing import MANY, SUREST
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.ops_lesions import MAX_PIECES
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Image, Mask, Number, SessionInfo, Text
from vp_engine.environment.vocabulary import ASPECTS, HEMISPHERES, LOBES, PLACES, SIGNALS, TEXT_TYPES, WORDS, ZONES

IMAGES = ("FLAIR", "T1w")
START = 'img = scan(current)\nmask = segment(img, "lesion")\n'


class Specks(PhantomWorld):
    """Lesions are single voxels in the white matter, as many as asked for."""

    def __init__(self, number: int) -> None:
        super().__init__(("FLAIR",))
        self.number = number

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        found = super().segment(image, structure, phi=phi)
        if structure != "lesion":
            return found
        specks = np.zeros_like(found.data)
        specks[2:-2:2, 2:-2:2, 2:-2:2] = True
        specks[tuple(np.argwhere(specks)[self.number :].T)] = False
        return Mask(image, structure, specks, qc_score=0.9)


class Coarse(PhantomWorld):
    """T1w has every second voxel of the grid only, and starts elsewhere."""

    def image(self, session: SessionInfo, suffix: str) -> Image:
        fine = super().image(session, suffix)
        if suffix != "T1w":
            return fine
        affine = fine.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] += 3.0
        return Image(session, suffix, fine.data[1::2, 1::2, 1::2], affine)

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        found = super().segment(image, structure, phi=phi)
        data = found.data[1::2, 1::2, 1::2] if image.suffix == "T1w" else found.data
        return Mask(image, structure, data, qc_score=1.0)


class WithoutSides(PhantomWorld):
    """The files do not say which side is left."""

    def image(self, session: SessionInfo, suffix: str) -> Image:
        fine = super().image(session, suffix)
        return Image(session, suffix, fine.data, fine.affine, lateralised=False)


class Judging(PhantomWorld):
    """Notes what it is asked to judge."""

    def __init__(self) -> None:
        super().__init__(IMAGES)
        self.asked: list[tuple[str, str, str, tuple[int, ...]]] = []

    def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
        assert mask.image is image
        self.asked.append((aspect, image.suffix, mask.structure, mask.data.shape))
        return ASPECTS[aspect][0], 0.8


def run(code: str, world: PhantomWorld | None = None) -> Environment:
    environment = Environment(world or PhantomWorld(IMAGES))
    observation = environment.run(Instruction(code))
    assert observation.status == "done", observation.text()
    return environment


def failing(code: str, world: PhantomWorld | None = None) -> Observation:
    return Environment(world or PhantomWorld(IMAGES)).run(Instruction(code))


def values(environment: Environment) -> dict[str, float | None]:
    return {row.target: row.value for row in environment.reported if isinstance(row, Number)}


def words(environment: Environment) -> dict[tuple[str | None, str], str]:
    return {(row.target, row.measure): row.word for row in environment.reported if isinstance(row, Text)}


def chosen(expression: str, world: PhantomWorld | None = None) -> tuple[str, int]:
    """Name of what is chosen and the number of its pieces."""
    (row,) = run(f"{START}report(count({expression}))\n", world).reported
    assert isinstance(row, Number)
    assert row.value is not None
    return row.target, int(row.value)


# pieces


def test_every_lesion_has_rows_of_its_own_the_largest_first() -> None:
    found = values(run(f"{START}for m in pieces(mask):\n    report(volume(m))\n"))
    assert list(found) == [f"lesion_{number:03d}" for number in range(1, 9)]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    (whole,) = values(run(f"{START}report(volume(mask))\n")).values()
    assert sum(volume or 0.0 for volume in found.values()) == whole


def test_an_empty_mask_has_no_pieces_and_a_variable_can_hold_none() -> None:
    code = f'{START}x = pieces(erode(mask, "20mm"))\nfor m in x:\n    report(volume(m))\nreport(count(mask))\n'
    environment = run(code)
    assert list(values(environment)) == ["lesion"]
    assert environment.variables["x"] == "List[Mask]"
    assert environment.run(Instruction("for m in x:\n    save(m)\nreport(count(mask))\n")).status == "done"


def test_pieces_can_be_saved_and_their_confidence_is_that_of_the_mask() -> None:
    environment = run(f"{START}save(pieces(mask))\n", Specks(3))
    assert [(mask.structure, int(mask.data.sum()), mask.qc_score) for mask in environment.saved] == [
        ("lesion_001", 1, 0.9),
        ("lesion_002", 1, 0.9),
        ("lesion_003", 1, 0.9),
    ]
    assert all(mask.sources == ("lesion",) for mask in environment.saved)


def test_too_many_pieces_are_refused_and_counting_them_is_not() -> None:
    many = Specks(MAX_PIECES + 1)
    for expression in ("pieces(mask)", 'located(img, mask, "frontal_lobe")', 'with_signal(img, mask, "bright")'):
        observation = failing(f"{START}x = {expression}\n", many)
        assert (observation.status, observation.code) == ("refused", "too_many_pieces")
        assert str(MAX_PIECES + 1) in observation.message
    (row,) = run(f'{START}report(describe(img, mask, "place"))\n', many).reported
    assert isinstance(row, Text)
    assert (row.word, row.flags) == ("unclear", ("too_many_pieces",))
    assert words(run(f'{START}report(describe(img, mask, "number"))\n', many)) == {("lesion", "number"): "many"}
    assert chosen('at_least(mask, "1mm")', many) == ("lesion_at_least_1mm", 0)
    run(f"{START}x = pieces(mask)\n", Specks(MAX_PIECES))


def test_a_hundred_and_fifty_lesions_with_all_their_measures_are_within_the_limits() -> None:
    code = (
        f"{START}for m in pieces(mask):\n    report(volume(m))\n    report(max_diameter(m))\n"
        "    report(perpendicular_diameter(m))\n    report(relative_intensity(img, m))\n"
        '    report(describe(img, m, "place"))\n    report(describe(img, m, "signal"))\n'
    )
    environment = run(code, Specks(150))
    assert len(environment.reported) == 900


# choosing


def test_smallest_and_largest_are_the_ends_of_the_pieces() -> None:
    ends = run(f"{START}report([volume(smallest(mask)), volume(largest(mask))])\n")
    pieces = values(run(f"{START}for m in pieces(mask):\n    report(volume(m))\n"))
    assert values(ends) == {"lesion_smallest": pieces["lesion_008"], "lesion_largest": pieces["lesion_001"]}
    empty = run(f'{START}report(volume(smallest(erode(mask, "20mm"))))\n')
    assert list(values(empty).values()) == [0.0]


def test_pieces_of_a_length_are_those_whose_diameter_is() -> None:
    rows = run(f"{START}for m in pieces(mask):\n    report(max_diameter(m))\n").reported
    long = sum(isinstance(row, Number) and (row.value or 0.0) >= 10 for row in rows)
    assert 0 < long < len(rows)
    assert chosen('at_least(mask, "10mm")') == ("lesion_at_least_10mm", long)


def test_pieces_that_touch_are_taken_whole() -> None:
    name, number = chosen('touching(mask, segment(img, "ventricles"))')
    assert (name, number) == ("lesion_touching_ventricles", 1)
    whole = f'{START}report(volume(touching(mask, segment(img, "ventricles"))))\nreport(volume(mask))\n'
    pieces = values(run(f"{START}for m in pieces(mask):\n    report(volume(m))\n"))
    assert values(run(whole))["lesion_touching_ventricles"] in pieces.values()


def test_places_divide_the_pieces() -> None:
    lobes = [f"{side}_{lobe}" for side in ("left", "right") for lobe in LOBES]
    counted = {place: chosen(f'located(img, mask, "{place}")')[1] for place in PLACES}
    assert sum(counted[place] for place in lobes) + counted["infratentorial"] + counted["deep_gray_matter"] == 8
    assert all(counted[lobe] == counted[f"left_{lobe}"] + counted[f"right_{lobe}"] for lobe in LOBES)
    assert sum(counted[side] for side in HEMISPHERES) == 7
    assert counted["left_frontal_lobe"] == 3
    assert counted["infratentorial"] == 1
    assert counted["periventricular"] == 1
    assert chosen('located(img, mask, "left_hemisphere")')[0] == "lesion_in_left_hemisphere"


def test_one_lesion_of_a_place_can_be_picked_further() -> None:
    target, number = chosen('largest(located(img, mask, "left_hemisphere"))')
    assert (target, number) == ("lesion_in_left_hemisphere_largest", 1)


def test_signals_divide_the_pieces_and_the_extremes_are_one() -> None:
    names = {signal: chosen(f'with_signal(img, mask, "{signal}")') for signal in SIGNALS}
    assert names["bright"] == ("lesion_bright_on_FLAIR", 6)
    assert [names[signal][1] for signal in ("dark", "similar", "brightest", "darkest")] == [2, 0, 1, 1]
    ratios = values(run(f"{START}for m in pieces(mask):\n    report(relative_intensity(img, m))\n"))
    darkest = run(f'{START}report(relative_intensity(img, with_signal(img, mask, "darkest")))\n')
    assert list(values(darkest).values()) == [min(ratio or 9.0 for ratio in ratios.values())]


def test_signals_are_those_of_the_image_named() -> None:
    code = f'{START}report(relative_intensity(image("T1w", current), mask))\nreport(relative_intensity(img, mask))\n'
    rows = run(code).reported
    assert [row.image for row in rows] == ["T1w", "FLAIR"]
    assert [isinstance(row, Number) and (row.value or 0) > 1 for row in rows] == [False, True]


def test_white_matter_to_compare_with_has_no_lesion_in_it() -> None:
    class Covering(PhantomWorld):
        """White matter goes on through the lesions."""

        def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
            found = super().segment(image, structure, phi=phi)
            if not structure.endswith("cerebral_white_matter"):
                return found
            return Mask(image, structure, found.data | super().segment(image, "lesion").data)

    code = 'img = scan(current)\nreport(relative_intensity(img, segment(img, "non_enhancing_tumor")))\n'
    plain, covered = (values(run(code, world(IMAGES))) for world in (PhantomWorld, Covering))
    assert plain == covered


def test_masks_of_another_grid_are_carried_over() -> None:
    other = 'image("T1w", current)'
    world = Coarse(IMAGES)
    for place in ("left_frontal_lobe", "infratentorial", "right_hemisphere"):
        assert chosen(f'located({other}, mask, "{place}")', world) == chosen(f'located(img, mask, "{place}")')
    assert chosen(f'with_signal({other}, mask, "dark")', world)[1] >= 5
    row = run(f"{START}report(relative_intensity({other}, largest(mask)))\n", world).reported[0]
    assert "mask_resampled" in row.flags
    assert isinstance(row, Number)
    same = values(run(f"{START}report(relative_intensity({other}, largest(mask)))\n"))["lesion_largest"]
    assert row.value == pytest.approx(same, rel=0.1)


def test_a_piece_that_falls_between_the_voxels_of_an_image_is_said_to_be_unknown() -> None:
    class Fine(Coarse):
        def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
            found = super().segment(image, structure, phi=phi)
            if structure != "lesion":
                return found
            data = np.zeros_like(found.data)
            data[20, 30, 30] = True  # between two of the voxels that T1w has
            data[29:35, 29:35, 29:35] = True
            return Mask(image, structure, data)

    code = f'{START}save(with_signal(image("T1w", current), mask, "brightest"))\n'
    (mask,) = run(code, Fine(IMAGES)).saved
    assert "signal_unknown" in mask.flags
    assert int(mask.data.sum()) == 6**3


# words


def test_a_word_is_a_row_with_its_confidence() -> None:
    (row,) = run(f'{START}report(describe(img, largest(mask), "place"))\n').reported
    assert isinstance(row, Text)
    assert (row.word, row.target, row.measure, row.image) == ("right_frontal_lobe", "lesion_largest", "place", "FLAIR")
    assert row.confidence is not None
    assert 0.8 < row.confidence <= SUREST
    assert row.session is not None


def test_what_a_mask_holds_in_words() -> None:
    code = f'{START}x = located(img, mask, "left_hemisphere")\n'
    code += "".join(f'report(describe(img, mask, "{aspect}"))\n' for aspect in ("side", "number", "signal"))
    code += "".join(f'report(describe(img, x, "{aspect}"))\n' for aspect in ("side", "number", "place"))
    found = words(run(code))
    assert found["lesion", "side"] == "both"
    assert found["lesion", "number"] == "several"
    assert found["lesion", "signal"] == "bright"
    assert found["lesion_in_left_hemisphere", "side"] == "left"
    assert found["lesion_in_left_hemisphere", "place"] == "left_parietal_lobe"


def test_one_piece_across_the_middle_is_midline_and_many_are_many() -> None:
    code = 'img = scan(current)\nreport(describe(img, segment(img, "third_ventricle"), "side"))\n'
    assert words(run(code)) == {("third_ventricle", "side"): "midline"}
    assert words(run(f'{START}report(describe(img, mask, "number"))\n', Specks(MANY))) == {("lesion", "number"): "many"}
    few = words(run(f'{START}report(describe(img, mask, "number"))\n', Specks(MANY - 1)))
    assert few == {("lesion", "number"): "several"}


@pytest.mark.parametrize("aspect", ASPECTS)
def test_of_nothing_every_aspect_is_none(aspect: str) -> None:
    found = words(run(f'{START}report(describe(img, erode(mask, "20mm"), "{aspect}"))\n'))
    assert list(found.values()) == ["none"]


@pytest.mark.parametrize(
    ("judgement", "probability", "said", "confidence"),
    [
        ("yes", 0.91, "bright", 0.91),
        ("no", 0.95, "unclear", 0.0),
        ("unclear", 0.6, "unclear", 0.0),
        ("unclear", 0.0, "bright", SUREST),  # nothing was learnt of it
    ],
)
def test_what_is_read_off_a_lesion_is_said_where_that_is_mostly_right(
    judgement: str, probability: float, said: str, confidence: float
) -> None:
    class Learnt(PhantomWorld):
        def judged(self, image: Image, mask: Mask, aspect: str) -> tuple[str, float]:
            assert (image.suffix, mask.structure, aspect) == ("FLAIR", "lesion", "signal")
            return judgement, probability

    (row,) = run(f'{START}report(describe(img, mask, "signal"))\n', Learnt(IMAGES)).reported
    assert isinstance(row, Text)
    assert (row.word, row.confidence) == (said, confidence)


def test_anatomy_is_described_whatever_was_learnt_of_lesions() -> None:
    world = Judging()
    code = 'img = scan(current)\nreport(describe(img, segment(img, "left_thalamus"), "side"))\n'
    assert words(run(code, world)) == {("left_thalamus", "side"): "left"}
    assert not world.asked


@pytest.mark.parametrize("aspect", ["pattern", "mass_effect", "enhancement"])
def test_what_no_measure_says_the_world_judges_on_the_image_asked_for(aspect: str) -> None:
    world = Judging()
    code = 'img = image("T1w", current)\nmask = segment(image("FLAIR", current), "lesion")\n'
    (row,) = run(f'{code}report(describe(img, mask, "{aspect}"))\n', world).reported
    assert isinstance(row, Text)
    assert (row.word, row.confidence) == (ASPECTS[aspect][0], 0.8)
    assert world.asked == [(aspect, "T1w", "lesion", (56, 68, 58))]


def test_what_a_phantom_cannot_show_is_unclear() -> None:
    (row,) = run(f'{START}report(describe(img, mask, "pattern"))\n').reported
    assert isinstance(row, Text)
    assert (row.word, row.confidence) == ("unclear", 0.0)


def test_without_sides_or_anatomy_it_is_unclear_where_something_lies() -> None:
    code = f'{START}report(describe(img, mask, "side"))\nreport(describe(img, mask, "place"))\n'
    for world in (WithoutSides(IMAGES), PhantomWorld(IMAGES, structures=_without("left_thalamus", "left_caudate"))):
        found = run(code, world).reported
        expected = ["unclear", "unclear"] if isinstance(world, WithoutSides) else ["both", "right_frontal_lobe"]
        assert [isinstance(row, Text) and row.word for row in found] == expected
    lesions = frozenset(name for name in PhantomWorld().structures if "lesion" in name or "tumor" in name)
    bare = PhantomWorld(IMAGES, structures=lesions | {"edema", "hemorrhage", "resection_cavity"})
    (side, _) = run(code, bare).reported
    assert isinstance(side, Text)
    assert (side.word, side.flags) == ("unclear", ("no_landmarks",))


def _without(*names: str) -> frozenset[str]:
    return PhantomWorld().structures - set(names)


def test_a_word_can_be_read_and_compared() -> None:
    code = f'{START}x = describe(img, mask, "side")\nread(x)\n'
    observation = Environment(PhantomWorld(IMAGES)).run(Instruction(code))
    assert observation.status == "ok"
    assert isinstance(observation.values[0], Text)
    assert observation.values[0].word == "both"


# refusals


def test_places_with_a_side_need_to_know_which_is_left() -> None:
    for place in ("left_frontal_lobe", "right_hemisphere"):
        assert failing(f'{START}save(located(img, mask, "{place}"))\n', WithoutSides(IMAGES)).code == "not_lateralised"
    run(f'{START}save(located(img, mask, "frontal_lobe"))\n', WithoutSides(IMAGES))


def test_without_anatomy_no_place_can_be_taken() -> None:
    world = PhantomWorld(IMAGES, structures=frozenset({"white_matter_lesion"}))
    code = 'img = scan(current)\nx = segment(img, "white_matter_lesion")\n'
    assert failing(f'{code}save(located(img, x, "frontal_lobe"))\n', world).code == "no_landmarks"
    observation = failing(f"{code}report(relative_intensity(img, x))\n", world)
    assert (observation.status, observation.code) == ("refused", "unsupported_structure")


def test_masks_and_images_of_two_sessions_do_not_meet() -> None:
    world = PhantomWorld(IMAGES, sessions=2)
    code = 'x = segment(scan(first), "lesion")\nimg = scan(last)\n'
    for line in (
        'save(located(img, x, "frontal_lobe"))',
        'save(with_signal(img, x, "bright"))',
        "report(relative_intensity(img, x))",
        *(f'report(describe(img, x, "{aspect}"))' for aspect in ASPECTS),
    ):
        assert failing(f"{code}{line}\n", world).code == "different_sessions", line


def test_words_that_are_about_nothing_are_no_rows() -> None:
    for expression in ("quality(mask)", "compare(volume(mask), volume(largest(mask)))"):
        assert failing(f"{START}report({expression})\n").code == "word_without_target"


def test_two_words_for_one_aspect_are_refused_and_one_twice_is_one_row() -> None:
    code = f'{START}report(describe(img, mask, "side"))\n'
    environment = run(code + code.splitlines()[-1] + "\n")
    assert len(environment.reported) == 1


def test_anatomy_is_asked_for_once_however_many_pieces_there_are() -> None:
    class Noting(PhantomWorld):
        calls = 0

        def landmarks(self, image: Image, structures: Sequence[str]) -> dict[str, Mask]:
            self.calls += 1
            return super().landmarks(image, structures)

    world = Noting(IMAGES)
    code = f"{START}for m in pieces(mask):\n"
    code += '    report(describe(img, m, "place"))\n    report(describe(img, m, "side"))\n'
    code += "    report(relative_intensity(img, m))\n"
    run(code, world)
    assert world.calls == 2  # what lies around, and white matter without lesions


# the vocabulary


def test_every_answer_of_an_aspect_is_a_word_of_the_language() -> None:
    assert all(set(answers) <= set(WORDS) for answers in ASPECTS.values())
    assert all({"none", "unclear"} <= set(answers) for answers in ASPECTS.values())
    assert len(WORDS) == len(set(WORDS))


def test_places_are_lobes_hemispheres_and_zones() -> None:
    assert len(PLACES) == len(set(PLACES)) == 3 * len(LOBES) + len(HEMISPHERES) + len(ZONES)
    assert set(ASPECTS["place"]) == {*PLACES, "none", "unclear"} - set(HEMISPHERES)
    assert TEXT_TYPES["Place"] == PLACES
