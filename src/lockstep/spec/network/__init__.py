"""One network as data: preprocessing and body. The head follows from the task."""

from typing import Annotated

from pydantic import Field

from lockstep.spec.network.cnn import Augment, Cnn
from lockstep.spec.network.mlp import Mlp
from lockstep.spec.network.perceptron import Perceptron
from lockstep.spec.network.preprocess import Preprocess
from lockstep.spec.network.rnn import Rnn
from lockstep.spec.network.transformer import Transformer

Model = Annotated[Perceptron | Mlp | Cnn | Rnn | Transformer, Field(discriminator="family")]

__all__ = ["Augment", "Cnn", "Mlp", "Model", "Perceptron", "Preprocess", "Rnn", "Transformer"]
