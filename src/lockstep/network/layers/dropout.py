"""Dropout whose mask is a pure function of (member's seed, step, place), so that a member's masks are its own.

torch's dropout draws from one stream for everything that runs, so a network's masks depend on who trains beside it.
Here the mask comes from a 32-bit integer hash of a key and the element's index. The key changes at every step and is
handed in as a buffer: under ``vmap`` each member has its own, and the same member alone sees the same mask.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_GOLDEN = -1640531527  # 0x9E3779B9 as int32: 2³²/φ spreads consecutive indices over all 32 bits
# 0x7FEB352D and 0x846CA68B: Wellons' lowbias32, avalanche bias 0.17. Tensors, for torch makes of a Python number one of
# 64 bits and of that one of 32, at every call.
_MIX1, _MIX2, _SHIFT, _REST = (torch.tensor(x, dtype=torch.int32) for x in (2146121005, -2073254261, 15, 0x1FFFF))

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def dropout_layer(rate: float) -> nn.Module:
    """``nn.Dropout``, or nothing where nothing would be drawn: a mask costs more than a small layer."""
    return nn.Dropout(rate) if rate > 0 else nn.Identity()


class Keyed(nn.Module):
    """A layer that draws by key: ``key``, an int32 buffer that the step sets, one number per member in a stack."""

    key: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("key", torch.tensor(0, dtype=torch.int32), persistent=False)

    def next_key(self) -> Tensor:
        """A module that one forward pass calls several times draws otherwise each time."""
        key = self.key + self.calls * 40503 if self.calls else self.key
        self.calls += 1
        return key


class Unkeyed(nn.Module):
    """A layer that draws from torch's stream, and whose ``keyed`` form stands in for it in a stack."""

    def keyed(self) -> Keyed:
        raise NotImplementedError


class KeyedDropout(Keyed):
    """Inverted dropout with a keyed mask; stands in for ``nn.Dropout`` and, with ``features``, ``nn.Dropout1d/2d/3d``.

    Shape: any → the same. For the feature forms one bit is drawn per (sample, channel), as torch does.
    Buffers, one number per member in a stack: ``threshold`` int32 (an element is kept when its hash is at least that),
    ``scale`` (1/(1 − p), 0 for p = 1), and the ``key``.
    """

    threshold: Tensor
    scale: Tensor

    def __init__(self, p: float, *, features: bool = False, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.features = features
        edge = min(round(p * 2**32) - 2**31, 2**31 - 1)
        self.register_buffer("threshold", torch.tensor(edge, dtype=torch.int32), persistent=False)
        self.register_buffer("scale", torch.tensor(0.0 if p == 1 else 1 / (1 - p), dtype=dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = x.shape[:2] + (1,) * (x.dim() - 2) if self.features else x.shape
        return x * (self.mask(shape, self.next_key(), x.device) * self.scale.to(x.dtype))

    def mask(self, shape: torch.Size | tuple[int, ...], key: Tensor, device: torch.device) -> Tensor:
        """Which elements are kept, boolean, of the given shape."""
        return bits(places(shape, device), key) >= self.threshold


def hash32(x: Tensor) -> Tensor:
    """Wellons' lowbias32, a bijection of the 32-bit integers with near-perfect avalanche; int32 → int32."""
    return _mix(_fold(x))


def places(shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
    """What ``bits`` needs to know of each element of ``shape``: its index, spread over 32 bits and folded."""
    index = torch.arange(int(np.prod(shape)), dtype=torch.int32, device=device).view(shape)
    return _fold(index * _GOLDEN)


def bits(places: Tensor, key: Tensor) -> Tensor:
    """``hash32(index·2³²/φ ^ key)``. Folding is linear in bits, ``fold(a ^ b) = fold(a) ^ fold(b)``, so of a stack's
    members each folds its key alone and the places are folded once for all."""
    return _mix(places ^ _fold(key))


def _fold(x: Tensor) -> Tensor:
    """The mask after a shift makes it a logical one: torch has no unsigned 32-bit arithmetic."""
    return x ^ ((x >> 16) & 0xFFFF)


def _mix(x: Tensor) -> Tensor:
    """The rest of the hash, in place."""
    x.mul_(_MIX1)
    return x.bitwise_xor_((x >> _SHIFT).bitwise_and_(_REST)).mul_(_MIX2)


def dropout_keys(seeds: NDArray[np.int64], steps: NDArray[np.int64], places: int) -> NDArray[np.int32]:
    """The keys ``[S, K, places]`` of the given steps (counted from the start of training) of members ``seeds``."""
    mixed = _splitmix(np.asarray(seeds, dtype=np.uint64))[None, :, None]
    mixed = _splitmix(mixed ^ np.asarray(steps, dtype=np.uint64)[:, None, None])
    mixed = _splitmix(mixed ^ (np.arange(places, dtype=np.uint64)[None, None, :] << np.uint64(32)))
    return (mixed >> np.uint64(32)).astype(np.uint32).view(np.int32)


def _splitmix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014), one output per input."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draws(module: nn.Module) -> bool:
    """Whether any layer of ``module`` has a keyed form, see ``key_dropout``."""
    return any(isinstance(layer, (Unkeyed, *DROPOUTS)) for layer in module.modules())


def key_dropout(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Swap every layer of ``module`` that draws at random for its keyed form, in place; returns the module.

    One that stands in several places stays one.
    """
    return _swap(module, dtype, {})


def _swap(module: nn.Module, dtype: torch.dtype, done: dict[nn.Module, nn.Module]) -> nn.Module:
    if module not in done:
        done[module] = _keyed(module, dtype)
        for name, child in list(module._modules.items()):
            if child is not None and (swapped := _swap(child, dtype, done)) is not child:
                setattr(module, name, swapped)
    return done[module]


def _keyed(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    if isinstance(module, Unkeyed):
        return module.keyed().train(module.training)
    if not isinstance(module, DROPOUTS):
        return module
    keyed = KeyedDropout(module.p, features=not isinstance(module, nn.Dropout), dtype=dtype)
    return keyed.train(module.training)


def keyed_dropouts(module: nn.Module) -> list[tuple[str, Keyed]]:
    """The keyed layers in a module, by name, in the order that gives each its place."""
    return [(name, child) for name, child in module.named_modules() if isinstance(child, Keyed)]
