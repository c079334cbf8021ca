"""Tokens of text to numbers: an embedding for each, and beside them how the text is spelled."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.network.shapes import Flat, Sequence

UNKNOWN = 1  # the token that stands for all that the training rows of the fold do not have; 0 is padding
SPREAD = 10.0  # the length of a text's spelling: how fast the head learns from it (docs/decisions/0006-families.md)


@dataclass(frozen=True)
class TextShape:
    """Texts of up to ``length`` tokens, each one of ``vocabulary`` numbers, and ``spelling`` features beside them."""

    length: int
    vocabulary: int
    spelling: int = 0

    def flat(self, size: int) -> Flat:
        return Flat(size + self.spelling)

    def sequence(self, size: int) -> Sequence:
        return Sequence(self.length, size, beside=self.spelling)


class Tokens(nn.Module):
    """``tokens`` ``[B, T]`` of texts of ``lengths`` ``[B]``: an embedding for each.

    To a ``Sequence``: ``[B, T, E]``, 0 behind the end, and the mask ``[B, T]`` of the tokens that are there. To
    ``Flat``: their mean ``[B, E]``, whatever their order (a bag of words, Joulin et al. 2017). ``known`` ``[V]`` says
    which tokens the training rows have; any other is the unknown one, whose embedding is 0 until told otherwise.
    The ``spelling`` ``[B, S]``, if there is one, comes last, with the same length for each text.
    """

    known: Tensor

    def __init__(self, known: NDArray[np.bool_], size: int, shape: Flat | Sequence) -> None:
        super().__init__()
        self.register_buffer("known", torch.from_numpy(known))
        self.embedding = nn.Embedding(len(known), size)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight[: UNKNOWN + 1])
        self.shape = shape

    def forward(self, tokens: Tensor, lengths: Tensor, *spelling: Tensor) -> Tensor | tuple[Tensor, ...]:
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        x = self.embedding(torch.where(self.known[tokens], tokens, UNKNOWN)) * mask.unsqueeze(2)
        beside = [F.normalize(row.to(x.dtype), dim=1) * SPREAD for row in spelling]
        if isinstance(self.shape, Flat):
            return torch.cat([x.sum(1) / lengths.unsqueeze(1), *beside], dim=1)
        return x, mask, *beside


def fit_tokens(text: TextShape, size: int, shape: Flat | Sequence, tokens: NDArray[np.int64]) -> Tokens:
    """The preprocessing of text to ``shape`` with embeddings of ``size``, fitted on the given (training) rows."""
    return Tokens(np.bincount(tokens.ravel(), minlength=text.vocabulary) > 0, size, shape)
