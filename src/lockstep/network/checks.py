"""Pairs that train without an error and are wrong all the same, refused with the reason."""

from torch import Tensor

from lockstep.errors import SpecError
from lockstep.network.heads import OF_CLASSES
from lockstep.spec.network import Model

# Operations that leave the numbers as they are, by autograd's names: one that is walked through to what made them.
_VIEWS = (
    "Squeeze", "Unsqueeze", "View", "Reshape", "Select", "Slice", "Transpose", "Permute", "Flatten", "T",
    "ReshapeAlias", "Alias", "Clone", "UnsafeView", "ToCopy",
)  # fmt: skip
_TWICE = {
    ("Softmax", "cross_entropy"): "a softmax of a softmax, which cannot come near 0 or 1",
    ("Sigmoid", "cross_entropy"): "a softmax of sigmoids, which cannot come near 0 or 1",
    ("Softmax", "binary_cross_entropy"): "a sigmoid of a softmax, which is never below one half",
    ("LogSoftmax", "binary_cross_entropy"): "a sigmoid of log-probabilities, which is never above one half",
    ("Sigmoid", "binary_cross_entropy"): "a sigmoid of a sigmoid, which is never below one half",
}


def check_pair(model: Model, loss: str) -> None:
    """Refuse a body that does the head's work. Raises ``SpecError``."""
    named = getattr(model, "activation", ())
    if loss in OF_CLASSES and "softmax" in ((named,) if isinstance(named, str) else named):
        raise SpecError(
            "model.activation must leave softmax to the head, which has the one that turns scores into probabilities, "
            "however: softmax in the body, where it makes a layer's units share a sum of 1 and its gradient vanish. "
            "Take relu, gelu or tanh."
        )


def check_logits(output: Tensor, loss: str) -> None:
    """Refuse probabilities where the loss takes logits. Raises ``SpecError``.

    ``output`` is a network's, made with gradients on: autograd knows which operation it came out of.
    """
    last = last_operation(output)
    if reason := _TWICE.get((last, loss)):
        raise SpecError(
            f"{loss} takes logits and has the {'softmax' if loss == 'cross_entropy' else 'sigmoid'} in it, "
            f"however the network ends in {last}: {reason}. Leave that out of the network."
        )


def last_operation(output: Tensor) -> str:
    """The operation that made the numbers of ``output``, as autograd calls it: ``Softmax``, ``Addmm``, …"""
    node = output.grad_fn
    while node is not None:
        name = node.name().rstrip("0123456789").removesuffix("Backward")
        if name not in _VIEWS or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return ""
