"""The columns of a table to numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat
from lockstep.spec import Preprocess

UNSEEN = 0  # the code of a category that the training rows of the fold do not have

Matrix = NDArray[np.float32]


class StandardNumbers(nn.Module):
    """``(x − centre)/spread``, the missing filled with 0; ``[B, D] → [B, D]``. With ``clip``: RealMLP's smooth clip
    ``z/√(1 + (z/3)²)`` (Holzmüller et al. 2024)."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: Matrix, spread: Matrix, *, clip: bool) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("spread", torch.from_numpy(spread))
        self.width = len(centre)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.nan_to_num((x - self.centre) / self.spread, nan=0.0)
        return z * torch.rsqrt(1 + (z / 3) ** 2) if self.clip else z


class BinnedNumbers(nn.Module):
    """How far a number has come through each bin of its column, 0 to 1: piecewise-linear encoding (Gorishniy et al.
    2022). Missing is 0 in every bin. ``[B, D] → [B, Q]``, ``Q`` the bins of all columns together.

    ``columns`` ``[Q]`` says which column a bin belongs to, ``edges`` where it starts, ``widths`` how wide it is.
    """

    columns: Tensor
    edges: Tensor
    widths: Tensor

    def __init__(self, edges: Sequence[NDArray[np.float64]]) -> None:
        super().__init__()
        columns = np.repeat(np.arange(len(edges)), [len(own) - 1 for own in edges])
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)
        starts, widths = np.concatenate([own[:-1] for own in edges]), np.concatenate([np.diff(own) for own in edges])
        self.register_buffer("edges", torch.from_numpy(starts.astype(np.float32)))
        # A bin without width (a fold that lacks values) is a step at its edge.
        least = 1e-6 * np.maximum(np.abs(starts), 1e-6)
        self.register_buffer("widths", torch.from_numpy(np.maximum(widths, least).astype(np.float32)))
        self.width = len(columns)

    def forward(self, x: Tensor) -> Tensor:
        come = (x.index_select(1, self.columns) - self.edges) / self.widths
        return torch.nan_to_num(come, nan=0.0).clamp(0, 1)


class RankedNumbers(nn.Module):
    """The normal quantile of a number's rank among ``quantiles`` ``[D, Q + 1]``; missing is the median, 0.
    ``[B, D] → [B, D]``."""

    bins: BinnedNumbers

    def __init__(self, edges: Sequence[NDArray[np.float64]]) -> None:
        super().__init__()
        self.bins = BinnedNumbers(edges)
        self.width = len(edges)

    def forward(self, x: Tensor) -> Tensor:
        ranks = self.bins(x).unflatten(1, (self.width, -1)).mean(-1)
        return torch.where(x.isnan(), 0.0, torch.special.ndtri(ranks.clamp(0.001, 0.999)))


class Categories(nn.Module):
    """Codes ``[B, Dc]`` to numbers: one-hot for columns of few values, an embedding for columns of many.

    ``known`` ``[V]`` says which of all columns' codes the training rows have; any other becomes the unseen entry, whose
    one-hot is all zero and whose embedding is 0 until told otherwise.
    """

    known: Tensor
    offsets: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, cardinalities: Sequence[int], known: NDArray[np.bool_], onehot_max: int, size: int) -> None:
        super().__init__()
        offsets = np.concatenate([[0], np.cumsum(cardinalities)[:-1]]).astype(np.int64)
        self.register_buffer("known", torch.from_numpy(known.astype(np.int64)))
        self.register_buffer("offsets", torch.from_numpy(offsets), persistent=False)
        onehot = [c for c, n in enumerate(cardinalities) if n - 1 <= onehot_max]
        pairs = [(c, value) for c in onehot for value in range(1, cardinalities[c])]
        columns, values = np.array(pairs, dtype=np.int64).reshape(-1, 2).T.copy()
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)
        self.register_buffer("values", torch.from_numpy(values), persistent=False)
        self.embedded = [c for c in range(len(cardinalities)) if c not in onehot]
        self.embeddings = nn.ModuleList(nn.Embedding(cardinalities[c], size) for c in self.embedded)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.1)  # type: ignore[arg-type]
            nn.init.zeros_(embedding.weight[UNSEEN])  # type: ignore[index]
        self.width = len(pairs) + size * len(self.embedded)

    def forward(self, codes: Tensor) -> Tensor:
        codes = codes * self.known[codes + self.offsets]
        onehot = (codes.index_select(1, self.columns) == self.values).to(torch.get_default_dtype())
        looked_up = [table(codes[:, c]) for c, table in zip(self.embedded, self.embeddings, strict=True)]
        return torch.cat([onehot, *looked_up], dim=1)


