"""How the networks of a run become one model, as data."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from lockstep.spec.base import Frozen

Method = Literal["mean", "weighted", "greedy", "stacked"]


class Ensemble(Frozen):
    """``mean`` averages the networks of the best candidate.

    The others combine every candidate and seed by their out-of-fold predictions: ``weighted`` by the weights of the
    lowest loss, ``greedy`` by selection with replacement (Caruana et al. 2004), ``stacked`` by a linear model on top
    (stacked generalisation, Wolpert 1992).
    """

    fixed: ClassVar[Mapping[str, str]] = {"*": "it is what all of them become together"}

    method: Method = "mean"
