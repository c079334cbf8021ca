"""Small tables with a bit of everything, and runs trained on them once for all tests."""

from pathlib import Path

import polars as pl
import pytest
from patients import FAST, patients

import lockstep


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    return patients(300, seed=1)


@pytest.fixture(scope="session")
def csv(table, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "patients.csv"
    table.drop("cost").write_csv(path)
    return path


@pytest.fixture(scope="session")
def run(csv, tmp_path_factory) -> "lockstep.Run":
    out = tmp_path_factory.mktemp("runs") / "patients"
    return lockstep.fit(csv, target="ill", folds=3, epochs=6, set=FAST, out=out, quiet=True)
