"""Recurrent network: states along the steps of a sequence, a pooled row."""

from torch import Tensor, nn

from lockstep.network.layers.dropout import dropout_layer
from lockstep.network.layers.pooling import masked_max, masked_mean
from lockstep.network.layers.recurrent import Recurrent
from lockstep.network.shapes import Sequence
from lockstep.spec.network import Rnn


def rnn(spec: Rnn, shape: Sequence) -> tuple[nn.Module, int]:
    """The body ``([B, T, E], mask [B, T]) → [B, H]`` and its width ``H``."""
    return Reader(spec, shape.width), spec.hidden * (2 if spec.bidirectional else 1)


class Reader(nn.Module):
    """Recurrent layers, pooling, dropout."""

    def __init__(self, spec: Rnn, features: int) -> None:
        super().__init__()
        rate = spec.dropout
        self.recurrent = Recurrent(
            spec.cell, features, spec.hidden, layers=spec.layers, bidirectional=spec.bidirectional,
            nonlinearity=spec.nonlinearity, dropout=rate,
        )  # fmt: skip
        if spec.cell == "lstm":
            self.recurrent.forget_bias(spec.forget_bias)
        self.pooling = spec.pooling
        self.dropout = dropout_layer(rate)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states, last = self.recurrent(x, mask)
        match self.pooling:
            case "mean":
                last = masked_mean(states, mask)
            case "max":
                last = masked_max(states, mask)
        return self.dropout(last)  # type: ignore[no-any-return]