class Table(nn.Module):
    """The rows of a table, ``numbers`` ``[B, Dn]`` (NaN: missing) and ``categories`` ``[B, Dc]``, as ``[B, D]``.

    A number column with missing values among the training rows gets an input that says so.
    """

    gaps: Tensor

    def __init__(self, numbers: nn.ModuleList, gaps: NDArray[np.int64], categories: Categories | None) -> None:
        super().__init__()
        self.numbers = numbers
        self.register_buffer("gaps", torch.from_numpy(gaps))
        self.categories = categories
        self.shape = Flat(sum(part.width for part in numbers) + len(gaps) + (categories.width if categories else 0))  # type: ignore[misc]

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        parts = [part(numbers) for part in self.numbers]
        parts.append(numbers.index_select(1, self.gaps).isnan().to(numbers.dtype))
        if self.categories is not None:
            parts.append(self.categories(categories))
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, eq=False)
class TableShape:
    """What the preprocessing of all folds of a table shares, settled on all rows: ``cardinalities`` of the category
    columns; ``distinct`` values of each number column; ``gaps``, the number columns that get a missing flag."""

    cardinalities: tuple[int, ...]
    distinct: tuple[int, ...]
    gaps: NDArray[np.int64]


def fit_table(spec: Preprocess, shape: TableShape, numbers: Matrix, codes: NDArray[np.int64]) -> Table:
    """The preprocessing of a table, fitted on the given (training) rows."""
    parts = nn.ModuleList(fit_numbers(spec, shape, numbers)) if numbers.shape[1] else nn.ModuleList()
    categories = None
    if shape.cardinalities:
        categories = Categories(shape.cardinalities, known_codes(shape, codes), spec.onehot_max, spec.embedding_size)
    return Table(parts, shape.gaps, categories)


def known_codes(shape: TableShape, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of all columns' codes ``[V]`` the given rows have."""
    found = [np.bincount(codes[:, c], minlength=n) > 0 for c, n in enumerate(shape.cardinalities)]
    return np.concatenate(found)


def fit_numbers(spec: Preprocess, shape: TableShape, numbers: Matrix) -> list[nn.Module]:
    """The parts that number columns go through, side by side."""
    x = np.where(np.isnan(numbers).all(0), np.float32(0), numbers).astype(np.float64)
    standard = StandardNumbers(*_positive(np.nanmean(x, axis=0), np.nanstd(x, axis=0)), clip=False)
    match spec.numbers:
        case "standard":
            return [standard]
        case "robust":
            low, centre, high = np.nanquantile(x, [0.25, 0.5, 0.75], axis=0)
            spread = np.where(high > low, high - low, np.nanmax(x, 0) - np.nanmin(x, 0))
            return [StandardNumbers(*_positive(centre, spread), clip=True)]
        case "quantile":
            edges = np.linspace(0, 1, spec.bins + 1)
            return [RankedNumbers([np.nanquantile(own, edges) for own in x.T])]
        case "piecewise":
            bins = [min(spec.bins, max(n - 1, 1)) for n in shape.distinct]
            return [standard, BinnedNumbers([bin_edges(own, n) for own, n in zip(x.T, bins, strict=True)])]


def bin_edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """The ``bins + 1`` edges of bins of about equal count, ``values`` ``[N]`` with NaN for missing.

    One value that fills more than a bin by itself counts as one bin: of a column that is nine tenths zero, plain
    quantiles would nearly all be zero and the rest of its range a single bin.
    """
    distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if len(distinct) <= bins + 1:
        return np.concatenate([distinct, np.repeat(distinct[-1], bins + 1 - len(distinct))])
    weights = counts.astype(np.float64)
    while weights.max() > (1 + 1e-9) * weights.sum() / bins:  # capping one makes a bin's share smaller for all
        weights = np.minimum(weights, weights.sum() / bins)
    reached = np.cumsum(weights) / weights.sum()
    wanted = np.linspace(0, 1, bins + 1) - 1e-9  # a value that ends exactly at a bin's share belongs to it
    edges = distinct[np.searchsorted(reached, wanted)]
    edges[0], edges[-1] = distinct[0], distinct[-1]
    return edges


def _positive(centre: NDArray[np.float64], spread: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """As float32, a spread of 0 (a column that is constant in this fold) being 1."""
    return centre.astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)
