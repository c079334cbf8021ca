"""Perceptron: ``y = f(wᵀx + b)`` (Rosenblatt 1958). The head is the neuron, and the body hands the inputs on."""

from torch import nn


def perceptron(features: int) -> tuple[nn.Identity, int]:
    """The body ``[B, D] → [B, D]`` and its width.

    The coefficients, per standardised input, are the head's: ``network.head.weight`` ``[1, D]`` (logistic) or
    ``[C, D]`` (softmax, where only differences between classes say anything), and for a number
    ``network.head.output.weight`` ``[1, D]`` times ``network.head.spread``; ``bias`` likewise.
    """
    return nn.Identity(), features
