"""What a user hands to ``lockstep.train``, as tensors."""

from collections.abc import Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

from lockstep.data import make_splits
from lockstep.errors import DataError, SpecError
from lockstep.spec import Population

Rows = tuple[tuple[Tensor, ...], Tensor]


def unpack(data: Any, name: str) -> Rows:
    """``(x, y)``, a ``Dataset`` or a ``DataLoader`` as inputs ``[N, …]`` and targets ``[N, …]`` on the CPU.

    ``x`` may be a tuple of several inputs. Raises ``DataError`` for anything else, and for rows that do not match.
    """
    if isinstance(data, DataLoader):
        data = dataset_of(data, name)
    if isinstance(data, Dataset):
        if isinstance(data, IterableDataset) or not isinstance(data, Sized):
            raise DataError(
                f"{name} must have a length, however: an iterable dataset. Give a map-style one, or tensors."
            )
        data = default_collate([data[i] for i in range(len(data))])
    if not isinstance(data, tuple | list) or len(data) != 2:
        kind = type(data).__name__
        hint = " Files are for lockstep.fit." if isinstance(data, str | Path) else ""
        raise DataError(f"{name} must be (x, y), a map-style Dataset or its DataLoader, however: {kind}.{hint}")
    x, y = data
    several = isinstance(x, tuple) or (isinstance(x, list) and all(hasattr(part, "shape") for part in x))
    inputs = tuple(tensor(part, name) for part in (x if several else (x,)))
    target = tensor(y, name)
    if target.dim() == 0 or not len(target):
        raise DataError(f"{name} must have rows, however: 0.")
    for part in inputs:
        if part.dim() == 0 or len(part) != len(target):
            rows = len(part) if part.dim() else 0
            raise DataError(f"{name} must have as many rows in x as in y, however: {rows:,} and {len(target):,}.")
    for part in (*inputs, target):
        if part.is_floating_point() and not part.isfinite().all():
            row = int((~part.isfinite()).reshape(len(part), -1).any(dim=1).nonzero()[0])
            raise DataError(
                f"{name} must hold finite numbers, however row {row:,} has NaN or infinity. Fill or drop it."
            )
    return inputs, target if target.is_floating_point() else target.long()


def dataset_of(loader: DataLoader[Any], name: str) -> Dataset[Any]:
    """A loader's dataset. What else the loader would do is refused where it is not what Lockstep does by itself."""
    if loader.batch_size is not None and not isinstance(loader.sampler, SequentialSampler | RandomSampler):
        kind = type(loader.sampler).__name__
        raise DataError(
            f"The rows of {name} are shuffled by each member's own seed, however its DataLoader has a {kind}. "
            "Give the rows themselves: torch.utils.data.Subset(dataset, indices)."
        )
    if loader.collate_fn is not default_collate:
        raise DataError(
            f"The rows of {name} are stacked as torch does by default, however its DataLoader has a collate_fn of its "
            "own. Give the tensors: (x, y)."
        )
    dataset: Dataset[Any] = loader.dataset
    return dataset


def tensor(values: Any, name: str) -> Tensor:
    if hasattr(values, "to_numpy"):  # of a frame or one of its columns
        values = values.to_numpy()
    if isinstance(values, list) and any(isinstance(value, str) for value in values):
        values = np.array(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "USO":
        raise DataError(
            f"{name} must hold numbers that make a tensor, however: text or objects. As class codes: "
            "np.unique(y, return_inverse=True)[1]."
        )
    if isinstance(values, np.ndarray) and not values.flags.writeable:  # a frame's own memory, which torch warns of
        values = values.copy()
    try:
        made: Tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name} must hold numbers that make a tensor, however: {reason}.") from None
    return made.cpu()


def joined(data: Rows, valid: Rows) -> Rows:
    """The validation rows behind the others. Raises ``DataError`` where they are of another shape."""
    shapes = [[list(part.shape[1:]) for part in (*inputs, target)] for inputs, target in (data, valid)]
    if shapes[0] != shapes[1]:
        ours, others = (f"{' and '.join(map(str, x))} in x and {y} in y" for *x, y in shapes)
        raise DataError(f"A row of valid must have the shape of one of data, {ours}, however: {others}.")
    if data[1].is_floating_point() != valid[1].is_floating_point():
        raise DataError(f"valid must have targets of the type of data's, {data[1].dtype}, however: {valid[1].dtype}.")
    inputs = tuple(torch.cat(pair) for pair in zip(data[0], valid[0], strict=True))
    return inputs, torch.cat([data[1], valid[1]])


def split_rows(
    rows: int, targets: Tensor, folds: int | None, wanted: Population
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The (train, validation) rows of each fold: the user's own validation rows, or a cross-validation, or none."""
    everything = np.arange(rows)
    if folds is None:
        return [(everything, np.arange(rows, len(targets)))]
    if len(targets) > rows:
        raise SpecError(f"valid and folds exclude each other, however: folds={folds} and valid rows. Leave one out.")
    classes = targets.dtype == torch.int64 and targets.dim() == 1
    splits = make_splits(
        targets.numpy() if targets.dim() == 1 else everything, "multiclass" if classes else "regression",
        folds=folds, valid_size=wanted.valid_size, test_size=0.0, seed=wanted.seed,
    )  # fmt: skip
    return [(fold.train, fold.valid) for fold in splits.folds]
