"""What is kept from one run to the next: found again, and never taken for whole where it is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.cache import cache_folder, cached, writable


class Maker:
    """Counts how often it is asked."""

    def __init__(self, made: bytes = b"what takes long") -> None:
        self.made, self.asked = made, 0

    def __call__(self) -> bytes:
        self.asked += 1
        return self.made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lockstep"


def test_what_was_made_once_is_found_again_under_its_name_alone(folder: Path) -> None:
    make = Maker()
    assert [cached("one", make) for _ in range(3)] == [b"what takes long"] * 3
    assert make.asked == 1
    assert cached("other", Maker(b"")) == b""
    assert sorted(path.name for path in folder.iterdir()) == ["one", "other"]


@pytest.mark.parametrize("damage", [lambda held: held[:-1], lambda held: held[:-1] + b"!", lambda _: b""])
def test_a_damaged_file_is_made_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    make = Maker()
    cached("one", make)
    (folder / "one").write_bytes(damage((folder / "one").read_bytes()))
    assert [cached("one", make) for _ in range(2)] == [b"what takes long"] * 2
    assert make.asked == 2


def test_where_nothing_can_be_kept_it_is_made_every_time(folder: Path) -> None:
    folder.write_text("a file, and no folder")
    make = Maker()
    assert [cached("one", make) for _ in range(2)] == [b"what takes long"] * 2
    assert make.asked == 2
    with pytest.raises(OSError, match="exists"):
        writable(cache_folder())


def test_what_lies_in_a_folder_that_cannot_be_written_is_used(folder: Path) -> None:
    make = Maker()
    cached("one", make)
    folder.chmod(0o500)
    assert cached("one", make) == b"what takes long"
    assert make.asked == 1
    assert [path.name for path in folder.iterdir()] == ["one"]
    folder.chmod(0o700)
