"""Every target of the vision network, measured: one markdown table, the tables behind it, and JSON for scripts.

    python benchmarks/vision_targets.py [--data FOLDER] [--model FOLDER] [--only NAME ...] [--json FILE]

Parts: freesurfer, synthetic, streams, repeatability, speed, native. Whatever else runs on the machine spoils the
times, so that the load is printed with them. Peak memory is that of the whole process (Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vp_engine.anatomy import ANATOMICAL_PARTS
from vp_engine.evaluation.anatomy import TEN, agreement, label_scan, part_dice
from vp_engine.evaluation.vision import (
    LARGE,
    draw_geometry,
    other_grids,
    percent_differences,
    regridded,
    seen_by,
    stream_scores,
    thick_slices,
    volumes_mm3,
    whole_heads,
)
from vp_engine.synthesis.label_maps import load_label_maps
from vp_engine.training.sources import HELD_OUT_MAPS
from vp_engine.vision.segmenter import NetworkSegmenter
from vp_engine.volumes.nifti import read_image, read_labels
from vp_engine.volumes.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
MAPS = "training/synthseg20_labels_1mm_apache2.npz"
HEADS = ("anatomy/head_T1w.nii.gz", "anatomy/stripped_T1w.nii.gz")
CONTRASTS = {"random": 0.0, "prior": 1.0}


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table of targets."""

    what: str
    target: str
    measured: str
    met: bool | None


@dataclass(slots=True)
class Result:
    """What one part found."""

    targets: list[Target] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    numbers: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs."""

    data: Path
    model: Path
    segmenter: NetworkSegmenter
    images: int
    geometries: int
    trained_on: str


def freesurfer(bench: Bench) -> Result:
    """Dice with FreeSurfer's aseg on a skull-stripped T1w."""
    scan = read_image(bench.data / "anatomy/stripped_T1w.nii.gz")
    found = agreement(
        label_scan(bench.segmenter, scan), read_labels(bench.data / "anatomy/stripped_T1w_aseg.nii.gz").data
    )
    bound = {"gpu": 0.82, "cpu": 0.74}[bench.trained_on]
    measured = f"{found.mean():.3f} (of ten {found.mean(TEN):.3f}; {100 * found.sides_swapped:.2f} % on the wrong side)"
    rows = [["structure", "Dice", "volume difference, %"]]
    rows += [[_words(n), f"{o.dice:.3f}", f"{o.volume_difference_percent:+.1f}"] for n, o in found.overlaps.items()]
    return Result(
        [Target("Dice with FreeSurfer, mean of 16 types", f"≥ {bound}", measured, found.mean() >= bound)],
        {"Agreement with FreeSurfer (sides pooled)": rows},
        {"mean_16": found.mean(), "mean_10": found.mean(TEN), "dice": found.dice, "swapped": found.sides_swapped},
    )


def synthetic(bench: Bench) -> Result:
    """Dice on synthetic heads of the held-out maps, at 1 mm and with 5 mm slices in turn along each axis."""
    maps = load_label_maps(bench.data / MAPS, HELD_OUT_MAPS)
    result = Result()
    scores: dict[str, list[dict[str, float]]] = {}
    heads = whole_heads(maps, per_map=bench.images, prior_contrasts=list(CONTRASTS.values()))
    for number, head in enumerate(heads):
        thick = thick_slices(head, axis=number % 3, slices=5)
        for grid, seen in (("1 mm", head), ("1x1x5 mm", thick)):
            for contrast, scan in zip(CONTRASTS, seen.scans, strict=True):
                dice = part_dice(label_scan(bench.segmenter, scan), seen.truth)
                scores.setdefault(f"{contrast}, {grid}", []).append(dice)
    per_image = {key: [float(np.nanmean(list(s.values()))) for s in rows] for key, rows in scores.items()}
    means = {key: float(np.mean(values)) for key, values in per_image.items()}
    bound = {"gpu": 0.82, "cpu": 0.72}[bench.trained_on]
    for contrast in CONTRASTS:
        values = per_image[f"{contrast}, 1 mm"]
        spread = f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}, {len(values)} heads)"
        loss = means[f"{contrast}, 1 mm"] - means[f"{contrast}, 1x1x5 mm"]
        result.targets += [
            Target(
                f"Dice on synthetic heads, {contrast} contrast",
                f"≥ {bound}",
                spread,
                means[f"{contrast}, 1 mm"] >= bound,
            ),
            Target(f"loss at 1x1x5 mm, {contrast} contrast", "≤ 0.08", f"{loss:.3f}", loss <= 0.08),
        ]
    table = [["structure", *scores]]
    table += [
        [_words(name), *(f"{np.nanmean([row[name] for row in rows]):.3f}" for rows in scores.values())]
        for name in ANATOMICAL_PARTS
    ]
    table.append(["mean", *(f"{mean:.3f}" for mean in means.values())])
    result.tables["Dice on synthetic heads of maps " + ", ".join(HELD_OUT_MAPS)] = table
    result.numbers = {"per_image": per_image, "dice": scores}
    return result


