import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lockstep.errors import RunError
from lockstep.runs import checkpoint
from lockstep.runs.checkpoint import newest_checkpoint, read_checkpoint, write_checkpoint


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    arrays = {
        "w": np.random.default_rng().normal(size=(3, 4)).astype(np.float32).T,
        "n": np.int64(7) * np.ones((), dtype=np.int64),
        "on": np.array([True, False]),
    }
    history = pl.DataFrame({"epoch": [1, 2], "loss": [0.5, float("nan")]})
    write_checkpoint(tmp_path / "c", 2, arrays, {"best": [1.5]}, history)
    back = read_checkpoint(tmp_path / "c")
    assert back.epoch == 2
    assert back.progress == {"best": [1.5]}
    assert back.history is not None
    assert back.history.equals(history, null_equal=True)
    assert back.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)


def test_the_last_checkpoint_written_counts_and_stays_whatever_its_epoch(tmp_path: Path) -> None:
    for epoch, value in [(1, 1), (9, 2), (9, 3), (2, 4)]:
        write_checkpoint(tmp_path, epoch, {"w": np.full(1, value)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["000004-epoch-000002"]
    assert read_checkpoint(tmp_path).arrays["w"] == 4


def test_a_failed_checkpoint_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, 1, {"w": np.ones(1)}, {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(RunError, match="must have room"):
            write_checkpoint(tmp_path, 2, {"w": np.ones(1)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["000001-epoch-000001"]


def test_without_a_complete_checkpoint_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / ".000001-epoch-000001.1-0.tmp").mkdir()
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(RunError, match="no complete checkpoint"):
        read_checkpoint(tmp_path)


def test_a_reader_looks_again_when_a_newer_state_takes_the_place_of_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, 1, {"w": np.ones(1)}, {})
    original, looks = checkpoint.newest_checkpoint, []

    def look(folder: Path) -> tuple[int, Path] | None:
        found = original(folder)
        if not looks:
            write_checkpoint(tmp_path, 2, {"w": np.ones(1)}, {})
        looks.append(found)
        return found

    monkeypatch.setattr(checkpoint, "newest_checkpoint", look)
    assert read_checkpoint(tmp_path).epoch == 2
    assert len(looks) == 2


WRITER = """
import sys, numpy as np
from pathlib import Path
from lockstep.runs.checkpoint import write_checkpoint
for epoch in range(1, 100_000):
    write_checkpoint(Path(sys.argv[1]), epoch, {"w": np.full(50_000, epoch)}, {"epoch": epoch})
    print(epoch, flush=True)
"""


def test_kill_at_any_moment_leaves_a_complete_state(tmp_path: Path) -> None:
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        command = [sys.executable, "-c", WRITER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(random.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
            last = max(map(int, writer.stdout.read().split()), default=1)
        state = read_checkpoint(folder)
        assert last <= state.epoch == state.progress["epoch"]
        np.testing.assert_array_equal(state.arrays["w"], state.epoch)
