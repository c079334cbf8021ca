"""Optimisers as data. Names, fields, defaults and meaning are ``torch.optim``'s; a list is an axis of candidates.

``decay_vectors=False`` leaves biases and the gains of norms (every parameter of at most one dimension) out of the
weight decay, as a second parameter group with ``weight_decay=0`` does in torch.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lockstep.spec.base import Frozen, Number, in_range, rule

Rate = Annotated[Number, in_range(above=0)]
Decay = Annotated[Number, in_range(least=0)]
Beta = Annotated[Number, in_range(least=0, below=1)]


class SGD(Frozen):
    """Stochastic gradient descent, with momentum (``v ← μv + g``, ``θ ← θ − ηv``; the rate is outside the velocity)."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 1e-2
    momentum: Beta = 0.0
    dampening: Decay = 0.0
    weight_decay: Decay = 0.0
    decay_vectors: bool = True
    nesterov: bool = False

    @rule
    def _nesterov_needs_momentum(self) -> None:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening 0, however: "
                f"momentum={self.momentum}, dampening={self.dampening}. Set optimizer.momentum."
            )


class RMSprop(Frozen):
    """The gradient over the root of its running square (Hinton 2012): ``v ← αv + (1−α)g²``, ``θ ← θ − ηg/(√v + ε)``.

    ``centered`` takes the running mean out of ``v``; ``momentum`` works on the scaled gradient.
    """

    name: Literal["rmsprop"] = "rmsprop"
    lr: Rate = 1e-2
    alpha: Beta = 0.99
    eps: Rate = 1e-8
    weight_decay: Decay = 0.0
    decay_vectors: bool = True
    momentum: Beta = 0.0
    centered: bool = False


class Adam(Frozen):
    """Adam (Kingma and Ba 2015); weight decay, if any, is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Rate = 1e-8
    weight_decay: Decay = 0.0
    decay_vectors: bool = True

    @model_validator(mode="before")
    @classmethod
    def _split_betas(cls, fields: Any) -> Any:
        return _split_betas(fields)


class AdamW(Frozen):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): ``θ ← θ − ηλθ`` beside the Adam step."""

    name: Literal["adamw"] = "adamw"
    lr: Rate = 1e-3
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Rate = 1e-8
    weight_decay: Decay = 1e-2
    decay_vectors: bool = True

    @model_validator(mode="before")
    @classmethod
    def _split_betas(cls, fields: Any) -> Any:
        return _split_betas(fields)


def _split_betas(fields: Any) -> Any:
    """torch's pair ``betas=(0.9, 0.999)`` becomes ``beta1`` and ``beta2``, each of which can be an axis of its own."""
    if isinstance(fields, dict) and "betas" in fields:
        fields = dict(fields)
        betas = fields.pop("betas")
        if not isinstance(betas, list | tuple) or len(betas) != 2:
            raise ValueError(f"betas must be a pair of numbers, however: {betas!r}. Set beta1 and beta2.")
        fields["beta1"], fields["beta2"] = betas
    return fields


Optimizer = Annotated[SGD | RMSprop | Adam | AdamW, Field(discriminator="name")]