def streams(bench: Bench) -> Result:
    """What two further contrasts of a head bring, and what noise instead of one of them costs."""
    maps = load_label_maps(bench.data / MAPS, HELD_OUT_MAPS)
    heads = whole_heads(maps, per_map=1, prior_contrasts=[0.0, 0.0, 0.0], seed=1)
    rng = np.random.default_rng(0)
    found = [stream_scores(bench.segmenter, head, rng=rng) for head in heads]
    alone, together, noise = (
        float(np.mean([getattr(s, k) for s in found])) for k in ("alone", "together", "with_noise")
    )
    return Result(
        [
            Target(
                "one of three streams is noise: loss", "≤ 0.02", f"{together - noise:.3f}", together - noise <= 0.02
            ),
            Target("two further streams: gain", "-", f"{together - alone:+.3f} (alone {alone:.3f})", None),
        ],
        numbers={"heads": [asdict(s) for s in found]},
    )


def repeatability(bench: Bench) -> Result:
    """Volumes of large structures on two visits of a person, and on one scan given on other grids."""
    sessions, grids = {}, {}
    for path in sorted((bench.data / "longitudinal_openms").glob("sub-*/ses-01/anat/*.nii.gz")):
        paths = [path, Path(str(path).replace("ses-01", "ses-02"))]
        if paths[1].exists():
            first, second = (read_image(p) for p in paths)
            to_first, to_second = (_from_common(bench.data / "longitudinal_openms", p) for p in paths)
            there = to_second @ np.linalg.inv(to_first)
            shared = seen_by(first, second, there), seen_by(second, first, np.linalg.inv(there))
            found = (
                volumes_mm3(bench.segmenter, volume, counted=seen)
                for volume, seen in zip((first, second), shared, strict=True)
            )
            sessions[_stem(path).replace("_ses-01", "")] = percent_differences(*found)
    for name in HEADS:
        scan = read_image(bench.data / name)
        usual = volumes_mm3(bench.segmenter, scan)
        for change, other in other_grids(scan).items():
            grids[f"{_stem(bench.data / name)} {change}"] = percent_differences(
                usual, volumes_mm3(bench.segmenter, other)
            )
    result = Result(numbers={"sessions": sessions, "grids": grids})
    table = [["difference, %", *map(_words, LARGE), "mean", "most"]]
    for what, rows in (("two sessions", sessions), ("one scan on other grids", grids)):
        values = [x for row in rows.values() for x in row.values()]
        worst, structure, where = max((x, name, key) for key, row in rows.items() for name, x in row.items())
        measured = f"{np.mean(values):.1f} % mean, {worst:.1f} % at most ({_words(structure)}, {where})"
        result.targets.append(Target(f"volume of large structures, {what}", "within 3 %", measured, worst <= 3))
        for key, row in rows.items():
            cells = [row[name] for name in LARGE]
            table.append([key, *(f"{x:.1f}" for x in (*cells, np.mean(cells), max(cells)))])
    result.tables["Repeatability (two sessions: within the part of the head that both show)"] = table
    return result


