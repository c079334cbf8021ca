import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lockstep.errors import RunError
from lockstep.runs import files


def test_a_write_replaces_the_old_file_whole_and_returns_its_hash(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    digest = files.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert digest == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_written_file_has_the_rights_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "must have room.*Free some space"),
        (errno.EROFS, "must be writable.*Change its permissions"),
        (errno.EIO, "could not be written.*--out"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_says_path_and_remedy_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RunError, match=f"(?s){tmp_path}.*") as caught:
        files.write_bytes(target, b"new")
    assert caught.match(says)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_beyond_the_room_there_is_really_fails_cleanly(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from lockstep.runs.files import write_bytes; "
    code += "write_bytes(Path(sys.argv[1]) / 'big', bytes(1_000_000))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        capture_output=True,
        text=True,
    )
    assert "RunError: The disk must have room" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_json_takes_numpy_and_turns_what_it_lacks_into_null() -> None:
    value = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": (True, None, "é"), 3: Path("x")}
    expected = {"a": 0.5, "b": [1, 2], "c": None, "d": [True, None, "é"], "3": "x"}
    assert json.loads(files.to_json(value)) == expected


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"[1]", b"\xff\xfe"])
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(RunError, match=r"damaged: .*m\.json"):
        files.read_json(tmp_path / "m.json")
