"""What two modules must have in common to share a stack.

One form runs all members, with each member's parameters and buffers put in. So everything else that a module holds must
be the same for all: a stride, a slope, an activation function, a tensor that was never registered as a buffer.
"""

import weakref
from functools import partial
from types import BuiltinFunctionType, FunctionType

import numpy as np
import torch
from torch import Tensor, nn

from lockstep.network.layers.dropout import DROPOUTS

_TORCHS_OWN = frozenset(vars(nn.Module()))  # parameters, buffers, submodules, hooks, the mode


def structure(module: nn.Module) -> tuple[object, ...]:
    """A hashable that is equal for modules that can share a stack: classes, settings, names, shapes and types.

    Not the dropout rate, which is a number per member.
    """
    return (
        tuple(
            (name, kind(type(child)), settings(child)) for name, child in module.named_modules(remove_duplicate=False)
        ),
        tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()),
        tuple((name, b.shape, b.dtype) for name, b in module.named_buffers()),
    )


def kind(cls: type) -> object:
    """A class; one that was made inside a function, anew at each call, by what it says."""
    if "<locals>" not in cls.__qualname__:
        return cls
    methods = tuple((name, plain(value)) for name, value in vars(cls).items() if isinstance(value, FunctionType))
    return (cls.__qualname__, tuple(map(kind, cls.__bases__)), methods)


def settings(module: nn.Module) -> tuple[tuple[str, object], ...]:
    """What one module holds beside its parameters, buffers and submodules."""
    if isinstance(module, DROPOUTS):
        return ()
    return tuple((name, plain(value)) for name, value in vars(module).items() if name not in _TORCHS_OWN)


def plain(value: object) -> object:
    """``value`` as a hashable that compares by what it says; what says nothing of itself is only equal to itself."""
    match value:
        case None | bool() | int() | float() | str() | bytes() | type() | BuiltinFunctionType() | torch.dtype():
            return value
        case nn.Parameter() | weakref.ref():  # torch's recurrent layers hold their parameters a second time
            return None
        case Tensor():
            return plain(value.detach().cpu().numpy())
        case np.ndarray():
            return (value.shape, str(value.dtype), value.tobytes())
        case FunctionType():
            closed = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            cells = tuple(plain(cell.cell_contents) for name, cell in closed if name != "__class__")
            return (value.__code__, plain(value.__defaults__), cells)
        case partial():
            return (plain(value.func), plain(value.args), plain(value.keywords))
        case tuple() | list():
            return tuple(map(plain, value))
        case dict():
            return tuple((plain(key), plain(item)) for key, item in value.items())
    return id(value)
