"""Images changed at random while training: flips, shifts, cutout."""

import torch
from torch import Tensor

from lockstep.network.layers.dropout import Keyed, Unkeyed, bits, places

DRAWS = 5  # random integers per image: flip, shift down and right, the cut-out's centre


class Augment(Unkeyed):
    """In training, every image of ``[B, C, height, width]`` changed by itself; in eval mode nothing.

    ``flip``: left to right, for half of them. ``shift``: by up to so many pixels each way, the border repeated.
    ``cutout``: 0, the mean of standardised pixels, in a square of that side about any pixel (DeVries and Taylor 2017).
    Draws from torch's stream; ``KeyedAugment`` stands in for it in a stack.
    """

    def __init__(self, flip: bool, shift: int, cutout: int) -> None:
        super().__init__()
        self.flip, self.shift, self.cutout = flip, shift, cutout

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        drawn = torch.randint(2**31 - 1, (len(x), DRAWS), dtype=torch.int32, device=x.device)
        return changed(x, drawn, self.flip, self.shift, self.cutout)

    def keyed(self) -> Keyed:
        return KeyedAugment(self.flip, self.shift, self.cutout)


class KeyedAugment(Keyed):
    """``Augment`` by key."""

    def __init__(self, flip: bool, shift: int, cutout: int) -> None:
        super().__init__()
        self.flip, self.shift, self.cutout = flip, shift, cutout

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        drawn = bits(places((len(x), DRAWS), x.device), self.next_key()) & 0x7FFFFFFF
        return changed(x, drawn, self.flip, self.shift, self.cutout)


def changed(x: Tensor, drawn: Tensor, flip: bool, shift: int, cutout: int) -> Tensor:
    """``x`` ``[B, C, height, width]`` changed as the integers ``drawn`` ``[B, 5]``, 0 to 2³¹ − 1, say."""
    height, width = x.shape[2:]
    flips, down, right, row, column = drawn.unbind(1)
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    if flip or shift:
        sources_y = (rows + (down % (2 * shift + 1) - shift)[:, None]).clamp(0, height - 1)
        sources_x = (columns + (right % (2 * shift + 1) - shift)[:, None]).clamp(0, width - 1)
        if flip:
            sources_x = torch.where((flips % 2 == 1)[:, None], width - 1 - sources_x, sources_x)
        places = (sources_y[:, :, None] * width + sources_x[:, None, :]).flatten(1)
        x = x.flatten(2).gather(2, places[:, None].expand(-1, x.shape[1], -1)).view(x.shape)
    if cutout:
        # From the square's first pixel on; about an even side's centre it lies one pixel further up and left.
        top, left = row % height - cutout // 2, column % width - cutout // 2
        inside_y = (rows >= top[:, None]) & (rows < top[:, None] + cutout)
        inside_x = (columns >= left[:, None]) & (columns < left[:, None] + cutout)
        x = x.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0.0)
    return x
