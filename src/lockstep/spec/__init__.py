"""What to train, as data: frozen, typed, hashable, comparable, storable. Knows nothing of torch."""

from lockstep.spec.base import Frozen, Vary
from lockstep.spec.data import DataSpec, Kind, Task
from lockstep.spec.fit import FitSpec, parse_assignments, read_settings
from lockstep.spec.network import Mlp, Perceptron, Preprocess
from lockstep.spec.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from lockstep.spec.schedules import (
    Constant,
    CosineAnnealingLR,
    CosineWarmup,
    Coslog4,
    ExponentialLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from lockstep.spec.training import Loss, Population, Training, TrainSpec, candidates

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "CosineAnnealingLR",
    "CosineWarmup",
    "Coslog4",
    "DataSpec",
    "ExponentialLR",
    "FitSpec",
    "Frozen",
    "Kind",
    "Loss",
    "Mlp",
    "OneCycleLR",
    "Optimizer",
    "Perceptron",
    "Population",
    "Preprocess",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "Task",
    "TrainSpec",
    "Training",
    "Vary",
    "candidates",
    "parse_assignments",
    "read_settings",
]
