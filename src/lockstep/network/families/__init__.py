"""Bodies: the network proper, one file per family. What each one takes, and the one dispatch to them."""

from torch import nn

from lockstep.network.families.mlp import mlp
from lockstep.network.shapes import Flat, Shape, Wants
from lockstep.spec.data import Kind
from lockstep.spec.network import Mlp, Model


def wants(model: Model, kind: Kind) -> Wants:  # noqa: ARG001  (of several families)
    """The form in which ``model`` takes data of this kind. Raises ``SpecError`` where it cannot take it."""
    return Flat


def make_body(model: Model, shape: Shape) -> tuple[nn.Module, int]:
    """The body for data of ``shape``, and the number of features ``[B, H]`` that come out of it.

    A body for a ``Sequence`` is called with ``(x, mask)``, any other with ``x``.
    """
    match model, shape:
        case Mlp(), Flat(width=width):
            return mlp(model, width)
    raise AssertionError(f"no body for {model!r} on {shape!r}")
