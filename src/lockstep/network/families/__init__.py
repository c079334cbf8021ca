"""Bodies: the network proper, one file per family. What each one takes, and the one dispatch to them."""

from dataclasses import replace

from torch import nn

from lockstep.errors import SpecError
from lockstep.network.families.beside import Beside
from lockstep.network.families.cnn import image_cnn, sequence_cnn
from lockstep.network.families.mlp import mlp
from lockstep.network.families.perceptron import perceptron
from lockstep.network.families.rnn import rnn
from lockstep.network.families.transformer import transformer
from lockstep.network.shapes import Flat, Grid, Sequence, Shape, Wants
from lockstep.spec.data import Kind
from lockstep.spec.network import Cnn, Mlp, Model, Perceptron, Rnn, Transformer


def wants(model: Model, kind: Kind) -> Wants:
    """The form in which ``model`` takes data of this kind. Raises ``SpecError`` where it cannot take it."""
    match model, kind:
        case Cnn(), "table":
            raise SpecError(
                "A cnn looks for patterns among neighbours, and the columns of a table have none, "
                "however: model.family=cnn on a table. Use --recipe mlp or transformer."
            )
        case Rnn(), "table":
            raise SpecError(
                "An rnn goes from step to step, and the columns of a table have no order, "
                "however: model.family=rnn on a table. Use --recipe mlp or transformer."
            )
        case ((Rnn() | Transformer()), "images"):
            raise SpecError(
                "An rnn and a transformer go along one axis of time, and images have two of space, "
                f"however: model.family={model.family} on images. Use --recipe cnn or mlp."
            )
        case Cnn(), "images":
            return Grid
        case ((Cnn() | Rnn() | Transformer()), _):
            return Sequence
    return Flat


def make_body(model: Model, shape: Shape) -> tuple[nn.Module, int]:
    """The body for data of ``shape``, and the number of features ``[B, H]`` that come out of it.

    A body for a ``Sequence`` is called with ``(x, mask)``, or ``(x, mask, row)`` if something stands beside it; any
    other with ``x``.
    """
    match model, shape:
        case _, Sequence(beside=beside) if beside:
            body, features = make_body(model, replace(shape, beside=0))
            return Beside(body), features + beside
        case Perceptron(), Flat(width=width):
            return perceptron(width)
        case Mlp(), Flat(width=width):
            return mlp(model, width)
        case Cnn(), Grid():
            return image_cnn(model, shape)
        case Cnn(), Sequence():
            return sequence_cnn(model, shape)
        case Rnn(), Sequence():
            return rnn(model, shape)
        case Transformer(), Sequence():
            return transformer(model, shape)
    raise AssertionError(f"no body for {model!r} on {shape!r}")
