"""What flows from preprocessing to body, so that each family knows what it gets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flat:
    """``[B, width]``: for perceptron and mlp."""

    width: int


@dataclass(frozen=True)
class Grid:
    """``[B, channels, height, width]``: for convolutions over images."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Sequence:
    """``[B, length, width]`` beside a mask ``[B, length]``, true where there is something and false where padded.

    ``ordered``: whether it matters what comes before what, as it does in time and not among a table's columns.
    ``beside``: how wide a row ``[B, beside]`` comes along that is not of any step; none where 0.
    """

    length: int
    width: int
    ordered: bool = True
    beside: int = 0


Shape = Flat | Grid | Sequence
Wants = type[Flat] | type[Grid] | type[Sequence]
