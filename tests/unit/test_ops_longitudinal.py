"""The ops `changed` and `follow` in programs: names, rows, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from vp_engine.anatomy import PARTS
from vp_engine.environment.instruction import Instruction, Observation
from vp_engine.environment.omega import Environment
from vp_engine.environment.phantom import PhantomWorld
from vp_engine.environment.values import Image, Mask, Number, SessionInfo, Text

SESSIONS = (
    SessionInfo("a", date(2020, 1, 1), ("FLAIR", "T1w")),
    SessionInfo("b", date(2022, 1, 1), ("FLAIR", "T1w")),
)
Boxes = tuple[tuple[int, int, int, int], ...]
LESIONS: tuple[Boxes, Boxes] = (
    ((2, 2, 2, 4), (14, 2, 2, 5), (2, 14, 14, 4)),
    ((2, 2, 2, 7), (14, 14, 14, 3), (2, 14, 14, 4)),
)
"""One grows and stays the largest, one is gone, one is new, one stays: corners and lengths of cubes, in voxels."""


class VisitWorld(PhantomWorld):
    """Cubes on a grid of 1 mm for FLAIR and 2 mm for T1w, the second session 3 voxels farther right."""

    def __init__(
        self, sessions: tuple[SessionInfo, ...] = SESSIONS, lesions: tuple[Boxes, Boxes] = LESIONS, size: int = 24
    ) -> None:
        super().__init__()
        self.sessions, self.lesions, self.size = sessions, lesions, size
        self.structures = frozenset(PARTS)

    def image(self, session: SessionInfo, suffix: str) -> Image:
        affine = np.eye(4) * ((1, 1, 1, 1) if suffix == "FLAIR" else (2, 2, 2, 1))
        affine[0, 3] = 3.0 * self.sessions.index(session)
        size = self.size if session is self.sessions[-1] else 24
        return Image(session, suffix, np.zeros((24, 24, size), np.float32), affine, flags=("fix_bad_sform",))

    def segment(self, image: Image, structure: str, *, phi: np.ndarray | None = None) -> Mask:
        mask = np.zeros(image.data.shape, bool)
        if structure == "white_matter_lesion":
            for x, y, z, length in self.lesions[self.sessions.index(image.session)]:
                mask[x : x + length, y : y + length, z : z + length] = True
        return Mask(image, structure, mask, qc_score=0.7, flags=("flag_low_contrast",))

    def aligned(self, image: Image, to: Image) -> np.ndarray:
        matrix = np.eye(4)
        matrix[0, 3] = 3.0 * (self.sessions.index(to.session) - self.sessions.index(image.session))
        return matrix


def run(code: str, world: VisitWorld | None = None) -> tuple[Observation, Environment]:
    environment = Environment(world or VisitWorld())
    return environment.run(Instruction(code)), environment


def pair(structure: str = "white_matter_lesion", *, earlier: str = "FLAIR", later: str = "FLAIR") -> str:
    return (
        f'earlier = segment(image("{earlier}", first), "{structure}")\n'
        f'later = segment(image("{later}", last), "{structure}")\n'
    )


@pytest.mark.parametrize(
    ("fate", "session", "voxels"), [("new", "b", 27), ("gone", "a", 125), ("grown", "b", 343), ("stable", "b", 64)]
)
def test_changed_takes_whole_lesions_of_one_fate(fate: str, session: str, voxels: int) -> None:
    observation, environment = run(f'{pair()}save(changed(earlier, later, "{fate}"))\n')
    assert observation.status == "done", observation.text()
    (mask,) = environment.saved
    assert (mask.structure, mask.image.session.label) == (f"white_matter_lesion_{fate}", session)
    assert int(np.count_nonzero(mask.data)) == voxels
    assert (mask.qc_score, mask.sources) == (0.7, ("white_matter_lesion",))
    assert {"fix_bad_sform", "flag_low_contrast"} <= set(mask.flags)


def test_nothing_of_a_fate_is_an_empty_mask_with_a_volume() -> None:
    observation, environment = run(f'{pair()}report(volume(changed(earlier, later, "shrunk")))\n')
    assert observation.status == "done", observation.text()
    (row,) = environment.reported
    assert isinstance(row, Number)
    assert row.value == 0


def test_follow_writes_lesions_by_size_and_totals() -> None:
    observation, environment = run(f"{pair()}follow(earlier, later)\n")
    assert observation.status == "done", observation.text()
    words = [(row.target, row.word) for row in environment.reported if isinstance(row, Text)]
    assert words == [(f"white_matter_lesion_00{n}", w) for n, w in enumerate(("grown", "gone", "stable", "new"), 1)]
    rows = [row for row in environment.reported if isinstance(row, Number)]
    first = {row.measure: row.value for row in rows if row.target.endswith("_001") and row.session is SESSIONS[1]}
    assert first["volume"] == 343
    assert first["change"] == 279
    assert first["percent_change"] == pytest.approx(435.9, abs=0.1)
    assert first["annual_rate"] == pytest.approx(279 / (731 / 365.25))
    totals = {row.target: row.value for row in rows if row.measure == "count"}
    assert {target.removeprefix("white_matter_lesion_"): value for target, value in totals.items()} == {
        "new": 1,
        "gone": 1,
        "grown": 1,
        "shrunk": 0,
        "stable": 1,
    }
    assert {row.qc_score for row in rows} == {0.7}


def test_sessions_without_dates_have_no_rate() -> None:
    world = VisitWorld(tuple(replace(session, acquired=None) for session in SESSIONS))
    _, environment = run(f"{pair()}follow(earlier, later)\n", world)
    measures = {row.measure for row in environment.reported}
    assert "change" in measures
    assert "annual_rate" not in measures


def test_what_lies_outside_the_other_session_is_said() -> None:
    _, environment = run(f"{pair()}follow(earlier, later)\n", VisitWorld(size=12))  # without the upper half
    assert all("outside_other_session" in row.flags for row in environment.reported)
    words = [row.word for row in environment.reported if isinstance(row, Text)]
    assert words == ["grown", "gone"]


def test_two_contrasts_are_said() -> None:
    _, environment = run(f"{pair(later='T1w')}follow(earlier, later)\n")
    assert all({"different_images", "mask_resampled"} <= set(row.flags) for row in environment.reported)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (f"{pair()}follow(later, earlier)\n", "error", "session_order"),
        (f"{pair()}follow(earlier, earlier)\n", "error", "session_order"),
        (
            f'{pair()}follow(earlier, dilate(later, "2mm"))\n',
            "error",
            "target_mismatch",
        ),
        (f"{pair('left_hippocampus')}follow(earlier, later)\n", "refused", "empty_mask"),
        (f'{pair()}save(changed(earlier, later, "larger"))\n', "error", None),
    ],
)
def test_what_cannot_be_followed(code: str, status: str, expected: str | None) -> None:
    observation, environment = run(code)
    assert observation.status == status
    assert expected is None or observation.code == expected
    assert environment.reported == ()


def test_one_session_cannot_be_followed() -> None:
    observation, _ = run(f"{pair()}follow(earlier, later)\n", VisitWorld(SESSIONS[:1]))
    assert (observation.status, observation.code) == ("refused", "one_session")


def test_noise_is_not_followed() -> None:
    dots = tuple((x, y, z, 1) for x in range(0, 20, 2) for y in range(0, 20, 2) for z in range(0, 20, 2))
    observation, _ = run(f"{pair()}follow(earlier, later)\n", VisitWorld(lesions=(LESIONS[0], dots)))
    assert (observation.status, observation.code) == ("error", "too_many_pieces")


def test_the_phantom_can_be_followed() -> None:
    environment = Environment(PhantomWorld(("FLAIR",), sessions=2))
    observation = environment.run(Instruction(f"{pair()}follow(earlier, later)\n"))
    assert observation.status == "done", observation.text()
    assert {"stable", "new", "gone"} <= {row.word for row in environment.reported if isinstance(row, Text)}
