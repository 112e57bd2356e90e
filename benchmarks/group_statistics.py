"""How long group statistics take: one JSON line per way to estimate, on made-up measurements of many structures.

`python benchmarks/group_statistics.py --participants 10000 --structures 40`
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time

import numpy as np
import pandas as pd

from vp_engine.stats.models import StatisticSpec, analyse_statistic
from vp_engine.stats.spec import CentilesOption, ExcludeOption, IcvOption, Options
from vp_engine.tables.schema import arrow_schema

CASES = {
    "ols": Options(),
    "hc3": Options(standard_errors="HC3"),
    "icv residual": Options(icv=IcvOption("residual", "head")),
    "excluded too": Options(exclude=ExcludeOption(qc_below=0.5, outliers=3.5)),
    "combat": Options(site="site"),
    "centiles": Options(centiles=CentilesOption("age", {"group": ("control",)})),
    "mixed": Options(sessions="mixed"),
    "ols, 1000 permutations": Options(permutations=1000),
}


def cohort(participants: int, structures: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two visits of everybody: measurements and covariates."""
    rng = np.random.default_rng(0)
    names = np.array([f"{number:06d}" for number in range(participants)])
    covariates = pd.DataFrame(
        {
            "participant": names,
            "group": np.array(["control", "patient"])[rng.integers(0, 2, participants)],
            "sex": np.array(["F", "M"])[rng.integers(0, 2, participants)],
            "age": rng.uniform(20, 80, participants).round(1).astype(str),
            "site": np.array(["a", "b", "c"])[rng.integers(0, 3, participants)],
        }
    )
    parts = []
    for session in ("1", "2"):
        for number in range(structures + 1):
            head = number == structures
            parts.append(
                pd.DataFrame(
                    {
                        "participant": names,
                        "session": session,
                        "prompt_id": "head" if head else "vol",
                        "target": "intracranial_volume" if head else f"structure{number:02d}",
                        "value": rng.normal(1.5e6, 1e5, participants) if head else rng.normal(3000, 300, participants),
                    }
                )
            )
    rows = pd.concat(parts, ignore_index=True)
    common = {"dataset": "d", "measure": "volume", "unit": "mm3", "image": "T1w", "qc_score": 0.9, "model_id": "m"}
    rows = rows.assign(**common).reindex(columns=arrow_schema("measurements").names)
    return rows, covariates


def main() -> None:
    """Measure every case once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=10_000)
    parser.add_argument("--structures", type=int, default=40)
    parser.add_argument("--only", choices=CASES)
    options = parser.parse_args()
    rows, covariates = cohort(options.participants, options.structures)
    for name, case in CASES.items():
        if options.only in (None, name):
            spec = StatisticSpec("s", {"prompt": ("vol",)}, "value ~ group + age + sex", case)
            start = time.perf_counter()
            analyse_statistic(rows, covariates, spec)
            told = {
                "case": name,
                "participants": options.participants,
                "structures": options.structures,
                "seconds": round(time.perf_counter() - start, 1),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
