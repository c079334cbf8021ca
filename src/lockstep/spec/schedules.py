"""Learning-rate schedules as data. Names and meaning are ``torch.optim.lr_scheduler``'s."""

from typing import Annotated, Literal

from pydantic import Field

from lockstep.spec.base import Frozen, Number, in_range


class Constant(Frozen):
    """The same rate throughout. (torch's ``ConstantLR`` is another thing: a lower rate for the first few epochs.)"""

    name: Literal["constant"] = "constant"


class CosineAnnealingLR(Frozen):
    """Half a cosine from ``lr`` to ``eta_min`` over ``T_max`` epochs, by epoch (Loshchilov and Hutter 2017).

    ``T_max=None`` is the length of the run.
    """

    name: Literal["cosine"] = "cosine"
    T_max: int | None = Field(default=None, gt=0)
    eta_min: Annotated[Number, in_range(least=0)] = 0.0


class StepLR(Frozen):
    """The rate times ``gamma`` after every ``step_size`` epochs."""

    name: Literal["step"] = "step"
    step_size: int = Field(gt=0)
    gamma: Annotated[Number, in_range(above=0)] = 0.1


class ExponentialLR(Frozen):
    """The rate times ``gamma`` after every epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: Annotated[Number, in_range(above=0)]


Schedule = Annotated[Constant | StepLR | ExponentialLR | CosineAnnealingLR, Field(discriminator="name")]
