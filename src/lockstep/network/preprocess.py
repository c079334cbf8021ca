"""Preprocessing as a part of the network: raw columns or pixels to numbers.

What it knows of the data are buffers, fitted on the training rows of the member's own fold: nothing leaks, it stacks as
any other buffer, and it travels with the weights, so that a network eats raw rows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
    """Where a number lies among the quantiles ``edges`` ``[D, Q + 1]`` of its column: how far it has come through each
    of the ``Q`` bins, 0 to 1 (piecewise-linear encoding, Gorishniy et al. 2022). Missing is 0 in every bin.

    ``[B, D] → [B, D·Q]``, or with ``ranks=True`` their mean mapped to a normal quantile, ``[B, D]``.
    """

    edges: Tensor
    widths: Tensor

    def __init__(self, edges: Matrix, *, ranks: bool) -> None:
        super().__init__()
        self.ranks = ranks
        self.register_buffer("edges", torch.from_numpy(np.ascontiguousarray(edges[:, :-1])))
        # An empty bin (repeated quantiles) is a step: 0 at or below its edge, 1 above.
        widths = np.maximum(np.diff(edges, axis=1), 1e-12 + 1e-6 * np.abs(edges[:, 1:])).astype(np.float32)
        self.register_buffer("widths", torch.from_numpy(widths))
        D, Q = widths.shape
        self.width = D if ranks else D * Q

    def forward(self, x: Tensor) -> Tensor:
        come = torch.nan_to_num(((x.unsqueeze(-1) - self.edges) / self.widths).clamp(0, 1), nan=0.5 if self.ranks else 0)
        if not self.ranks:
            return come.flatten(1)
        return torch.special.ndtri(come.mean(-1).clamp(0.001, 0.999))


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
        self.width = sum(part.width for part in numbers) + len(gaps) + (categories.width if categories else 0)  # type: ignore[misc]

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        parts = [part(numbers) for part in self.numbers]
        parts.append(numbers.index_select(1, self.gaps).isnan().to(numbers.dtype))
        if self.categories is not None:
            parts.append(self.categories(categories))
        return torch.cat(parts, dim=1)


class Pixels(nn.Module):
    """Images of any layout to ``[B, D]``: ``(x − centre)/spread``, one centre and spread for all pixels."""

    centre: Tensor
    spread: Tensor

    def __init__(self, centre: float, spread: float, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))
        self.width = width

    def forward(self, pixels: Tensor) -> Tensor:
        return ((pixels.to(self.centre.dtype) - self.centre) / self.spread).flatten(1)


def fit_table(
    spec: Preprocess, numbers: Matrix, codes: NDArray[np.int64], cardinalities: Sequence[int], gaps: NDArray[np.int64]
) -> Table:
    """The preprocessing of a table, fitted on the given (training) rows.

    ``gaps`` are the number columns that get a missing flag: settled on all rows, so that folds share one structure.
    """
    parts = nn.ModuleList(fit_numbers(spec, numbers)) if numbers.shape[1] else nn.ModuleList()
    categories = None
    if cardinalities:
        known = np.concatenate([np.bincount(codes[:, c], minlength=n) > 0 for c, n in enumerate(cardinalities)])
        categories = Categories(cardinalities, known, spec.onehot_max, spec.embedding_size)
    return Table(parts, gaps, categories)


def fit_numbers(spec: Preprocess, numbers: Matrix) -> list[nn.Module]:
    """The parts that number columns go through, side by side."""
    x = np.where(np.isnan(numbers).all(0), np.float32(0), numbers).astype(np.float64)
    if spec.numbers == "robust":
        low, centre, high = np.nanquantile(x, [0.25, 0.5, 0.75], axis=0)
        spread = np.where(high > low, high - low, np.nanmax(x, 0) - np.nanmin(x, 0))
        return [StandardNumbers(*_positive(centre, spread), clip=True)]
    standard = StandardNumbers(*_positive(np.nanmean(x, axis=0), np.nanstd(x, axis=0)), clip=False)
    if spec.numbers == "standard":
        return [standard]
    edges = np.nanquantile(x, np.linspace(0, 1, spec.bins + 1), axis=0).T.astype(np.float32)
    if spec.numbers == "quantile":
        return [BinnedNumbers(edges, ranks=True)]
    return [standard, BinnedNumbers(edges, ranks=False)]


def _positive(centre: NDArray[np.float64], spread: NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """As float32, a spread of 0 (a column that is constant in this fold) being 1."""
    return centre.astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)


def fit_pixels(pixels: NDArray[np.generic]) -> Pixels:
    """The preprocessing of images, fitted on the given (training) images; a sample of them is enough for two numbers."""
    sample = pixels[:: max(1, len(pixels) // 2000)].astype(np.float64)
    spread = float(sample.std())
    return Pixels(float(sample.mean()), spread if spread > 0 else 1.0, int(np.prod(pixels.shape[1:])))
