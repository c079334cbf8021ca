"""A made-up table with a bit of everything, and settings that train on it in no time."""

import numpy as np
import polars as pl

FAST = {"model.hidden": [16], "preprocess.bins": 8}


def patients(rows: int, seed: int) -> pl.DataFrame:
    """Numbers with gaps, categories, a date, an identifier, a constant; ``ill`` depends on age, dose and ward."""
    rng = np.random.default_rng(seed)
    age, dose = rng.normal(50, 15, rows).round(1), rng.lognormal(0, 1, rows).round(3)
    ward = rng.choice(["north", "south", "east"], rows)
    signal = (age - 50) / 15 + np.log(dose) + (ward == "north") + rng.normal(0, 0.5, rows)
    days = rng.integers(0, 700, rows)
    return pl.DataFrame(
        {
            "patient_id": [f"P{i:05d}" for i in range(rows)],
            "age": [None if gap else value for value, gap in zip(age, rng.random(rows) < 0.1, strict=True)],
            "dose": dose,
            "ward": ward,
            "seen": [f"{np.datetime64('2023-01-01') + day}" for day in days],
            "hospital": ["main"] * rows,
            "ill": np.where(signal > 0.5, "yes", "no"),
            "cost": (100 * signal + 1000).round(2),
        }
    )
