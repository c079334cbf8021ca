"""The algorithm: forward through the layers with a cache, then δ down through them, each leaving its gradients."""

from functools import lru_cache

import torch
from torch import Tensor

from lockstep.engine.backprop.dropout import idle
from lockstep.engine.backprop.layer import Pass, Tensors, parameters_of
from lockstep.engine.backprop.losses import LOSSES_AND_DELTAS
from lockstep.engine.backprop.network import Written
from lockstep.engine.backprop.norms import together
from lockstep.engine.stack import Stack
from lockstep.engine.step import Gradients


def written_gradients(stack: Stack, network: Written, loss: str) -> Gradients:
    """The gradients of a stack by the chain rule, for a loss of ``LOSSES_AND_DELTAS``. They lie in one tensor, which
    the next call writes anew."""
    loss_and_delta = LOSSES_AND_DELTAS[loss]
    front = network.preprocessing
    features = front.forward(stack.train_form.get_submodule(front.name)) if front else None

    layers = together([layer for layer in network.layers if not idle(layer, stack.buffers)])
    learning = [depth for depth, layer in enumerate(layers) if parameters_of(layer)]
    lowest = 0 if front and front.embeddings else learning[0]  # below it, nothing asks for δ
    set_by = {name for layer in layers for name in parameters_of(layer)}
    added_to = [name for name in stack.layout.names if name not in set_by]  # embeddings, and what is never called

    weights_of = lru_cache(maxsize=1)(stack.layout.views)  # the parameters are one tensor, step after step

    @lru_cache(maxsize=1)
    def gradients_for(members: int) -> tuple[Tensor, Tensors]:
        flat = stack.params.new_empty(members, stack.layout.total)
        return flat, stack.layout.views(flat)

    @torch.no_grad()
    def gradients(
        params: Tensor, buffers: Tensors, keys: Tensor, inputs: tuple[Tensor, ...], target: Tensor, numbers: Tensors
    ) -> tuple[Tensor, Tensor, Tensors]:
        flat, grads = gradients_for(len(params))
        for name in added_to:
            grads[name].zero_()
        now = Pass(
            weights=weights_of(params) | buffers,
            became=dict(buffers),
            grads=grads,
            keys=dict(zip(stack.dropouts, keys.unbind(1), strict=True)),
        )
        h = features(now, inputs) if features else inputs[0]
        caches = []
        for layer in layers:
            h, cache = layer.forward(h, now)
            caches.append(cache)
        losses, delta = loss_and_delta(h, target, numbers)
        for layer, cache in reversed(list(zip(layers, caches, strict=True))[lowest:]):
            delta = layer.backward(delta, cache, now)
        if front:
            front.backward(delta, inputs, now)
        return flat, losses, now.became

    return gradients
