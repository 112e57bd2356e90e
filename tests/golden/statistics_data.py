"""Writes the small made-up cohorts that `statistics.R` reads; run once, the files are kept beside this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent / "statistics_data"


def people(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Who there is: group, sex, age, site and head size."""
    return pd.DataFrame(
        {
            "participant": [f"{number:02d}" for number in range(n)],
            "group": np.array(["control", "patient"])[rng.integers(0, 2, n)],
            "age": rng.uniform(20, 80, n).round(1),
            "sex": np.array(["F", "M"])[rng.integers(0, 2, n)],
            "site": np.array(["a", "b", "c"])[np.arange(n) % 3],
            "icv": rng.normal(1_500_000, 130_000, n).round(),
        }
    )


def cross(rng: np.random.Generator) -> pd.DataFrame:
    """One visit of 48 people, five structures; the spread grows with age, sites differ, one value is missing."""
    table = people(rng, 48)
    shift, spread = np.array([0.0, 120.0, -80.0]), np.array([1.0, 1.4, 0.8])
    site = np.arange(48) % 3
    for number in range(5):
        expected = 3500 - 6 * table["age"] - 150 * (table["group"] == "patient") + 0.0006 * table["icv"]
        noise = rng.normal(0, 1, 48) * (60 + 2 * table["age"])
        table[f"t{number}"] = (expected + shift[site] * rng.normal(1, 0.2) + spread[site] * noise).round(2)
    table.loc[7, "t3"] = np.nan
    return table


def visits(rng: np.random.Generator) -> pd.DataFrame:
    """One to four visits of 40 people, four structures, ever less their own."""
    table = people(rng, 40)
    table = table.loc[table.index.repeat(rng.integers(1, 5, 40))].reset_index(drop=True)
    table["session"] = (table.groupby("participant").cumcount() + 1).astype(str)
    table["years"] = (table["session"].astype(int) - 1) * 1.5
    own = rng.normal(0, 200, 40)[table["participant"].astype(int)]
    for number, share in enumerate((1.0, 0.3, 0.0)):
        expected = 3500 - 150 * (table["group"] == "patient") - 20 * table["years"] - 5 * table["age"]
        table[f"t{number}"] = (expected + share * own + rng.normal(0, 90, len(table))).round(2)
    # visits that differ from each other more than people do: no variance is left between participants
    noise = pd.Series(rng.normal(0, 90, len(table)))
    table["t3"] = (expected + noise - noise.groupby(table["participant"]).transform("mean")).round(2)
    return table


if __name__ == "__main__":
    rng = np.random.default_rng(8)
    cross(rng).to_csv(HERE / "cross.csv", index=False, lineterminator="\n")
    visits(rng).to_csv(HERE / "visits.csv", index=False, lineterminator="\n")
