"""One network as data: preprocessing and body. The head follows from the task."""

from lockstep.spec.network.mlp import Mlp
from lockstep.spec.network.preprocess import Preprocess

Model = Mlp  # of several families: a union told apart by ``family``

__all__ = ["Mlp", "Model", "Preprocess"]
