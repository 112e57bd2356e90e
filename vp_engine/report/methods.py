"""How to write it up: a methods text assembled from what really ran, what to cite, versions, hashes and licences."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vp_engine import __version__
from vp_engine.report.cells import words
from vp_engine.report.quality import FAR, ScanQuality, compared
from vp_engine.report.summary import STATUSES
from vp_engine.tables.confidence import LOOK_BELOW

_LIBRARIES = ("matplotlib", "nibabel", "numpy", "pandas", "pyarrow", "scipy", "statsmodels")
_MAX_HASHES = 20
_NAMED = 12

_CITED = {
    "voxelprompt": "Hoopes A, Dey N, Butoi VI, Guttag JV, Dalca AV (2024). VoxelPrompt: A vision agent for end-to-end "
    "medical image analysis. arXiv:2410.08397.",
    "bids": "Gorgolewski KJ, Auer T, Calhoun VD, et al. (2016). The brain imaging data structure, a format for "
    "organizing and describing outputs of neuroimaging experiments. Scientific Data 3:160044.",
    "snakemake": "Mölder F, Jablonski KP, Letcher B, et al. (2021). Sustainable data analysis with Snakemake. "
    "F1000Research 10:33.",
    "statsmodels": "Seabold S, Perktold J (2010). statsmodels: Econometric and statistical modeling with Python. "
    "Proceedings of the 9th Python in Science Conference.",
    "fdr": "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. Journal of the Royal Statistical Society B 57:289-300.",
    "hedges": "Hedges LV (1981). Distribution theory for Glass's estimator of effect size and related estimators. "
    "Journal of Educational Statistics 6:107-128.",
    "robust": "Iglewicz B, Hoaglin DC (1993). How to detect and handle outliers. ASQC Quality Press.",
    "combat": "Johnson WE, Li C, Rabinovic A (2007). Adjusting batch effects in microarray expression data using "
    "empirical Bayes methods. Biostatistics 8:118-127. Fortin JP, Cullen N, Sheline YI, et al. (2018). Harmonization "
    "of cortical thickness measurements across scanners and sites. NeuroImage 167:104-120.",
    "hc3": "MacKinnon JG, White H (1985). Some heteroskedasticity-consistent covariance matrix estimators with "
    "improved finite sample properties. Journal of Econometrics 29:305-325.",
    "permutation": "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance levels. Journal "
    "of Business and Economic Statistics 1:292-298.",
    "niivue": "Taylor Hanayik, Christopher Drake, Chris Rorden and others. NiiVue: a WebGL2 viewer of medical images. "
    "https://github.com/niivue/niivue",
}


@dataclass(frozen=True, slots=True)
class Setup:
    """How the run was set up, as far as the tables do not say.

    Attributes
    ----------
    builtin_planner : bool
        Whether the language model of the weights wrote the programs.
    together : bool
        Whether the contrasts of a session were read together.
    default_weights : bool
        Whether the weights that come with the package were used.
    """

    builtin_planner: bool = True
    together: bool = False
    default_weights: bool = True


def methods_text(
    plan: pa.Table,
    runs: pa.Table,
    segmentations: pa.Table,
    statistics: Sequence[dict[str, Any]],
    scans: Sequence[ScanQuality],
    setup: Setup,
) -> list[str]:
    """Paragraphs for the methods section of a paper: what happened, with every number from the tables.

    Parameters
    ----------
    plan, runs : pyarrow.Table
    segmentations : pyarrow.Table
        With `target`, `spacing_mm` and `qc_score`.
    statistics : sequence of dict
        From `tell_statistics`.
    scans : sequence of ScanQuality
        From `judge_scans`.
    setup : Setup
    """
    paragraphs = [_participants(plan, runs), _agent(plan, runs, setup)]
    if segmentations.num_rows:
        paragraphs.append(_delineation(segmentations, setup))
    paragraphs += [_statistic(statistic) for statistic in statistics]
    if scans:
        paragraphs.append(_looked_at(scans))
    return paragraphs


def citations(methods: Sequence[str], *, sizes: bool, outliers: bool, viewer: bool) -> list[str]:
    """What to cite for what ran: always the idea, the format and the workflow; the rest when it was used.

    Parameters
    ----------
    methods : sequence of str
        How the numbers of the statistics were made.
    sizes : bool
        Whether there is a standardised difference (Hedges' g).
    outliers : bool
        Whether volumes were compared with the others'.
    viewer : bool
        Whether the report has the viewer.
    """
    told = " ".join(methods)
    keys = ["voxelprompt", "bids", "snakemake"]
    signs = {
        "statsmodels": "statsmodels",
        "fdr": "Benjamini-Hochberg",
        "hc3": "HC3",
        "permutation": "Freedman-Lane",
        "combat": "ComBat",
    }
    keys += [key for key, sign in signs.items() if sign in told]
    keys += [key for key, used in (("hedges", sizes), ("robust", outliers), ("niivue", viewer)) if used]
    return [_CITED[key] for key in keys]


def licences(setup: Setup, *, viewer: bool) -> list[tuple[str, str]]:
    """Under which terms the parts may be used."""
    weights = (
        "Apache-2.0; they begin from a part of all-MiniLM-L6-v2 (Apache-2.0), see NOTICE"
        if setup.default_weights
        else "not those of the package: ask who made them"
    )
    found = [("Program (vp_engine)", "Apache-2.0"), ("Weights", weights)]
    if viewer:
        found.append(("NiiVue, inside this page", "BSD-2-Clause, the NiiVue authors"))
    return [*found, ("Scans and what was measured", "the terms of your datasets")]


def versions(runs: pa.Table, measurements: pa.Table, *, viewer: bool) -> list[tuple[str, str]]:
    """What ran, as the tables say, and what wrote this report."""
    engines = _distinct(runs, "vp_engine_version")
    weights = _distinct(measurements, "model_id")
    libraries = [*_LIBRARIES, *(["ipyniivue"] if viewer else [])]
    return [
        ("vp_engine", ", ".join(engines) or "nothing was run"),
        ("Weights (model_id)", ", ".join(weights) or "none were used"),
        ("Devices", ", ".join(_distinct(runs, "device")) or "none were used"),
        ("Report written by", f"vp_engine {__version__}, Python {platform.python_version()}"),
        ("with", ", ".join(f"{name} {version(name)}" for name in libraries)),
    ]


def hashes(results_dir: Path) -> list[tuple[str, str]]:
    """sha256 of the plan and the tables that the report tells of; of very many files the first."""
    files = [results_dir / "plan.parquet", *sorted((results_dir / "tables").rglob("*.parquet"))]
    return [
        (path.relative_to(results_dir).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files[:_MAX_HASHES]
    ]


def _participants(plan: pa.Table, runs: pa.Table) -> str:
    people = plan.group_by(["dataset", "participant"]).aggregate([]).num_rows
    sessions = plan.filter(pc.is_valid(plan.column("session")))
    scans = sessions.group_by(["dataset", "participant", "session"]).aggregate([]).num_rows
    images = sorted({suffix for row in plan.column("images").to_pylist() for suffix in row})
    kinds = f"{', '.join(images)} images" if images else "anatomical images"
    counts = {row["status"]: row["status_count"] for row in _counted(runs, "status")}
    total = sum(counts.values())
    lost = [f"{counts[status]:,} {STATUSES[status].partition(':')[0]}" for status in STATUSES if counts.get(status)]
    visits = f" with {scans:,} session{'' if scans == 1 else 's'}" if scans else ""
    return (
        f"{_many(people, 'participant')}{visits} of {_listed(_distinct(plan, 'dataset'))} (BIDS) were analysed from "
        f"their {kinds}. {_many(total, 'request')} were put to the agent; outcomes: {', '.join(lost) or 'none'}."
    )


def _agent(plan: pa.Table, runs: pa.Table, setup: Setup) -> str:
    prompts = len(_distinct(plan, "prompt_id"))
    refused = "refused" in _distinct(runs, "status")
    planner = (
        "the language model of the weights, with decoding constrained to valid programs and no chance involved"
        if setup.builtin_planner
        else "another language model than that of the weights"
    )
    return (
        f"{_many(prompts, 'prompt')} in plain words were translated, for each scan anew, to programs in a small typed "
        f"language by {planner} (vp_engine {_listed(_distinct(runs, 'vp_engine_version'))}; weights "
        f"{_listed(_distinct(runs, 'model_id'))}). The programs were run by an interpreter that knows only documented "
        "operations; they are kept for every number (column program of the table runs)."
        + (" Requests that could not be met were refused with a reason and not guessed." if refused else "")
    )


def _delineation(segmentations: pa.Table, setup: Setup) -> str:
    targets = [words(target) for target in _distinct(segmentations, "target")]
    spacings = {tuple(round(size, 2) for size in row) for row in segmentations.column("spacing_mm").to_pylist()}
    sizes = sorted(size for spacing in spacings for size in spacing)
    grid = f"{sizes[0]:g} mm" if sizes[0] == sizes[-1] else f"{sizes[0]:g} to {sizes[-1]:g} mm"
    scores = segmentations.column("qc_score").drop_null()
    quality = ""
    if len(scores):
        middle = pc.quantile(scores, q=0.5)[0].as_py()
        quality = f" The median of their estimated quality (qc_score, 0 to 1) was {middle:.2f}."
    together = "; the contrasts of a session were registered and read together" if setup.together else ""
    return (
        f"{_many(segmentations.num_rows, 'mask')} of {_many(len(targets), 'structure')} ({_listed(targets)}) were made "
        f"by a convolutional network in the space of each scan, without resampling to a template (voxel sizes "
        f"{grid}){together}.{quality}"
    )


def _looked_at(scans: Sequence[ScanQuality]) -> str:
    """What the report marked; that somebody looked is for that person to say."""
    marked = sum(scan.suspicious for scan in scans)
    far = (
        f" or a volume more than {FAR} robust standard deviations from the median of its dataset"
        if compared(scans)
        else ""
    )
    return (
        f"{marked:,} of {_many(len(scans), 'scan')} {'was' if marked == 1 else 'were'} marked to be looked at, for a "
        f"quality score below {LOOK_BELOW}{far}. [No check by a person is recorded: state who looked at which "
        "pictures, and what was left out.]"
    )


def _statistic(statistic: dict[str, Any]) -> str:
    steps = "; ".join(f"{step.title}: {step.count}" for step in statistic["flow"])
    methods = " ".join(f"{line}." for line in statistic["methods"])
    return f"Statistic {statistic['id']}, model {statistic['model']} (participants {steps}). {methods}"


def _counted(table: pa.Table, column: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.group_by([column]).aggregate([(column, "count")]).to_pylist()
    return rows


def _distinct(table: pa.Table, column: str) -> list[str]:
    return sorted(str(value) for value in pc.unique(table.column(column).drop_null()).to_pylist())


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "none"


def plain_text(paragraphs: Sequence[str], cited: Sequence[str]) -> str:
    """Methods and references as text to copy."""
    return "\n\n".join([*paragraphs, "References", *cited])
