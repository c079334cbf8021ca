"""What two modules must have in common to share a stack.

One form runs all members, with each member's parameters and buffers put in. So everything else that a module holds must
be the same for all: a stride, a slope, an activation function, a tensor that was never registered as a buffer.
"""

import sys
import weakref
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from lockstep.network.layers.dropout import DROPOUTS

_PYTHONS_OWN = frozenset(vars(type("_", (), {}))) | {
    "__qualname__", "__annotations__", "__annotate_func__", "__firstlineno__", "__static_attributes__",
    "__orig_bases__", "__parameters__", "__abstractmethods__", "_abc_impl",
}  # fmt: skip
_TORCHS_OWN = frozenset(vars(nn.Module()))  # parameters, buffers, submodules, hooks, the mode


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the weights that are trained."""
    return next(p.dtype for p in module.parameters() if p.requires_grad)


def is_the_libraries(module: nn.Module) -> bool:
    """Whether a module by itself, its submodules aside, runs torch's code and ours alone: it has no class, forward,
    function or hook of its user's."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    held = [value for value in vars(module).values() if callable(value) and not isinstance(value, Tensor)]
    sources = [(getattr(each, "__module__", None) or "torch").split(".")[0] for each in (type(module), *held)]
    return not any(hooks) and "forward" not in vars(module) and set(sources) <= {"torch", "lockstep"}


def structure(module: nn.Module) -> tuple[object, ...]:
    """A hashable that is equal for modules that can share a stack: classes, settings, names, shapes and types.

    Not the dropout rate, which is a number per member.
    """
    return (
        tuple(
            (name, kind(type_before_parametrizations(child)), settings(child))
            for name, child in module.named_modules(remove_duplicate=False)
        ),
        tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()),
        tuple((name, b.shape, b.dtype) for name, b in module.named_buffers()),
    )


def difference(one: nn.Module, other: nn.Module) -> str:
    """What keeps two modules from sharing a stack, in words: the first layer or setting that differs."""
    layers = zip(one.named_modules(remove_duplicate=False), other.named_modules(remove_duplicate=False), strict=False)
    for (name, ours), (_, others) in layers:
        if kind(type_before_parametrizations(ours)) != kind(type_before_parametrizations(others)):
            return f"the layer {name or 'itself'} ({type(ours).__name__} and {type(others).__name__})"
        for (attribute, value), (_, another) in zip(settings(ours), settings(others), strict=False):
            if value != another:
                return f"{name}{'.' if name else ''}{attribute} ({type(getattr(ours, attribute)).__name__})"
    return "their layers' or tensors' names, shapes or types"


def kind(cls: type) -> object:
    """A class; one that is not there by its name (made inside a function, anew at each call) by what it says."""
    found: object = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is cls:
        return cls
    said = tuple((name, plain(value)) for name, value in vars(cls).items() if name not in _PYTHONS_OWN)
    return (cls.__qualname__, tuple(map(kind, cls.__bases__)), said)


def settings(module: nn.Module) -> tuple[tuple[str, object], ...]:
    """What one module holds beside its parameters, buffers and submodules."""
    if isinstance(module, DROPOUTS):
        return ()
    # torch's recurrent layers list their parameters a second time
    known = _TORCHS_OWN | {"_flat_weights"} if isinstance(module, nn.RNNBase) else _TORCHS_OWN
    return tuple((name, said(value)) for name, value in vars(module).items() if name not in known)


def said(value: object) -> object:
    """``plain(value)``; what holds itself is only equal to itself."""
    try:
        return plain(value)
    except RecursionError:
        return id(value)


def plain(value: object) -> object:
    """``value`` as a hashable that compares by what it says; what says nothing of itself is only equal to itself."""
    match value:
        case type():
            return kind(value)
        case None | bool() | int() | float() | str() | bytes() | Enum() | BuiltinFunctionType():
            return value
        case torch.dtype() | torch.device():
            return value
        case weakref.ref():  # as torch's recurrent layers hold to their parameters
            return None
        case Tensor():
            return plain(value.detach().cpu().numpy())
        case np.ndarray():
            return (value.shape, str(value.dtype), value.tobytes())
        case FunctionType():
            closed = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            cells = tuple(plain(cell.cell_contents) for name, cell in closed if name != "__class__")
            return (value.__code__, plain(value.__defaults__), plain(value.__kwdefaults__), cells)
        case partial():
            return (plain(value.func), plain(value.args), plain(value.keywords))
        case property():
            return (plain(value.fget), plain(value.fset))
        case staticmethod() | classmethod():
            return (type(value), plain(value.__func__))
        case tuple() | list():
            return tuple(map(plain, value))
        case dict():
            return tuple((plain(key), plain(item)) for key, item in value.items())
        case set() | frozenset():
            return frozenset(map(plain, value))
        case nn.Module():  # one that torch does not know as a part: its tensors are not stacked
            return id(value)
    if type(value).__basicsize__ == _Plain.__basicsize__ and hasattr(value, "__dict__"):  # all it holds is in there
        return (kind(type(value)), plain(vars(value)))
    return id(value)


class _Plain:
    """As large as an object without hidden parts."""
