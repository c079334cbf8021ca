"""Pieces of a spec by the names that people use for them: ``momentum`` is SGD with momentum."""

from typing import Any

from lockstep.spec.base import Frozen, Vary
from lockstep.spec.optimizers import SGD


def called(piece: Frozen) -> str:
    """The name of a piece: its kind's, and of SGD with momentum ``momentum`` or ``nesterov``."""
    match piece:
        case SGD(nesterov=True):
            return "nesterov"
        case SGD(momentum=float(momentum)) if momentum > 0:
            return "momentum"
    tag = getattr(piece, "name", None) or getattr(piece, "family", None)
    return str(tag or type(piece).__name__.lower())


def names(axis: Vary) -> list[Any]:
    """What each value of an axis is called: a piece by its name, all else as it is.

    Pieces of one name are told apart by the fields in which they differ: ``"sgd(lr=0.1)"``.
    """
    bare = [called(value) if isinstance(value, Frozen) else value for value in axis.values]
    return [
        _with_differences(name, value, [other for other, same in zip(axis.values, bare, strict=True) if same == name])
        if isinstance(value, Frozen) and bare.count(name) > 1
        else name
        for value, name in zip(axis.values, bare, strict=True)
    ]


def _with_differences(name: str, piece: Frozen, namesakes: list[Any]) -> str:
    differing = [
        f"{field}={say(value)}"
        for field, value in piece._fields().items()
        if any(other._fields().get(field) != value for other in namesakes)
    ]
    return f"{name}({', '.join(differing)})" if differing else name


def short(path: str) -> str:
    """What a setting is called: ``"optimizer"``, ``"lr"``."""
    return path.removesuffix(".name").rpartition(".")[2]


def say(value: Any) -> str:
    """A value as a reader would write it: ``0.001``, ``256x256``, ``none``, ``adamw``."""
    match value:
        case Frozen():
            return called(value)
        case Vary(values=values):
            return ",".join(map(say, values))
        case None | bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case tuple() | list():
            return "x".join(map(say, value))
    return str(value)
