"""Tokens of text to numbers: an embedding for each."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.shapes import Flat, Sequence

UNKNOWN = 1  # the token that stands for all that the training rows of the fold do not have; 0 is padding


@dataclass(frozen=True)
class TextShape:
    """Texts of up to ``length`` tokens, each one of ``vocabulary`` numbers."""

    length: int
    vocabulary: int


class Tokens(nn.Module):
    """``tokens`` ``[B, T]`` of texts of ``lengths`` ``[B]``: an embedding for each.

    To a ``Sequence``: ``[B, T, E]``, 0 behind the end, and the mask ``[B, T]`` of the tokens that are there. To
    ``Flat``: their mean ``[B, E]``, whatever their order (a bag of words, Joulin et al. 2017). ``known`` ``[V]`` says
    which tokens the training rows have; any other is the unknown one, whose embedding is 0 until told otherwise.
    """

    known: Tensor

    def __init__(self, known: NDArray[np.bool_], shape: Flat | Sequence) -> None:
        super().__init__()
        self.register_buffer("known", torch.from_numpy(known))
        self.embedding = nn.Embedding(len(known), shape.width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight[: UNKNOWN + 1])
        self.shape = shape

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
        x = self.embedding(torch.where(self.known[tokens], tokens, UNKNOWN)) * mask.unsqueeze(2)
        return x.sum(1) / lengths.unsqueeze(1) if isinstance(self.shape, Flat) else (x, mask)


def fit_tokens(text: TextShape, shape: Flat | Sequence, tokens: NDArray[np.int64]) -> Tokens:
    """The preprocessing of text, fitted on the given (training) rows."""
    return Tokens(np.bincount(tokens.ravel(), minlength=text.vocabulary) > 0, shape)
