"""Preprocessing as data: raw columns, pixels, series or text to numbers."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lockstep.spec.base import Frozen


class Preprocess(Frozen):
    """Raw columns or pixels to numbers, fitted on the training rows of the member's own fold.

    ``numbers``: ``standard`` is (x − mean)/std; ``robust`` is (x − median)/IQR with a smooth clip (RealMLP, Holzmüller
    et al. 2024); ``quantile`` maps ranks to a standard normal; ``piecewise`` gives each of ``bins`` quantile bins an
    input of its own (piecewise-linear encoding, Gorishniy et al. 2022) beside the standardised number.
    Categories of at most ``onehot_max`` values are one-hot, above that an embedding of ``embedding_size``.

    Text is read as ``tokens``: ``wordpiece`` (words, rarer ones in pieces), ``word`` or ``character``; unless set,
    short names by character, texts whose words recur by word, and all else by word-piece. The ``vocabulary`` most
    frequent are known and get an embedding of ``token_size``; so does each column of a table where the network reads
    those as tokens. ``max_tokens`` of a text are read: unless set, as many as 99 of 100 texts have, within 64 to 512.
    Beside words and word-pieces the head sees ``spelling`` features, 0 for none: which 2 to 5 letters stand in a row.
    """

    fixed: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("tokens", "vocabulary", "max_tokens", "spelling"), "the text is read once for all of them"
    )

    numbers: Literal["standard", "robust", "quantile", "piecewise"] = "standard"
    bins: int = Field(default=32, ge=2)
    onehot_max: int = Field(default=64, ge=0)
    embedding_size: int = Field(default=8, ge=1)
    tokens: Literal["wordpiece", "word", "character"] | None = None
    vocabulary: int = Field(default=8000, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    token_size: int = Field(default=64, ge=1)
    spelling: int = Field(default=0, ge=0)
