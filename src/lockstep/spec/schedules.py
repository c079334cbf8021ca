"""Learning-rate schedules as data. Names and meaning are ``torch.optim.lr_scheduler``'s."""

from typing import Annotated, Literal

from pydantic import Field

from lockstep.spec.base import Frozen, Number, in_range

Positive = Annotated[Number, in_range(above=0)]
NotNegative = Annotated[Number, in_range(least=0)]


class Constant(Frozen):
    """The same rate throughout. (torch's ``ConstantLR`` is another thing: a lower rate for the first few epochs.)"""

    name: Literal["constant"] = "constant"


class CosineAnnealingLR(Frozen):
    """Half a cosine from ``lr`` to ``eta_min`` over ``T_max`` epochs, by epoch (Loshchilov and Hutter 2017).

    ``T_max=None`` is the length of the run.
    """

    name: Literal["cosine"] = "cosine"
    T_max: int | None = Field(default=None, gt=0)
    eta_min: NotNegative = 0.0


class StepLR(Frozen):
    """The rate times ``gamma`` after every ``step_size`` epochs."""

    name: Literal["step"] = "step"
    step_size: int = Field(gt=0)
    gamma: Positive = 0.1


class ExponentialLR(Frozen):
    """The rate times ``gamma`` after every epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: Positive


class CosineWarmup(Frozen):
    """Up to ``lr`` on a line over the first ``warmup`` of the run, then half a cosine to ``eta_min``, by step.

    The usual schedule of Transformers: of ``N`` steps the first ``W = round(warmup · N)`` have the rates
    ``lr · (t + 1)/(W + 1)``. It is torch's ``SequentialLR`` of ``LinearLR(1/(W + 1), total_iters=W)`` and
    ``CosineAnnealingLR(N − W, eta_min)``.
    """

    name: Literal["cosine_warmup"] = "cosine_warmup"
    warmup: Annotated[Number, in_range(least=0, below=1)] = 0.1
    eta_min: NotNegative = 0.0


class OneCycleLR(Frozen):
    """Up to ``max_lr`` over the first ``pct_start`` of the steps and down to next to nothing, by step (Smith 2018).

    It starts at ``max_lr/div_factor`` and ends at ``1/final_div_factor`` of that; ``three_phase`` comes down to the
    start first, in as many steps as it went up. Momentum (SGD, RMSprop) or beta1 (Adam, AdamW) goes the other way,
    from ``max_momentum`` to ``base_momentum`` and back, in place of the optimiser's own, unless
    ``cycle_momentum=False``. ``max_lr=None`` is the optimiser's ``lr``, ``total_steps=None`` the length of the run; a
    run that is longer stays at the last rate (torch raises an error there).
    """

    name: Literal["one_cycle"] = "one_cycle"
    max_lr: Positive | None = None
    total_steps: int | None = Field(default=None, gt=0)
    pct_start: Annotated[Number, in_range(least=0, most=1)] = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: Annotated[Number, in_range(least=0, below=1)] = 0.85
    max_momentum: Annotated[Number, in_range(least=0, below=1)] = 0.95
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    three_phase: bool = False


class Coslog4(Frozen):
    """Four humps, each twice as long as the one before, by step: ``lr · (1 − cos(2π log₂(1 + 15t)))/2``.

    ``t`` is the share of the run; the rate is 0 at its start, between humps and at its end (RealMLP, Holzmüller et al.
    2024).
    """

    name: Literal["coslog4"] = "coslog4"


class ReduceLROnPlateau(Frozen):
    """The rate times ``factor`` after more than ``patience`` epochs without a better value, for each member by itself.

    The value is what ``training.monitor`` names, on the member's own validation rows; the training loss where there are
    none. Better is by more than ``threshold``, a share of the best value (``rel``) or as it stands (``abs``); torch's
    ``mode`` is ``max`` for accuracy and else ``min``. For ``cooldown`` epochs after a cut none counts as without a
    better value. The rate never falls below ``min_lr`` nor by ``eps`` or less.
    """

    name: Literal["plateau"] = "plateau"
    factor: Annotated[Number, in_range(above=0, below=1)] = 0.1
    patience: int = Field(default=10, ge=0)
    threshold: NotNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = Field(default=0, ge=0)
    min_lr: NotNegative = 0.0
    eps: NotNegative = 1e-8


Schedule = Annotated[
    Constant | StepLR | ExponentialLR | CosineAnnealingLR | CosineWarmup | OneCycleLR | Coslog4 | ReduceLROnPlateau,
    Field(discriminator="name"),
]
