"""Made-up cohorts for tests of statistics: measurements and covariates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tests.unit.results_fakes import number
from vp_engine.stats.spec import Options, StatisticSpec

ROWS = {"prompt": ("vol",)}


def cohort(
    n: int = 40, *, targets: int = 2, sessions: int = 1, seed: int = 0, effect: float = -200.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Controls and patients in turn, of three sites, with structures `t0` ..., head sizes and one or more sessions."""
    rng = np.random.default_rng(seed)
    names = [f"{person:03d}" for person in range(n)]
    group = np.array(["control", "patient"])[np.arange(n) % 2]
    age = rng.uniform(20, 80, n).round(1)
    covariates = pd.DataFrame(
        {
            "participant": names,
            "group": group,
            "age": age.astype(str),
            "sex": np.array(["F", "M"])[rng.integers(0, 2, n)],
            "site": np.array(["a", "b", "c"])[np.arange(n) % 3],
        }
    )
    rows: list[dict[str, Any]] = []
    for person, name in enumerate(names):
        head, own = rng.normal(1.5e6, 1e5), rng.normal(0, 100, targets)
        for visit in range(sessions):
            who = ("d", name, f"{visit + 1}" if sessions > 1 else None)
            rows.append(number(*who, "head", "intracranial_volume", head))
            for target in range(targets):
                value = 3000 - 10 * age[person] + effect * (group[person] == "patient") + own[target]
                rows.append(number(*who, "vol", f"t{target}", value + rng.normal(0, 80)))
    return pd.DataFrame(rows), covariates


def spec(model: str = "value ~ group + age + sex", **options: Any) -> StatisticSpec:
    """A statistic about the structures of `cohort`."""
    return StatisticSpec("s", ROWS, model, Options(**options))
