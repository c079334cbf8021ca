"""From a spec and the training rows to a network: the one place where names become modules."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.families.mlp import mlp
from lockstep.network.heads import fit_head
from lockstep.network.preprocess import TableShape, fit_pixels, fit_table
from lockstep.spec import FitSpec, Mlp


class Network(nn.Module):
    """preprocess → body → head. Inputs are raw: a table's numbers and categories, or images."""

    def __init__(self, preprocess: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.body = body
        self.head = head

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.head(self.body(self.preprocess(*inputs)))  # type: ignore[no-any-return]


def build(
    spec: FitSpec, loss: str, classes: int, table: TableShape, inputs: Sequence[NDArray[Any]], target: NDArray[Any]
) -> Network:
    """A fresh network whose preprocessing and units are fitted on the given (training) rows.

    Everything that depends on these rows is a buffer; the structure depends on ``spec``, ``classes`` and ``table``
    alone. Weights are drawn from torch's global stream.
    """
    match inputs:
        case (numbers, codes):
            preprocess = fit_table(spec.preprocess, table, numbers, codes)
        case (pixels,):
            preprocess = fit_pixels(pixels)  # type: ignore[assignment]
        case _:
            raise AssertionError(f"{len(inputs)} inputs")
    match spec.model:
        case Mlp():
            body, features = mlp(spec.model, preprocess.width)
    return Network(preprocess, body, fit_head(loss, features, classes, target))
