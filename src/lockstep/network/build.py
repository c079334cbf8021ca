"""From a spec and the training rows to a network."""

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.network.checks import check_pair
from lockstep.network.families import make_body, wants
from lockstep.network.heads import fit_head
from lockstep.network.preprocess import DataShape, WindowShape, fit_preprocess, kind_of
from lockstep.network.preprocess.windows import Horizon, PerChannel
from lockstep.spec import FitSpec


class Network(nn.Module):
    """preprocess → body → head. Inputs are raw: a table's numbers and categories, images, series or tokens."""

    def __init__(self, preprocess: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.body = body
        self.head = head

    def forward(self, *inputs: Tensor) -> Tensor:
        x = self.preprocess(*inputs)
        h = self.body(*x) if isinstance(x, tuple) else self.body(x)
        return self.head(*h) if isinstance(h, tuple) else self.head(h)  # type: ignore[no-any-return]


def build(
    spec: FitSpec, loss: str, classes: int, data: DataShape, inputs: Sequence[NDArray[Any]], target: NDArray[Any]
) -> Network:
    """A fresh network whose preprocessing and units are fitted on the given (training) rows.

    Everything that depends on these rows is a buffer; the structure depends on ``spec``, ``classes`` and ``data``
    alone. Weights are drawn from torch's global stream. Raises ``SpecError`` where body and head do not go together.
    """
    check_pair(spec.model, loss)
    preprocess = fit_preprocess(spec.preprocess, data, wants(spec.model, kind_of(data)), inputs)
    body, features = make_body(spec.model, preprocess.shape)
    if isinstance(data, WindowShape):
        return Network(preprocess, PerChannel(body, preprocess.shape), Horizon(features, data.horizon))  # type: ignore[arg-type]
    return Network(preprocess, body, fit_head(loss, features, classes, target))


@torch.no_grad()
def refit(network: Network, like: Network) -> Network:
    """``network`` with what the training rows settled in another of the same spec: the buffers of preprocessing and
    head."""
    for part, other in ((network.preprocess, like.preprocess), (network.head, like.head)):
        for buffer, fitted in zip(part.buffers(), other.buffers(), strict=True):
            buffer.copy_(fitted)
    return network
