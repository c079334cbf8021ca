"""The columns of a table as tokens, one each: what a transformer reads (FT-Transformer, Gorishniy et al. 2021)."""

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.preprocess.table import UNSEEN, BinnedNumbers, Matrix, TableShape, fit_numbers, known_codes
from lockstep.network.shapes import Sequence
from lockstep.spec import Preprocess


class NumberTokens(nn.Module):
    """Numbers ``[B, D]`` (NaN: missing) to ``[B, D, E]``: for each column ``Σ input × vector + bias``.

    A column's inputs are the numbers that ``parts`` make of it (itself standardised; with ``piecewise`` how far it has
    come through each bin, too) and, for each of ``gaps``, whether it is missing. ``places`` ``[D, I]`` says where they
    stand among all inputs; columns of fewer inputs are filled up with one that is always 0.
    """

    gaps: Tensor
    places: Tensor

    def __init__(self, parts: nn.ModuleList, columns: int, gaps: NDArray[np.int64], size: int) -> None:
        super().__init__()
        self.parts = parts
        owners = [part.columns.numpy() if isinstance(part, BinnedNumbers) else np.arange(columns) for part in parts]
        owner = np.concatenate([*owners, gaps])
        most = int(np.bincount(owner, minlength=columns).max())
        places = np.full((columns, most), len(owner), dtype=np.int64)
        for column in range(columns):
            own = np.flatnonzero(owner == column)
            places[column, : len(own)] = own
        self.register_buffer("gaps", torch.from_numpy(gaps))
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        self.weight = nn.Parameter(_uniform(columns, most, size))
        self.bias = nn.Parameter(_uniform(columns, size))

    def forward(self, numbers: Tensor) -> Tensor:
        flags = numbers.index_select(1, self.gaps).isnan().to(numbers.dtype)
        inputs = torch.cat([*(part(numbers) for part in self.parts), flags, torch.zeros_like(numbers[:, :1])], dim=1)
        own = inputs.index_select(1, self.places.flatten()).unflatten(1, self.places.shape)
        return torch.einsum("bci,cie->bce", own, self.weight) + self.bias


class CategoryTokens(nn.Module):
    """Codes ``[B, D]`` to ``[B, D, E]``: an embedding of each column's own for each value, plus the column's bias.

    ``known`` ``[V]`` says which of all columns' codes the training rows have; any other is as never seen.
    """

    known: Tensor
    offsets: Tensor

    def __init__(self, cardinalities: tuple[int, ...], known: NDArray[np.bool_], size: int) -> None:
        super().__init__()
        self.register_buffer("known", torch.from_numpy(known))
        offsets = np.concatenate([[0], np.cumsum(cardinalities)[:-1]]).astype(np.int64)
        self.register_buffer("offsets", torch.from_numpy(offsets), persistent=False)
        self.embedding = nn.Embedding(int(sum(cardinalities)), size)
        with torch.no_grad():
            self.embedding.weight.copy_(_uniform(len(known), size))
            self.embedding.weight[torch.from_numpy(offsets) + UNSEEN] = 0
        self.bias = nn.Parameter(_uniform(len(cardinalities), size))

    def forward(self, codes: Tensor) -> Tensor:
        codes = codes * self.known[codes + self.offsets]
        return self.embedding(codes + self.offsets) + self.bias  # type: ignore[no-any-return]


def _uniform(*shape: int) -> Tensor:
    """Uniform in ±1/√E, as the paper draws them."""
    drawn: Tensor = torch.rand(shape) * 2 - 1
    return drawn / sqrt(shape[-1])


class ColumnTokens(nn.Module):
    """The rows of a table to a ``Sequence`` ``[B, columns, E]``, numbers first, with a mask that is true everywhere."""

    def __init__(self, numbers: NumberTokens | None, categories: CategoryTokens | None, shape: Sequence) -> None:
        super().__init__()
        self.numbers = numbers
        self.categories = categories
        self.shape = shape

    def forward(self, numbers: Tensor, categories: Tensor) -> tuple[Tensor, Tensor]:
        parts = [] if self.numbers is None else [self.numbers(numbers)]
        if self.categories is not None:
            parts.append(self.categories(categories))
        x = torch.cat(parts, dim=1)
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def fit_columns(spec: Preprocess, shape: TableShape, numbers: Matrix, codes: NDArray[np.int64]) -> ColumnTokens:
    """The tokens of a table's columns, fitted on the given (training) rows."""
    size, columns = spec.token_size, numbers.shape[1]
    own = NumberTokens(nn.ModuleList(fit_numbers(spec, shape, numbers)), columns, shape.gaps, size) if columns else None
    categories = CategoryTokens(shape.cardinalities, known_codes(shape, codes), size) if shape.cardinalities else None
    return ColumnTokens(own, categories, Sequence(columns + len(shape.cardinalities), size, ordered=False))
