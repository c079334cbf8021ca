"""Folders of pictures, one subfolder per class, to arrays of bytes."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lockstep.data.raw import RawArrays, hash_arrays, listing
from lockstep.errors import DataError
from lockstep.findings import Finding

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
_TRAIN, _TEST = frozenset({"train", "training"}), frozenset({"test", "testing"})
_VALID = frozenset({"val", "valid", "validation"})
Size = tuple[int, int]


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def read_picture(path: Path, origin: str, size: Size | None) -> RawArrays:
    """One picture, as the only row."""
    return _read([path], None, path.parent, origin, size)


def read_pictures(folder: Path, origin: str, size: Size | None) -> RawArrays:
    """A folder of pictures: uint8 [N, H, W] if all are grey, else [N, H, W, 3]; the subfolders' names as labels.

    Pictures that stand in the folder itself have no labels. Of subfolders called train and test the latter holds the
    test rows; one called val counts as more of train, since folds draw their own validation rows. Rows are in the order
    of their paths. ``size`` (height, width) resizes; without it all pictures must have one size.
    """
    inside = {each.name.lower(): each for each in _children(folder) if each.is_dir()}
    train = [inside[name] for name in sorted(inside) if name in _TRAIN]
    valid = [inside[name] for name in sorted(inside) if name in _VALID]
    tests = [inside[name] for name in sorted(inside) if name in _TEST]
    if not train or set(inside) - _TRAIN - _VALID - _TEST:
        return _read_classes([folder], folder, origin, size)
    raw = _read_classes([*train, *valid], folder, origin, size)
    notes = [_joined(valid[0].name, train[0].name, origin)] if valid else []
    test = _read_classes(tests, folder, f"{origin}/{tests[0].name}", size) if tests else None
    if test is not None:
        raw, test = _alike(raw, test)
    return replace(raw, test=test, findings=(*raw.findings, *notes))


def _joined(valid: str, train: str, origin: str) -> Finding:
    return Finding(
        severity="info", code="folders-joined", subject=valid,
        what=f"The pictures in {valid} are trained and validated on together with those in {train}.",
        evidence=f"folds draw their own validation rows; {origin} holds both folders",
        remedy=f"To validate on {valid} alone: lockstep fit {origin}/{train} --valid {origin}/{valid}.",
    )  # fmt: skip


def _children(folder: Path) -> list[Path]:
    """What stands in a folder, sorted, without what systems leave behind."""
    return sorted(
        each for each in folder.iterdir() if not each.name.startswith(".") and each.name.lower() not in _SYSTEM
    )


def _read_classes(folders: Sequence[Path], root: Path, origin: str, size: Size | None) -> RawArrays:
    """The pictures of the subfolders of ``folders``, each labelled with its subfolder's name."""
    children = [each for folder in folders for each in _children(folder)]
    classes = [each for each in children if each.is_dir()]
    files = [(file, each.name) for each in classes for file in sorted(each.rglob("*")) if _counts(file, each)]
    loose = [each for each in children if each.is_file()]
    if not any(is_picture(file) for file, _ in files):
        files, loose = [(file, "") for file in loose], []
    pictures = [(file, label) for file, label in files if is_picture(file)]
    if not pictures:
        inside = listing([each.name + "/" * each.is_dir() for each in children], 6)
        raise DataError(
            f"A folder must hold a subfolder of pictures for each class (png, jpg, gif, bmp, webp), an IDX pair, or a "
            f".ts pair, however {origin} holds: {inside or 'nothing'}. Give the path of a file."
        )
    empty = [each.name for each in classes if each.name not in {label for _, label in pictures}]
    labelled = pictures[0][1] != ""
    y = np.array([label for _, label in pictures], dtype=object) if labelled else None
    raw = _read([file for file, _ in pictures], y, root, origin, size)
    others = [file for file, _ in files if not is_picture(file)] + loose
    return replace(raw, findings=_skipped(others, root) + (_empty(empty) if labelled else ()))


def _counts(file: Path, top: Path) -> bool:
    parts = file.relative_to(top).parts
    return file.is_file() and not any(part.startswith(".") or part.lower() in _SYSTEM for part in parts)


def _skipped(files: Sequence[Path], root: Path) -> tuple[Finding, ...]:
    if not files:
        return ()
    names = [str(file.relative_to(root)) for file in files]
    return (
        Finding(
            severity="info", code="files-skipped", subject=listing(names, 3),
            what=f"{len(files):,} file{'s are' if len(files) > 1 else ' is'} no picture of a class, and skipped.",
            evidence=listing(names, 10),
            remedy="If they are pictures, save them as png or jpg in the subfolder of their class.",
        ),
    )  # fmt: skip


def _empty(names: list[str]) -> tuple[Finding, ...]:
    if not names:
        return ()
    return (
        Finding(
            severity="warning", code="empty-folders", subject=listing(names, 3),
            what=f"{len(names):,} folder{'s hold' if len(names) > 1 else ' holds'} no picture: there is no such class.",
            evidence=listing(names, 10),
            remedy="If there should be such a class, put its pictures there.",
        ),
    )  # fmt: skip


def _read(files: Sequence[Path], y: NDArray[Any] | None, root: Path, origin: str, size: Size | None) -> RawArrays:
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        images = list(pool.map(lambda file: _decode(file, size), files))
    names = tuple(file.relative_to(root).as_posix() for file in files)
    grey = all(image.ndim == 2 for image in images)
    images = images if grey else [_coloured(image) for image in images]
    sizes = Counter(image.shape[:2] for image in images)
    if len(sizes) > 1:
        raise _several_sizes(sizes, names, images, origin)
    x = np.stack(images)
    return RawArrays(x, y, origin, hash_arrays(x, y), names=names)


def _coloured(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _alike(first: RawArrays, second: RawArrays) -> tuple[RawArrays, RawArrays]:
    """Both in colour where one of them is."""
    if first.x.ndim == second.x.ndim:
        return first, second

    def coloured(raw: RawArrays) -> RawArrays:
        return raw if raw.x.ndim == 4 else replace(raw, x=np.repeat(raw.x[..., None], 3, axis=3))

    return coloured(first), coloured(second)


def _several_sizes(
    sizes: Counter[tuple[int, ...]], names: Sequence[str], images: Sequence[NDArray[Any]], origin: str
) -> DataError:
    common = sizes.most_common()
    shown = listing([f"{h} × {w} ({count:,})" for (h, w), count in common], 4)
    odd = next(name for name, image in zip(names, images, strict=True) if image.shape[:2] == common[-1][0])
    height, width = common[0][0]
    return DataError(
        f"Pictures must have one size, however those of {origin} are of {len(sizes):,} sizes, height × width: {shown}; "
        f"{odd} is {common[-1][0][0]} × {common[-1][0][1]}. Resize them all: --set data.image_size={height},{width}."
    )


def _decode(file: Path, size: Size | None) -> NDArray[np.uint8]:
    """One picture as uint8 [H, W] if it is grey, else [H, W, 3]; of a moving one the first frame."""
    try:
        with Image.open(file) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
            image.load()
    except UnidentifiedImageError:
        raise DataError(f"{file} is no picture, or a damaged one. Remove it, or save it again.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be decoded: {error}. Remove it, or save it again.") from None
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / (257 if values.max() > 255 else 1)).clip(0, 255).astype(np.uint8))
    else:
        image = image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)
