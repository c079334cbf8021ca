"""Lockstep trains many neural networks as one.

The public names load what they need when they are first used, so that ``import lockstep`` costs next to nothing.
``lockstep.runs`` and ``lockstep.report`` are packages, so what the command line calls ``runs`` and ``report`` is
``list_runs`` and ``write_report`` here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lockstep.errors import DataError, LockstepError, RunError, SpecError, TrainingError

if TYPE_CHECKING:
    from lockstep.jobs.compare import compare
    from lockstep.jobs.evaluate import evaluate
    from lockstep.jobs.fit import fit
    from lockstep.jobs.plan import plan
    from lockstep.jobs.predict import predict
    from lockstep.jobs.report import report as write_report
    from lockstep.jobs.result import Result
    from lockstep.jobs.run import Run, load
    from lockstep.jobs.train import train
    from lockstep.runs import list_runs
    from lockstep.spec import (
        SGD,
        Adam,
        AdamW,
        Constant,
        CosineAnnealingLR,
        CosineWarmup,
        Coslog4,
        ExponentialLR,
        Loss,
        OneCycleLR,
        ReduceLROnPlateau,
        RMSprop,
        StepLR,
        Vary,
    )
    from lockstep.spec.recipes import Recipe

    __version__: str

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "CosineAnnealingLR",
    "CosineWarmup",
    "Coslog4",
    "DataError",
    "ExponentialLR",
    "LockstepError",
    "Loss",
    "OneCycleLR",
    "RMSprop",
    "ReduceLROnPlateau",
    "Result",
    "Run",
    "RunError",
    "SpecError",
    "StepLR",
    "TrainingError",
    "Vary",
    "__version__",
    "compare",
    "evaluate",
    "fit",
    "list_runs",
    "load",
    "plan",
    "predict",
    "recipes",
    "train",
    "write_report",
]

_HOME = {
    "compare": "lockstep.jobs.compare:compare",
    "evaluate": "lockstep.jobs.evaluate:evaluate",
    "fit": "lockstep.jobs.fit:fit",
    "plan": "lockstep.jobs.plan:plan",
    "predict": "lockstep.jobs.predict:predict",
    "write_report": "lockstep.jobs.report:report",
    "Run": "lockstep.jobs.run:Run",
    "load": "lockstep.jobs.run:load",
    "Result": "lockstep.jobs.result:Result",
    "train": "lockstep.jobs.train:train",
    "list_runs": "lockstep.runs:list_runs",
    **{
        name: f"lockstep.spec:{name}"
        for name in (
            "SGD",
            "Adam",
            "AdamW",
            "Constant",
            "CosineAnnealingLR",
            "CosineWarmup",
            "Coslog4",
            "ExponentialLR",
            "Loss",
            "OneCycleLR",
            "RMSprop",
            "ReduceLROnPlateau",
            "StepLR",
            "Vary",
        )
    },
}


def recipes() -> "list[Recipe]":
    """The recipes that ``fit(recipe=…)`` knows, each with its name and a line about it."""
    from lockstep.spec.recipes import RECIPES

    return list(RECIPES.values())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lockstep-nn")
    if name not in _HOME:
        raise AttributeError(f"module 'lockstep' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
