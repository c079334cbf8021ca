"""Parquet, npz, IDX and scikit-learn's tables."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lockstep.data import RawArrays, RawTable, encode, infer_schema, read
from lockstep.errors import DataError
from lockstep.spec import DataSpec


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


IMAGES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def write_pair(folder: Path, images: bytes, labels: bytes, stem: str = "train", ending: str = "") -> None:
    (folder / f"{stem}-images-idx3-ubyte{ending}").write_bytes(images)
    (folder / f"{stem}-labels-idx1-ubyte{ending}").write_bytes(labels)


def test_an_idx_folder_gives_images_labels_and_its_test_rows(tmp_path: Path) -> None:
    write_pair(tmp_path, gzip.compress(idx(IMAGES)), gzip.compress(idx(LABELS)), ending=".gz")
    write_pair(tmp_path, idx(IMAGES[:3]), idx(LABELS[:3]), stem="t10k")
    raw = read(tmp_path)
    assert isinstance(raw, RawArrays)
    assert (raw.x == IMAGES).all()
    assert (raw.y == LABELS).all()
    assert raw.test is not None
    assert (raw.test.x == IMAGES[:3]).all()
    schema, _ = infer_schema(raw)
    assert (schema.kind, schema.task, schema.classes, schema.image_shape) == (
        "images",
        "multiclass",
        ("0", "1", "2"),
        (2, 2),
    )
    encoded = encode(raw, schema, with_target=True)
    assert encoded.inputs[0].dtype == np.uint8
    assert (encoded.target == LABELS).all()


def test_an_images_file_finds_the_labels_beside_it_and_none_is_fine(tmp_path: Path) -> None:
    write_pair(tmp_path, idx(IMAGES), idx(LABELS))
    path = tmp_path / "train-images-idx3-ubyte"
    raw = read(path)
    assert isinstance(raw, RawArrays)
    assert raw.test is None
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    alone = read(path)
    assert isinstance(alone, RawArrays)
    assert alone.y is None
    with pytest.raises(DataError, match="needs labels"):
        infer_schema(alone)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx(IMAGES)[:-1], idx(LABELS), "cut short"),
        (idx(IMAGES) + b"x", idx(LABELS), "too long"),
        (b"\x01" + idx(IMAGES)[1:], idx(LABELS), "no IDX file"),
        (b"\0\0", idx(LABELS), "no IDX file"),
        (b"", idx(LABELS), "is empty"),
        (gzip.compress(idx(IMAGES), mtime=0)[:-9], idx(LABELS), "cannot be unpacked"),
        (idx(IMAGES), idx(LABELS)[:-1], "labels.*cut short"),
        (idx(IMAGES), idx(LABELS[:4]), "a label for each image"),
        (idx(LABELS), idx(LABELS), "3 axes"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, images: bytes, labels: bytes, message: str) -> None:
    write_pair(tmp_path, images, labels)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_folder_without_images_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"IDX pair.*a\.csv"):
        read(tmp_path)


def test_parquet_keeps_types_and_damage_is_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1.5, None], "b": [True, False], "s": ["x", "y"]})
    frame.write_parquet(tmp_path / "t.parquet")
    raw = read(tmp_path / "t.parquet")
    assert isinstance(raw, RawTable)
    assert raw.frame.equals(frame)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-30])
    with pytest.raises(DataError, match="no readable parquet"):
        read(tmp_path / "cut.parquet")
    frame.head(0).write_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="no rows"):
        read(tmp_path / "none.parquet")


def test_npz_gives_tables_or_images_and_their_test_rows(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 3
    np.savez(tmp_path / "table.npz", x=x, y=y)
    table = read(tmp_path / "table.npz")
    assert isinstance(table, RawTable)
    assert table.frame.columns == ["x0", "x1", "x2", "target"]
    np.savez_compressed(tmp_path / "images.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    images = read(tmp_path / "images.npz")
    assert isinstance(images, RawArrays)
    assert images.test is not None


def test_npz_with_python_objects_is_refused_without_loading_them(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    np.savez(tmp_path / "t.npz", x=np.array([Boom(), Boom()], dtype=object), y=np.arange(2))
    with pytest.raises(DataError, match="Python objects"):
        read(tmp_path / "t.npz")


def test_npz_that_is_none_or_lacks_x_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no npz file"):
        read(tmp_path / "bad.npz")
    np.savez(tmp_path / "a.npz", a=np.arange(3))
    with pytest.raises(DataError, match="must hold x and y, however it holds: a"):
        read(tmp_path / "a.npz")


def test_scikit_learn_tables_know_their_target() -> None:
    schema, _ = infer_schema(read("sklearn:iris"))
    assert (schema.target, schema.classes) == ("target", ("setosa", "versicolor", "virginica"))
    digits, findings = infer_schema(read("sklearn:digits"))
    assert len(digits.columns) == 64
    assert len(digits.number_names) == 61
    assert digits.labels([3, 1]).tolist() == [3, 1]
    assert [f.code for f in findings] == ["constant-column"]
    assert infer_schema(read("sklearn:diabetes"))[0].task == "regression"
    assert infer_schema(read("sklearn:iris", spec := DataSpec(target="sepal width (cm)")), spec)[0].task == "regression"
    with pytest.raises(DataError, match=r"Did you mean sklearn:iris"):
        read("sklearn:irsi")