def _from_common(dataset: Path, scan: Path) -> NDArray[np.float64]:
    """From the participant's common space to the world of a scan, RAS+ mm: the transforms of the dataset, chained."""
    participant, session, suffix = scan.name.removesuffix(".nii.gz").split("_")
    folder = dataset / "derivatives/reference" / participant / "anat"
    links = [("FLAIR", "common")] if suffix == "FLAIR" else [("FLAIR", "common"), (suffix, "FLAIR")]
    chained = np.eye(4)
    for moving, fixed in links:
        chained = _itk(folder / f"{participant}_{session}_from-{moving}_to-{fixed}_mode-image_xfm.txt") @ chained
    return chained


def _itk(path: Path) -> NDArray[np.float64]:
    """Matrix of an ITK affine transform file, which is LPS and turns about a centre, in RAS+."""
    rows = dict(line.split(": ", 1) for line in path.read_text().splitlines() if line.startswith(("Par", "Fix")))
    numbers = np.array(rows["Parameters"].split(), np.float64)
    centre = np.array(rows["FixedParameters"].split(), np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip


def _stem(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


def speed(bench: Bench) -> Result:
    """Seconds and memory for 32 structures of a 1 mm head, each in a fresh process, warm."""
    result = Result()
    columns = ("cold_s", "many_s", "many_cpu_s", "one_s", "one_cpu_s", "peak_gb", "loaded_gb")
    table = [["head", "threads", "cold, s", "32, s", "32, CPU s", "one, s", "one, CPU s", "peak GB", "loaded GB"]]
    for name in HEADS:
        for threads in (2, 1):
            command = [sys.executable, __file__, "--model", str(bench.model), "--threads", str(threads)]
            child = subprocess.run(
                [*command, "--time", str(bench.data / name)], check=True, capture_output=True, text=True
            )
            found = json.loads(child.stdout)
            result.numbers[f"{_stem(Path(name))}, {threads} threads"] = found
            table.append([_stem(Path(name)), str(threads), *(f"{found[column]:.2f}" for column in columns)])
            if threads == 2:
                seconds, peak = found["many_s"], found["peak_gb"]
                ratio = found["many_cpu_s"] / found["one_cpu_s"]
                what = _stem(Path(name))
                result.targets += [
                    Target(f"32 structures of {what}, 2 cores, warm", "≤ 6 s", f"{seconds:.1f} s", seconds <= 6),
                    Target(f"peak memory, {what}", "≤ 3 GB", f"{peak:.2f} GB", peak <= 3),
                    Target(
                        f"32 targets against one, CPU time, {what}", "≤ 1.5 times", f"{ratio:.2f} times", ratio <= 1.5
                    ),
                ]
    result.tables["Time and memory"] = table
    return result


def time_scan(segmenter: NetworkSegmenter, scan: Volume, *, repeats: int = 4) -> dict[str, float]:
    """Seconds of the first and of the fastest later call, for all structures and for one; memory of the process."""
    loaded = _memory_gb("VmRSS")

    def seconds(parts: Sequence[str]) -> tuple[float, float]:
        began, spent = time.perf_counter(), time.process_time()
        label_scan(segmenter, scan, parts)
        return time.perf_counter() - began, time.process_time() - spent

    cold_s, _ = seconds(ANATOMICAL_PARTS)
    rounds = [(*seconds(ANATOMICAL_PARTS), *seconds(("left_hippocampus",))) for _ in range(repeats)]
    many_s, many_cpu_s, one_s, one_cpu_s = (min(column) for column in zip(*rounds, strict=True))
    return {
        "cold_s": cold_s,
        "many_s": many_s,
        "many_cpu_s": many_cpu_s,
        "one_s": one_s,
        "one_cpu_s": one_cpu_s,
        "peak_gb": _memory_gb("VmHWM"),
        "loaded_gb": loaded,
    }


def native(bench: Bench) -> Result:
    """A scan on its own grid against the same scan conformed to 1 mm isotropic first, on one thread."""
    torch.set_num_threads(1)
    source = read_image(bench.data / HEADS[0])
    rows = [["plane, tilt", "spacing, mm", "CPU s native", "conformed", "ratio", "GB native", "conformed", "ratio"]]
    ratios: dict[str, list[float]] = {"time": [], "memory": [], "time with conforming": []}
    label_scan(bench.segmenter, source)
    for number in range(bench.geometries):
        geometry = draw_geometry(np.random.default_rng([7, number]))
        scan = regridded(source, axes=geometry.axes, spacing_mm=geometry.spacing_mm)
        own_s, own_gb = _cost(bench.segmenter, scan)
        began = time.process_time()
        conformed = regridded(scan, spacing_mm=(1.0, 1.0, 1.0))
        conforming_s = time.process_time() - began
        iso_s, iso_gb = _cost(bench.segmenter, conformed)
        found = own_s / iso_s, own_gb / iso_gb, own_s / (iso_s + conforming_s)
        for values, ratio in zip(ratios.values(), found, strict=True):
            values.append(ratio)
        spacing = "x".join(f"{s:.2f}" for s in geometry.spacing_mm)
        costs = (own_s, iso_s, found[0], own_gb, iso_gb, found[1])
        rows.append([f"{geometry.plane}, {geometry.tilt_deg:.0f}°", spacing, *(f"{x:.2f}" for x in costs)])
    result = Result(tables={"Native grid against 1 mm isotropic": rows}, numbers=dict(ratios))
    for what, values in ratios.items():
        middle = float(np.median(values))
        measured = f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"
        result.targets.append(
            Target(
                f"native grid against 1 mm isotropic: {what}, median of {len(values)}", "≤ 0.5", measured, middle <= 0.5
            )
        )
    return result


def _cost(segmenter: NetworkSegmenter, scan: Volume) -> tuple[float, float]:
    """CPU seconds of the better of two runs, and how far memory rises above what the process holds, in GB."""
    ctypes.CDLL(None).malloc_trim(0)  # or the run would be given memory that earlier ones left
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _memory_gb("VmRSS")
    spent = []
    for _ in range(2):
        began = time.process_time()
        label_scan(segmenter, scan)
        spent.append(time.process_time() - began)
    return min(spent), _memory_gb("VmHWM") - before


def _memory_gb(key: str) -> float:
    """`VmRSS`: resident memory of this process now; `VmHWM`: its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError(f"{key} is not told by this system; memory is measured on Linux")


PARTS: Mapping[str, Callable[[Bench], Result]] = {
    part.__name__: part for part in (freesurfer, synthetic, streams, repeatability, speed, native)
}


def markdown(results: Sequence[Result]) -> Iterator[str]:
    """Lines of the table of targets and of the tables behind it."""
    yield "| what | target | measured | met |\n|---|---|---|---|"
    for target in (target for result in results for target in result.targets):
        met = {True: "yes", False: "no", None: "-"}[target.met]
        yield f"| {target.what} | {target.target} | {target.measured} | {met} |"
    for title, rows in ((title, rows) for result in results for title, rows in result.tables.items()):
        yield f"\n**{title}**\n"
        yield f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}"
        yield from (f"| {' | '.join(row)} |" for row in rows[1:])


def machine() -> str:
    """Processor, cores, threads of PyTorch, and what else the machine was doing."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = models[0] if models else platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _words(name: str) -> str:
    return name.replace("_", " ")


def plain(value: object) -> object:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data")
    parser.add_argument("--model", type=Path, default=ROOT / "vp_engine/models/default/vision")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="NAME")
    parser.add_argument("--images", type=int, default=2, help="synthetic heads of each map and contrast")
    parser.add_argument("--geometries", type=int, default=20, help="sampled grids of the part `native`")
    parser.add_argument(
        "--trained-on", choices=("cpu", "gpu"), default="cpu", help="which bounds the weights are held to"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for every number")
    parser.add_argument("--time", type=Path, help=argparse.SUPPRESS)  # what `speed` starts as a fresh process
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = NetworkSegmenter.from_pretrained(args.model)
    if args.time:
        print(json.dumps(time_scan(segmenter, read_image(args.time))))
        return
    bench = Bench(args.data, args.model, segmenter, args.images, args.geometries, args.trained_on)
    results = {}
    described = machine()
    for name in args.only:
        torch.set_num_threads(args.threads)
        began = time.perf_counter()
        results[name] = PARTS[name](bench)
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(described, end="\n\n")
    print("\n".join(markdown(list(results.values()))))
    if args.json:
        content = {"machine": described, "parts": {name: plain(asdict(result)) for name, result in results.items()}}
        args.json.write_text(json.dumps(content, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
