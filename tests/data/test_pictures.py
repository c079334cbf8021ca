"""Folders of pictures: one subfolder per class, one size, nothing read wrongly in silence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lockstep.data import RawArrays, encode, infer_schema, read
from lockstep.errors import DataError
from lockstep.spec import DataSpec

Rng = np.random.Generator


def save(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def grey(rng: Rng, height: int = 5, width: int = 7) -> np.ndarray:
    return rng.integers(0, 256, (height, width), dtype=np.uint8)


def coloured(rng: Rng, height: int = 5, width: int = 7) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def pictures(source: Path, **settings: object) -> RawArrays:
    raw = read(source, DataSpec(**settings))  # type: ignore[arg-type]
    assert isinstance(raw, RawArrays)
    return raw


def test_a_subfolder_per_class_gives_pixels_and_labels_in_the_order_of_the_paths(tmp_path: Path, rng: Rng) -> None:
    cats = [save(tmp_path / "cat" / f"{name}.png", grey(rng)) for name in "ab"]
    dogs = [save(tmp_path / "dog" / f"{name}.bmp", grey(rng)) for name in "ab"]
    raw = pictures(tmp_path)
    np.testing.assert_array_equal(raw.x, np.stack(cats + dogs))
    assert raw.x.dtype == np.uint8
    assert raw.y is not None
    assert raw.y.tolist() == ["cat", "cat", "dog", "dog"]
    assert raw.names == ("cat/a.png", "cat/b.png", "dog/a.bmp", "dog/b.bmp")
    schema, findings = infer_schema(raw)
    assert (schema.kind, schema.task, schema.classes, schema.image_shape) == (
        "images",
        "binary",
        ("cat", "dog"),
        (5, 7),
    )
    assert findings == []
    assert encode(raw, schema, with_target=True).target.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp"])
def test_every_format_is_decoded_to_bytes(tmp_path: Path, rng: Rng, suffix: str) -> None:
    for label in "ab":
        save(tmp_path / label / f"one.{suffix}", np.full((4, 6, 3), rng.integers(0, 256), dtype=np.uint8))
    raw = pictures(tmp_path)
    assert raw.x.shape[:3] == (2, 4, 6)
    assert raw.x.dtype == np.uint8


def test_grey_among_coloured_pictures_is_grey_in_three_channels(tmp_path: Path, rng: Rng) -> None:
    one, other = save(tmp_path / "a" / "1.png", grey(rng)), save(tmp_path / "b" / "1.png", coloured(rng))
    np.testing.assert_array_equal(pictures(tmp_path).x, np.stack([np.repeat(one[..., None], 3, 2), other]))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", np.array([[0, 257, 65535]], dtype=np.uint16))
    assert pictures(tmp_path).x.tolist() == [[[0, 1, 255]]]


def test_pictures_of_several_sizes_are_refused_with_the_remedy_that_works(tmp_path: Path, rng: Rng) -> None:
    for name, size in (("1", (5, 7)), ("2", (5, 7)), ("3", (8, 6))):
        save(tmp_path / "a" / f"{name}.png", grey(rng, *size))
    with pytest.raises(DataError, match=r"5 × 7 \(2\), 8 × 6 \(1\); a/3.png is 8 × 6.*data.image_size=5,7"):
        pictures(tmp_path)
    assert pictures(tmp_path, image_size=[5, 7]).x.shape == (3, 5, 7)
    assert pictures(tmp_path, image_size=9).x.shape == (3, 9, 9)


def test_a_folder_called_test_holds_the_test_rows_and_val_joins_train(tmp_path: Path, rng: Rng) -> None:
    for part in ("train", "val", "test"):
        for label in "ab":
            save(tmp_path / part / label / "1.png", coloured(rng) if part == "test" else grey(rng))
    raw = pictures(tmp_path)
    assert raw.test is not None
    assert (len(raw), len(raw.test)) == (4, 2)
    assert raw.x.shape[1:] == raw.test.x.shape[1:] == (5, 7, 3)
    assert raw.y.tolist() == ["a", "b", "a", "b"]  # type: ignore[union-attr]
    assert [finding.code for finding in raw.findings] == ["folders-joined"]


def test_classes_called_train_and_test_beside_others_are_classes(tmp_path: Path, rng: Rng) -> None:
    for label in ("train", "bus", "test"):
        save(tmp_path / label / "1.png", grey(rng))
    assert pictures(tmp_path).y.tolist() == ["bus", "test", "train"]  # type: ignore[union-attr]


def test_what_is_no_picture_is_skipped_and_said_so(tmp_path: Path, rng: Rng) -> None:
    for label in "ab":
        save(tmp_path / label / "1.png", grey(rng))
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "a" / "notes.md").write_text("hello")
    (tmp_path / "a" / ".DS_Store").write_text("hello")
    (tmp_path / "c").mkdir()
    findings = infer_schema(pictures(tmp_path))[1]
    assert [finding.code for finding in findings] == ["files-skipped", "empty-folders"]
    assert findings[0].evidence == "a/notes.md, readme.txt"


@pytest.mark.parametrize("content", [b"", b"nothing like a picture"])
def test_a_damaged_picture_is_named(tmp_path: Path, rng: Rng, content: bytes) -> None:
    save(tmp_path / "a" / "1.png", grey(rng))
    (tmp_path / "a" / "2.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"2\.jpg is no picture"):
        pictures(tmp_path)


def test_a_picture_cut_short_is_named(tmp_path: Path, rng: Rng) -> None:
    save(tmp_path / "a" / "1.png", coloured(rng, 50, 50))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"1\.png cannot be decoded"):
        pictures(tmp_path)


def test_pictures_to_predict_on_need_no_classes(tmp_path: Path, rng: Rng) -> None:
    for label in "ab":
        save(tmp_path / "known" / label / "1.png", coloured(rng))
    schema, _ = infer_schema(pictures(tmp_path / "known"))
    one = save(tmp_path / "new" / "x.png", grey(rng))
    loose = pictures(tmp_path / "new")
    assert loose.y is None
    assert loose.names == ("x.png",)
    pixels = encode(loose, schema, with_target=False).inputs[0]
    np.testing.assert_array_equal(pixels[0], np.repeat(one[..., None], 3, 2))
    np.testing.assert_array_equal(
        encode(pictures(tmp_path / "new" / "x.png"), schema, with_target=False).inputs[0], pixels
    )


def test_a_folder_without_pictures_says_what_it_must_hold(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError, match=r"subfolder of pictures for each class.*holds: a.txt"):
        read(tmp_path)
