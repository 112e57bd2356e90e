"""What regions are called, made of and worth, and what is cut out of images."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from vp_engine.anatomy import PARTS
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.regions import MAX_NAME, not_found, twin_name
from vp_engine.environment.values import FEATURES, Cutout, Features, Image, Mask, Number, SessionInfo
from vp_engine.environment.vocabulary import LENGTHS_MM, TEXT_TYPES

SESSIONS = (
    SessionInfo("a", date(2020, 1, 1), ("T1w", "FLAIR")),
    SessionInfo("b", date(2021, 1, 1), ("T1w", "FLAIR")),
)
Spans = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

# mm, in the first and in all sessions; x runs from left to right
BOXES: dict[str, Spans] = {
    "left_hippocampus": ((4, 8), (4, 16), (10, 14)),
    "right_hippocampus": ((32, 36), (4, 12), (10, 14)),
    "ventricles": ((16, 24), (10, 20), (20, 30)),
    "brainstem": ((18, 22), (10, 20), (18, 22)),
    "white_matter_lesion": ((14, 28), (14, 16), (24, 26)),
    "left_hemisphere": ((0, 20), (0, 40), (0, 40)),
    "right_hemisphere": ((20, 40), (0, 40), (0, 40)),
}
SCORES = {"left_hippocampus": 0.9, "right_hippocampus": 0.8, "brainstem": 0.5, "white_matter_lesion": 0.7}


class BoxWorld:
    """Boxes at known places, on a 1 mm grid for T1w and a 2 mm grid for FLAIR; what is not a box is not there."""

    def __init__(self, *, lateralised: bool = True) -> None:
        self.sessions = SESSIONS
        self.structures = frozenset(PARTS)
        self.lateralised = lateralised
        self.pooled: list[tuple[str, int]] = []

    def image(self, session: SessionInfo, suffix: str) -> Image:
        step = 2 if suffix == "FLAIR" else 1
        n = 40 // step
        affine = np.diag([step, step, step, 1.0])
        affine[:3, 3] = (step - 1) / 2 - 20
        data = np.arange(1, n**3 + 1, dtype=np.float32).reshape(n, n, n)
        return Image(session, suffix, data, affine, self.lateralised, flags=(f"flag_{suffix}",))

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        del phi
        mask = np.zeros(image.data.shape, bool)
        step = 40 // len(mask)
        if structure in BOXES:
            mask[tuple(slice(low // step, high // step) for low, high in BOXES[structure])] = True
        return Mask(image, structure, mask, qc_score=SCORES.get(structure), flags=(f"flag_{structure}",))

    def features(self, image: Image, mask: Mask) -> np.ndarray:
        assert mask.data.shape == image.data.shape
        self.pooled.append((image.suffix, int(mask.data.sum())))
        return np.full(FEATURES, mask.data.sum(), dtype=np.float32)


def seg(structure: str, suffix: str = "T1w", session: str = "first") -> str:
    return f'segment(image("{suffix}", {session}), "{structure}")'


LEFT, RIGHT, LESION = seg("left_hippocampus"), seg("right_hippocampus"), seg("white_matter_lesion")


def run(code: str, *, world: BoxWorld | None = None) -> tuple[Observation, Environment]:
    environment = Environment(world or BoxWorld())
    return environment.run(Instruction(code)), environment


def number(expression: str, *, world: BoxWorld | None = None) -> Number:
    observation, environment = run(f"report({expression})", world=world)
    assert observation.status == "done", observation.text()
    (row,) = environment.reported
    assert isinstance(row, Number)
    return row


def made(expression: str) -> Mask:
    observation, environment = run(f"save({expression})")
    assert observation.status == "done", observation.text()
    (mask,) = environment.saved
    return mask


def cut(expression: str) -> Cutout:
    observation, environment = run(f"save({expression})")
    assert observation.status == "done", observation.text()
    (cutout,) = environment.cutouts
    return cutout


VENTRICLES, BRAINSTEM = seg("ventricles"), seg("brainstem")


@pytest.mark.parametrize(
    ("expression", "target", "volume_mm3"),
    [
        (f"union({VENTRICLES}, {BRAINSTEM})", "ventricles_or_brainstem", 800 + 160 - 80),
        (f"intersection({VENTRICLES}, {BRAINSTEM})", "ventricles_and_brainstem", 4 * 10 * 2),
        (f"difference({VENTRICLES}, {BRAINSTEM})", "ventricles_without_brainstem", 800 - 80),
        (f"intersection({LEFT}, {RIGHT})", "left_hippocampus_and_right_hippocampus", 0),
        (f'dilate({BRAINSTEM}, "1mm")', "brainstem_dilated_1mm", 160 + 2 * (40 + 40 + 16)),
        (f'erode({VENTRICLES}, "2mm")', "ventricles_eroded_2mm", 4 * 6 * 6),
        (f'erode({BRAINSTEM}, "5mm")', "brainstem_eroded_5mm", 0),
        (f"largest(union({LEFT}, {RIGHT}))", "left_hippocampus_or_right_hippocampus_largest", 4 * 12 * 4),
        (f'near({LESION}, {LEFT}, "20mm")', "white_matter_lesion_within_20mm_of_left_hippocampus", None),
        (f'near({LESION}, {BRAINSTEM}, "3mm")', "white_matter_lesion_within_3mm_of_brainstem", 4 * 2 * 1),
        (f'near({LESION}, {LEFT}, "1mm")', "white_matter_lesion_within_1mm_of_left_hippocampus", 0),
        (
            f"nearer({LESION}, {seg('left_hemisphere')}, {seg('right_hemisphere')})",
            "white_matter_lesion_nearer_left_hemisphere",
            6 * 2 * 2,
        ),
        (
            f"nearer({LESION}, {seg('right_hemisphere')}, {seg('left_hemisphere')})",
            "white_matter_lesion_nearer_right_hemisphere",
            8 * 2 * 2,
        ),
        (f'part({LEFT}, "anterior")', "left_hippocampus_anterior_part", 4 * 6 * 4),
        (f'part({LEFT}, "posterior")', "left_hippocampus_posterior_part", 4 * 6 * 4),
        (f'part({LESION}, "left")', "white_matter_lesion_left_part", 7 * 2 * 2),
        (f'part({LESION}, "superior")', "white_matter_lesion_superior_part", 14 * 2 * 1),
        (f'part(part({LEFT}, "anterior"), "inferior")', "left_hippocampus_anterior_part_inferior_part", 4 * 6 * 2),
    ],
)
def test_names_and_sizes(expression: str, target: str, volume_mm3: float | None) -> None:
    row = number(f"volume({expression})")
    assert (row.target, row.measure, row.unit, row.image) == (target, "volume", "mm3", "T1w")
    if volume_mm3 is not None:
        assert row.value == volume_mm3


@pytest.mark.parametrize(
    ("direction", "axis", "sign"),
    [
        ("right", 0, 1),
        ("left", 0, -1),
        ("anterior", 1, 1),
        ("posterior", 1, -1),
        ("superior", 2, 1),
        ("inferior", 2, -1),
    ],
)
def test_parts_lie_where_they_are_called(direction: str, axis: int, sign: int) -> None:
    whole, half = made(VENTRICLES), made(f'part({VENTRICLES}, "{direction}")')
    middle = [np.argwhere(mask.data).mean(0)[axis] for mask in (whole, half)]
    assert np.sign(middle[1] - middle[0]) == sign


def test_what_a_region_is_made_of() -> None:
    region = made(f'near(union({LESION}, {LEFT}), {BRAINSTEM}, "20mm")')
    assert region.is_region
    assert region.sources == ("white_matter_lesion", "left_hippocampus", "brainstem")
    assert region.qc_score == 0.5
    assert region.flags == ("flag_brainstem", "flag_left_hippocampus", "flag_white_matter_lesion")
    assert not made(LEFT).is_region


def test_masks_of_two_images_meet_on_the_grid_of_the_first() -> None:
    same = f"intersection({seg('ventricles')}, {seg('ventricles', 'FLAIR')})"
    region = made(same)
    assert region.data.shape == (40, 40, 40)
    assert region.data.sum() == 800
    assert "mask_resampled" in region.flags
    assert "flag_FLAIR" in region.flags
    assert number(f"volume({same})").image == "T1w"
    coarse = made(f"difference({seg('ventricles', 'FLAIR')}, {seg('brainstem')})")
    assert coarse.data.shape == (20, 20, 20)
    assert coarse.image.suffix == "FLAIR"


@pytest.mark.parametrize(
    "expression",
    [
        "union({}, {})",
        "intersection({}, {})",
        "difference({}, {})",
        'near({}, {}, "5mm")',
        "nearer({0}, {0}, {1})",
    ],
)
def test_two_sessions_have_no_common_region(expression: str) -> None:
    observation, _ = run(f"save({expression.format(LEFT, seg('left_hippocampus', session='last'))})")
    assert (observation.status, observation.code) == ("error", "different_sessions")


def test_a_region_of_what_was_not_found_is_undefined_and_an_empty_one_of_what_was_is_nothing() -> None:
    missing = seg("csf")  # anatomy, and not there
    for expression in (
        f'near({LESION}, {missing}, "5mm")',
        f'dilate({missing}, "5mm")',
        f"intersection({LEFT}, {missing})",
        f'part(largest({missing}), "anterior")',
        f"nearer({LESION}, {missing}, {LEFT})",
    ):
        row = number(f"volume({expression})")
        assert row.value is None
        assert "empty_mask" in row.flags
    half = number(f"volume(union({LEFT}, {missing}))")
    assert half.value == 192
    assert "part_not_found:csf" in half.flags
    no_tumor = f"intersection({LESION}, {LEFT})"
    assert number(f"volume({no_tumor})").value == 0
    assert number(f"count({no_tumor})").value == 0
    assert number(f"max_diameter({no_tumor})").value is None
    assert not_found(made(missing)) == ("csf",)


def test_left_and_right_parts_need_a_file_that_says_which_is_which() -> None:
    world = BoxWorld(lateralised=False)
    for direction in ("left", "right"):
        observation, _ = run(f'save(part({BRAINSTEM}, "{direction}"))', world=world)
        assert (observation.status, observation.code) == ("refused", "not_lateralised")
    assert run(f'save(part({BRAINSTEM}, "anterior"))', world=world)[0].status == "done"
    assert run(f"save(crop(scan(first), {BRAINSTEM}))", world=world)[0].code == "not_lateralised"
    assert run(f"save(isolate(scan(first), {BRAINSTEM}))", world=world)[0].status == "done"


def test_twins_of_regions_have_an_asymmetry_a_sum_and_a_change() -> None:
    anterior = [f'volume(part({mask}, "anterior"))' for mask in (LEFT, RIGHT)]
    row = number(f"asymmetry({', '.join(anterior)})")
    assert (row.target, row.value) == ("hippocampus_anterior_part", pytest.approx(2 * (96 - 64) / 160))
    assert number(" + ".join(anterior)).target == "hippocampus_anterior_part"
    assert number(" + ".join(reversed(anterior))).target == "hippocampus_anterior_part"
    sides = [f"{side}_hemisphere" for side in ("left", "right")]
    lesions = [f"volume(nearer({LESION}, {seg(a)}, {seg(b)}))" for a, b in (sides, sides[::-1])]
    assert number(f"asymmetry({', '.join(lesions)})").target == "white_matter_lesion_nearer_hemisphere"
    later = f'volume(part({seg("left_hippocampus", session="last")}, "anterior"))'
    assert number(f"change({anterior[0]}, {later})").value == 0
    for wrong in (f'volume(part({RIGHT}, "posterior"))', f"volume({RIGHT})"):
        assert run(f"report(asymmetry({anterior[0]}, {wrong}))")[0].code == "not_two_sides"


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [
        ("left_hippocampus", "right_hippocampus", "hippocampus"),
        ("left_hemisphere", "right_hemisphere", "cerebrum"),
        ("left_thalamus_left_part", "right_thalamus_right_part", "thalamus_lateral_part"),
        ("left_thalamus_right_part", "right_thalamus_left_part", "thalamus_medial_part"),
        ("brainstem_left_part", "brainstem_right_part", "brainstem_part"),
        (
            "left_caudate_within_5mm_of_right_putamen",
            "right_caudate_within_5mm_of_left_putamen",
            "caudate_within_5mm_of_other_putamen",
        ),
        ("right_hippocampus", "left_hippocampus", None),
        ("left_hippocampus", "left_hippocampus", None),
        ("left_hippocampus", "right_putamen", None),
        ("brainstem", "brainstem", None),
    ],
)
def test_names_of_twins(left: str, right: str, both: str | None) -> None:
    assert twin_name(left, right) == both


def test_a_name_has_an_end() -> None:
    observation, environment = run("a = " + "union(" * 3 + LEFT + f", {LEFT})" * 3 + "\nsave(union(union(a, a), a))")
    assert (observation.status, observation.code) == ("error", "long_name")
    assert str(MAX_NAME) in observation.expected
    assert environment.saved == ()


def test_one_name_has_one_file() -> None:
    anterior = f'part({LEFT}, "anterior")'
    _, environment = run(f"save({anterior})\nsave({anterior})")
    assert len(environment.saved) == 1
    # (a or b) without b, and a or (b without b)
    one = f"difference(union({LEFT}, {RIGHT}), {RIGHT})"
    other = f"union({LEFT}, difference({RIGHT}, {RIGHT}))"
    assert made(one).structure == made(other).structure
    assert run(f"save({one})\nsave({other})")[0].status == "done"  # the same voxels
    wrong = f"union({RIGHT}, difference({LEFT}, {RIGHT}))"
    assert made(wrong).structure != made(one).structure
    clash = f"union({LEFT}, difference({VENTRICLES}, {LEFT}))", f"difference(union({LEFT}, {VENTRICLES}), {LEFT})"
    observation, environment = run("".join(f"save({one})\n" for one in clash))
    assert (observation.status, observation.code) == ("error", "duplicate_row")
    assert environment.saved == ()
    # two sessions are two files
    _, environment = run(f'save({anterior})\nsave(part({seg("left_hippocampus", session="last")}, "anterior"))')
    assert len(environment.saved) == 2


def test_crop_keeps_every_voxel_in_its_place() -> None:
    cutout = cut(f"crop(scan(first), {LEFT})")
    assert (cutout.structure, cutout.isolated, cutout.data.shape) == ("left_hippocampus", False, (4, 12, 4))
    image = BoxWorld().image(SESSIONS[0], "T1w")
    assert np.array_equal(cutout.data, image.data[4:8, 4:16, 10:14])
    assert np.allclose(cutout.affine @ [0, 0, 0, 1], image.affine @ [4, 4, 10, 1])
    assert np.array_equal(cutout.affine[:3, :3], image.affine[:3, :3])


def test_isolate_keeps_the_grid_and_what_is_inside() -> None:
    cutout = cut(f'isolate(image("FLAIR", first), {seg("ventricles")})')
    image = BoxWorld().image(SESSIONS[0], "FLAIR")
    inside = np.zeros(image.data.shape, bool)
    inside[8:12, 5:10, 10:15] = True
    assert cutout.isolated
    assert cutout.data.dtype == np.float32
    assert np.array_equal(cutout.data, np.where(inside, image.data, 0))
    assert np.array_equal(cutout.affine, image.affine)
    assert cutout.flags == ("flag_ventricles", "mask_resampled")


def test_nothing_is_cut_out_of_an_empty_mask() -> None:
    for op in ("crop", "isolate"):
        observation, environment = run(f"save({op}(scan(first), {seg('lesion')}))")
        assert (observation.status, observation.code) == ("refused", "empty_mask")
        assert environment.results == ()


def test_two_cutouts_of_one_mask_need_two_names() -> None:
    assert run(f"save(crop(scan(first), {LEFT}))\nsave(isolate(scan(first), {LEFT}))")[0].code == "duplicate_row"
    _, environment = run(f"save(crop(scan(first), {LEFT}))\nsave(crop(scan(first), {RIGHT}))\nsave({LEFT})")
    assert [cutout.structure for cutout in environment.cutouts] == ["left_hippocampus", "right_hippocampus"]
    assert len(environment.saved) == 1
    assert environment.reported == ()


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (LEFT, "good"),
        (BRAINSTEM, "poor"),
        (VENTRICLES, "good"),  # without a score
        (seg("lesion"), "poor"),
        (f"union({LEFT}, {BRAINSTEM})", "poor"),
        (f'erode({LEFT}, "20mm")', "poor"),
    ],
)
def test_quality(mask: str, word: str) -> None:
    observation, _ = run(f"read(quality({mask}))")
    assert observation.text() == f"ok; {word}"
    _, environment = run(f'if quality({mask}) == "good":\n    report(volume({LEFT}))\nelse:\n    save({LEFT})')
    assert bool(environment.saved) == (word == "poor")


def test_features_reach_the_agent_and_nothing_else() -> None:
    world = BoxWorld()
    observation, environment = run(f'f = features(image("FLAIR", first), {LEFT})\nread(f)', world=world)
    (value,) = observation.values
    assert isinstance(value, Features)
    assert (value.image, value.structure, value.values.shape) == ("FLAIR", "left_hippocampus", (FEATURES,))
    assert world.pooled == [("FLAIR", 2 * 6 * 2)]  # on the grid of the image looked at
    assert observation.text() == "ok; features"
    assert environment.variables == {"f": "Features"}
    again = environment.run(Instruction("read(f)"))
    assert again.values == (value,)
    assert run(f'read(features(image("FLAIR", last), {LEFT}))')[0].code == "different_sessions"


def test_the_phantom_has_nothing_to_see() -> None:
    environment = Environment(PhantomWorld())
    code = 'img = scan(current)\nread(features(img, segment(img, "brain")))'
    (value,) = environment.run(Instruction(code)).values
    assert isinstance(value, Features)
    assert value.values.dtype == np.float32
    assert not value.values.any()
    assert len(value.values) == FEATURES


def test_regions_in_loops_and_branches() -> None:
    code = (
        "for s in sessions:\n"
        '    img = image("T1w", s)\n'
        '    lesion = segment(img, "white_matter_lesion")\n'
        '    close = near(lesion, segment(img, "brainstem"), "3mm")\n'
        "    report(volume(close))\n"
        '    if quality(close) == "poor":\n'
        "        save(close)\n"
        "    save(crop(img, lesion))\n"
        "    if volume(close) > 5:\n"
        "        f = features(img, close)\n"
    )
    world = BoxWorld()
    observation, environment = run(code, world=world)
    assert observation.status == "done", observation.text()
    assert [row.session.label for row in environment.reported if isinstance(row, Number)] == ["a", "b"]
    assert len(environment.saved) == len(environment.cutouts) == 2
    assert len(world.pooled) == 2


def test_lengths_are_a_closed_list_in_mm() -> None:
    assert TEXT_TYPES["Length"][0] == "1mm"
    assert TEXT_TYPES["Length"][-1] == "20mm"
    assert list(LENGTHS_MM.values()) == list(range(1, 21))
