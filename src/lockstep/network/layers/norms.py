"""Norms by name: torch's own modules."""

import math

from torch import nn

from lockstep.errors import SpecError

GROUPS = 32  # Wu and He 2018


def norm(name: str, width: int, *, groups: int | None = None, axes: int = 0) -> nn.Module | None:
    """The norm of that name over ``width`` features, shape → the same; None for ``none``.

    ``axes`` is how many axes stand behind the features: 0 for ``[B, H]`` (and ``[B, T, H]``, where layer and RMS norm
    work at each place by itself), 1 for ``[B, H, T]``, 2 for ``[B, H, height, width]``. Batch norm then is one mean and
    variance per channel, and layer norm takes a sample's channels and places together (torch's group norm of one
    group). ``groups`` is group norm's: 32 unless given, or as many of them as divide ``width``.
    """
    match name:
        case "batch":
            return nn.BatchNorm2d(width) if axes == 2 else nn.BatchNorm1d(width)
        case "layer":
            return nn.LayerNorm(width) if axes == 0 else nn.GroupNorm(1, width)
        case "group":
            return nn.GroupNorm(dividing(groups, width), width)
        case "rms":
            if axes:
                raise SpecError(
                    "model.norm must suit the network: RMS norm is over features on the last axis, "
                    "however: convolutions. Set model.norm to batch, layer or group."
                )
            return nn.RMSNorm(width)
        case "none":
            return None
    raise AssertionError(f"no norm {name!r}")


def dividing(groups: int | None, width: int) -> int:
    """How many groups ``width`` features are in."""
    if groups is None:
        return math.gcd(GROUPS, width)
    if width % groups:
        raise SpecError(f"model.groups must divide the width, however: {groups} groups of {width} features.")
    return groups
