"""Recurrent layers in a form that stacks: torch's formulas and names, masked, one product for all steps' inputs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lockstep.network.layers.dropout import dropout_layer
from lockstep.network.layers.pooling import masked

States = tuple[Tensor, ...]
Cell = Callable[[Tensor, States, Tensor, Tensor], States]

GATES = {"elman": 1, "lstm": 4, "gru": 3}

# A cell: (x, states, U, b) → states. ``x`` ``[D, B, G]`` is the input's part of the gates, and holds every bias but the
# one, ``b`` ``[D, 1, G]``, that GRU's reset gate must reach; ``U`` is ``[D, H, G]``, a state ``[D, B, H]``.


def elman_tanh(x: Tensor, states: States, weight: Tensor, _bias: Tensor) -> States:
    """``h′ = tanh(x + U h)`` (Elman 1990)."""
    return (torch.tanh(torch.baddbmm(x, states[0], weight)),)


def elman_relu(x: Tensor, states: States, weight: Tensor, _bias: Tensor) -> States:
    """``h′ = relu(x + U h)``."""
    return (torch.relu(torch.baddbmm(x, states[0], weight)),)


def lstm(x: Tensor, states: States, weight: Tensor, _bias: Tensor) -> States:
    """``c′ = σ(f) c + σ(i) tanh(g)``, ``h′ = σ(o) tanh(c′)`` (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""
    h, c = states
    i, f, g, o = torch.baddbmm(x, h, weight).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru(x: Tensor, states: States, weight: Tensor, bias: Tensor) -> States:
    """``h′ = (1 − z) n + z h`` with ``n = tanh(x + r (U h + b))`` (Cho et al. 2014, with torch's place for ``r``)."""
    (h,) = states
    sizes = [2 * h.shape[-1], h.shape[-1]]
    of_gates, of_n = torch.baddbmm(bias, h, weight).split(sizes, dim=-1)
    to_gates, to_n = x.split(sizes, dim=-1)
    r, z = torch.sigmoid(to_gates + of_gates).chunk(2, dim=-1)
    return (torch.lerp(torch.tanh(to_n + r * of_n), h, z),)


CELLS: dict[str, Cell] = {"elman tanh": elman_tanh, "elman relu": elman_relu, "lstm": lstm, "gru": gru}


class Recurrent(nn.Module):
    """Layers of recurrence over ``x`` ``[B, T, E]`` with ``mask`` ``[B, T]``: (states ``[B, T, R]`` of the last layer,
    its final state ``[B, R]``), ``R = hidden × directions``.

    A step that is not there leaves the state as it is, so with padding behind the steps the final state is that of the
    last step, and the backward direction starts there; the states at such steps are 0. That is torch's layer on a
    packed sequence, and parameters have torch's names and shapes: their state dicts can be exchanged.
    """

    def __init__(
        self,
        cell: str,
        features: int,
        hidden: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        nonlinearity: str = "tanh",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell, self.nonlinearity = cell, nonlinearity
        self.hidden, self.layers = hidden, layers
        self.directions = ("", "_reverse") if bidirectional else ("",)
        gates = GATES[cell] * hidden
        for layer in range(layers):
            width = features if layer == 0 else hidden * len(self.directions)
            for direction in self.directions:
                end = f"l{layer}{direction}"
                self.register_parameter(f"weight_ih_{end}", nn.Parameter(torch.empty(gates, width)))
                self.register_parameter(f"weight_hh_{end}", nn.Parameter(torch.empty(gates, hidden)))
                self.register_parameter(f"bias_ih_{end}", nn.Parameter(torch.empty(gates)))
                self.register_parameter(f"bias_hh_{end}", nn.Parameter(torch.empty(gates)))
        self.dropout = dropout_layer(dropout if layers > 1 else 0.0)
        for weight in self.parameters():  # as torch's own layers start
            nn.init.uniform_(weight, -(hidden**-0.5), hidden**-0.5)

    def forget_bias(self, value: float) -> None:
        """Set the bias of the LSTM's forget gates: ``value`` on one of torch's two biases, 0 on the other."""
        assert self.cell == "lstm"
        with torch.no_grad():
            for name, bias in self.named_parameters():
                if name.startswith("bias"):
                    bias[self.hidden : 2 * self.hidden].fill_(value if "_ih_" in name else 0.0)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        final = x
        for layer in range(self.layers):
            x, final = self._layer(masked(x, mask) if layer == 0 else self.dropout(x), mask, layer)
        return x, final

    def _layer(self, x: Tensor, mask: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        ends = [f"l{layer}{direction}" for direction in self.directions]
        own = {kind: [getattr(self, f"{kind}_{end}") for end in ends] for kind in
               ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
        steps = x.transpose(0, 1)  # [T, B, E]
        present = mask.t().unsqueeze(1).expand(-1, len(ends), -1)  # [T, directions, B]
        inputs = torch.stack([project(steps, w, b) for w, b in zip(own["weight_ih"], own["bias_ih"], strict=True)], 1)
        states = recur(
            f"elman {self.nonlinearity}" if self.cell == "elman" else self.cell,
            both_ways(inputs),
            both_ways(present).unsqueeze(-1),
            torch.stack(own["weight_hh"]).transpose(1, 2),
            torch.stack(own["bias_hh"]).unsqueeze(1),
        )
        last = states[-1].transpose(0, 1).flatten(1)
        return masked(both_ways(states).permute(2, 0, 1, 3).flatten(2), mask), last


def project(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x + b`` of every step at once; ``[T, B, E] → [T, B, G]``."""
    return F.linear(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


def both_ways(x: Tensor) -> Tensor:
    """``[T, directions, …]`` with the second direction's time turned round; its own inverse."""
    if x.shape[1] == 1:
        return x
    return torch.stack([x[:, 0], x[:, 1].flip(0)], dim=1)


def recur(cell: str, inputs: Tensor, present: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Step through ``inputs`` ``[T, D, B, G]``, all directions ``D`` at once: the state after each step
    ``[T, D, B, H]``.

    ``present`` ``[T, D, B, 1]`` is false where a step leaves the states as they are; ``weight`` ``[D, H, G]`` and
    ``bias`` ``[D, 1, G]`` are those of the recurrent product.
    """
    if cell != "gru":
        inputs = inputs + bias
    now: States = (inputs.new_zeros(*inputs.shape[1:3], weight.shape[1]),) * (2 if cell == "lstm" else 1)
    outputs = []
    for x, there in zip(inputs.unbind(0), present.unbind(0), strict=True):
        new = CELLS[cell](x, now, weight, bias)
        now = tuple(torch.where(there, after, before) for after, before in zip(new, now, strict=True))
        outputs.append(now[0])
    return torch.stack(outputs)
