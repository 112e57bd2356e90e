"""One scan per contrast, and the order of contrasts and visits that `scan`, `first` and `last` rest on."""

from __future__ import annotations

from vp_engine.cohort.choice import PlannedScan, choose, natural


def _order(*scans: PlannedScan) -> list[tuple[str | None, str]]:
    return [(choice.scan.session, choice.scan.suffix) for choice in choose(scans)]


def test_visits_come_in_time_order_whatever_they_are_called() -> None:
    late = PlannedScan("01", "T1w", "a", acquired="2021-01-01", days=366)
    early = PlannedScan("02", "T1w", "b", acquired="2020-01-01", days=0)
    assert _order(late, early) == [("02", "T1w"), ("01", "T1w")]


def test_visit_without_a_date_keeps_its_place() -> None:
    dates = (("1", "2020-01-01", 0.0), ("2", None, None), ("10", "2021-01-01", 366.0))
    visits = [PlannedScan(label, "T1w", label, acquired=date, days=days) for label, date, days in dates]
    assert [session for session, _ in _order(*visits)] == ["1", "2", "10"]


def test_uniform_image_of_mp2rage_is_next_to_a_t1w() -> None:
    scans = [PlannedScan(None, suffix, suffix) for suffix in ("FLASH", "angio", "UNIT1", "T2w")]
    assert [suffix for _, suffix in _order(*scans)] == ["UNIT1", "T2w", "angio", "FLASH"]


def test_labels_from_files_never_fail() -> None:
    assert sorted(["²", "10", "2", "", "\u0661"], key=natural)[0] == ""
