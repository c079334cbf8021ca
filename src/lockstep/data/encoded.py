"""What a network takes: arrays, a row per row of the data."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """``inputs`` of a table: numbers float32 [N, Dn] (NaN is missing) and categories int64 [N, Dc] (0 unseen,
    1 missing, 2 + j is ``categories[j]``); of images: pixels uint8 or float32 [N, …]; of series: values float32
    [N, T, C] (NaN where missing and behind the end) and lengths int64 [N]; of text: tokens int64 [N, T], lengths int64
    [N] and maybe their spelling int8 [N, S], or, before there is a vocabulary, the texts themselves. ``target``: class
    codes int64 [N] or float64 [N]. Of a forecast: windows float32 [N, C, context], and as targets what followed them
    [N, C, horizon].
    """

    inputs: tuple[NDArray[Any], ...]
    target: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.inputs[0])
