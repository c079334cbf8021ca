"""How a population is trained, as data: loss, optimiser, schedule, length, stopping, and who its members are."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from lockstep.spec.base import Frozen, Number, Vary, in_range
from lockstep.spec.names import names
from lockstep.spec.optimizers import AdamW, Optimizer
from lockstep.spec.schedules import CosineAnnealingLR, OneCycleLR, Schedule

S = TypeVar("S", bound=Frozen)
LossName = Literal["auto", "cross_entropy", "binary_cross_entropy", "mse", "mae", "huber", "quantile"]


def integers(value: Any) -> Any:
    """One integer, a list or ``"3,7"``: a tuple of integers."""
    match value:
        case bool() | None:
            return value
        case int():
            return (value,)
        case str():
            parts = [part.strip() for part in value.split(",") if part.strip()]
            if not all(part.removeprefix("-").isdecimal() for part in parts):
                raise ValueError(f"must be whole numbers, however: {value!r}")
            return tuple(map(int, parts))
        case list():
            return tuple(value)
    return value


Integers = Annotated[tuple[int, ...], BeforeValidator(integers)]


def class_weights(value: Any) -> Any:
    """``balanced``, or one positive number per class."""
    match value:
        case None | "balanced":
            return value
        case tuple() | list() if value and all(map(_positive, value)):
            return tuple(map(float, value))
    raise ValueError(f"must be 'balanced' or one number > 0 per class, however: {value!r}")


def _positive(weight: Any) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < float("inf")


ClassWeights = Annotated[Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(class_weights)]


class Loss(Frozen):
    """What is minimised. ``auto`` follows the task; losses work on logits.

    ``class_weights`` is ``"balanced"`` (inverse frequency, mean 1 over rows) or one weight per class in the order of
    the classes. ``label_smoothing`` is torch's: the target is ``(1 − ε)·onehot + ε/C``. ``delta`` is where ``huber``
    turns from squared to absolute error (in ``fit``, in units of the target's spread); ``quantile`` is the level that
    the ``quantile`` loss makes the network predict.
    """

    fixed: ClassVar[Mapping[str, str]] = {"quantile": "each level is another question, and no score ranks the answers"}

    name: LossName = "auto"
    label_smoothing: Annotated[Number, in_range(least=0, below=1)] = 0.0
    class_weights: ClassWeights = None
    delta: Annotated[Number, in_range(above=0)] = 1.0
    quantile: Annotated[Number, in_range(above=0, below=1)] = 0.5


class Training(Frozen):
    """The length of the run and what ends it.

    ``patience`` epochs without a better ``monitor`` retire the member; its best weights are kept in any case. What is
    monitored is the loss or the metric on the member's own validation rows, or the loss it trains on. ``clip_norm``
    bounds the norm of each member's whole gradient (None: no bound).
    ``ema`` is the decay of an exponential moving average of the weights, by step: ``a ← ema · a + (1 − ema) · θ``, from
    the weights after the first step on (torch's ``AveragedModel`` with ``get_ema_multi_avg_fn``). The averaged weights
    are then what is validated, kept and taken out; buffers are those of the network itself.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=1)
    clip_norm: Annotated[Number, in_range(above=0)] | None = 1.0
    ema: Annotated[Number, in_range(least=0, below=1)] | None = None
    patience: int | None = Field(default=None, ge=1)
    monitor: Literal["valid_loss", "valid_metric", "train_loss"] = "valid_loss"


class Population(Frozen):
    """Members are candidates × folds × seeds, candidates outermost.

    ``folds=1`` is one holdout of ``valid_size``. Seeds are ``seed``, ``seed + 1``, …. ``members`` trains just those of
    the population, each as it would be trained among all. ``bagging`` gives each fold and seed a bootstrap sample of
    the fold's training rows, as many drawn with replacement (Breiman 1996).
    With ``halve`` η the best 1/η of the C candidates go on after each of E/η^s, …, E/η of the E epochs, s = ⌊log_η C⌋
    (successive halving, Jamieson and Talwalkar 2016): by the mean over folds and seeds of what is monitored, at each
    member's best so far; without validation rows, of the loss that it trains on. Chosen ``members`` train to the end.
    """

    fixed: ClassVar[Mapping[str, str]] = {"*": "they are compared on the same folds and seeds"}

    folds: int = Field(default=5, ge=1)
    seeds: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    valid_size: float = Field(default=0.2, gt=0, lt=1)
    members: Integers | None = None
    halve: int | None = Field(default=None, ge=2)
    bagging: bool = False


class TrainSpec(Frozen):
    """Everything about training that does not depend on the kind of data or network."""

    fixed: ClassVar[Mapping[str, str]] = {"population": "they are compared on the same folds and seeds"}

    loss: Loss = Loss()
    optimizer: Optimizer = AdamW()
    schedule: Schedule = CosineAnnealingLR()
    training: Training = Training()
    population: Population = Population()

    @model_validator(mode="after")
    def _an_axis_matters(self) -> Self:
        """What a one-cycle schedule sets is not the optimiser's to vary: the candidates would all be the same."""
        if not isinstance(self.schedule, OneCycleLR):
            return self
        cycled = dict.fromkeys(("momentum", "beta1"), "Set schedule.cycle_momentum=false")
        remedies = cycled if self.schedule.cycle_momentum else {}
        if self.schedule.max_lr is not None:
            remedies |= {"lr": "Leave schedule.max_lr out"}
        for name, remedy in remedies.items():
            if isinstance(axis := getattr(self.optimizer, name, None), Vary):
                raise ValueError(
                    f"optimizer.{name} must be one value where a one-cycle schedule sets it, however: {axis}. {remedy}."
                )
        return self


def candidates(spec: S) -> list[tuple[dict[str, Any], S]]:
    """Each combination of the axes in ``spec``: (what was chosen, by dotted path; the spec with nothing left to vary).

    The first axis varies slowest. A piece is chosen by its name, ``"adamw"``; all else is the value itself. A spec
    without axes is its own single candidate, with no choices.
    """
    axes = list(spec.axes())
    if not axes:
        return [({}, spec)]
    (path, axis), *_ = axes
    return [
        ({path: chosen} | choices, concrete)
        for value, chosen in zip(axis.values, names(axis), strict=True)
        for choices, concrete in candidates(spec.replace(path, value))
    ]


__all__ = ["Integers", "Loss", "LossName", "Population", "TrainSpec", "Training", "Vary", "candidates", "integers"]
