"""Gradients by autograd: ``torch.func`` over one network's loss, mapped over the members. Starts at once, runs
everywhere."""

from torch import Tensor

from lockstep.engine.stack import Stack, Tensors
from lockstep.engine.step import Gradients
from lockstep.network.losses import LossFunction


def autograd_gradients(stack: Stack, loss: LossFunction) -> Gradients:
    def member_loss(
        params: Tensors, buffers: Tensors, keys: Tensor, inputs: tuple[Tensor, ...], target: Tensor, numbers: Tensors
    ) -> tuple[Tensor, Tensors]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        keyed = {f"{name}.key": keys[place] for place, name in enumerate(stack.dropouts)}
        now = buffers | keyed
        output = stack.call(params, now, inputs, training=True)
        return loss(output, target, numbers), buffers | {name: now[name] for name in buffers if name not in keyed}

    backward = stack.backward(member_loss)

    def gradients(
        params: Tensor, buffers: Tensors, keys: Tensor, inputs: tuple[Tensor, ...], target: Tensor, numbers: Tensors
    ) -> tuple[Tensor, Tensor, Tensors]:
        with stack.drawing(keys):
            grads, (losses, became) = backward(stack.layout.views(params), buffers, keys, inputs, target, numbers)
        return stack.layout.join(grads), losses, became

    return gradients
