"""The single neuron as data."""

from typing import Literal

from lockstep.spec.base import Frozen


class Perceptron(Frozen):
    """``y = f(wᵀx + b)``: nothing between the inputs and the head, which is the neuron.

    With the head's sigmoid it is logistic regression, with softmax softmax regression, without either linear
    regression.
    """

    family: Literal["perceptron"] = "perceptron"
