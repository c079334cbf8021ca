"""``predict``: what it refuses to write over."""

import pytest

import lockstep
from lockstep.errors import RunError


def test_predict_does_not_write_over_the_data_it_reads(run, table, tmp_path):
    data = tmp_path / "data.csv"
    table.write_csv(data)
    before = data.read_bytes()
    with pytest.raises(RunError, match="must not be the data itself"):
        lockstep.predict(run.path, data, tmp_path / "." / "data.csv")
    assert data.read_bytes() == before
