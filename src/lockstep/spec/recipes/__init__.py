"""Recipes: functions from (kind of data, task, rows) to a spec with every number filled in."""

from collections.abc import Callable
from dataclasses import dataclass

from lockstep.errors import SpecError
from lockstep.spec.data import Kind, Task
from lockstep.spec.fit import FitSpec
from lockstep.spec.recipes.cnn import cnn
from lockstep.spec.recipes.mlp import mlp
from lockstep.spec.recipes.perceptron import perceptron
from lockstep.spec.recipes.rnn import rnn
from lockstep.spec.recipes.transformer import transformer


@dataclass(frozen=True)
class Recipe:
    """A named way to choose a spec: ``make(kind, task, rows)``."""

    name: str
    summary: str
    make: Callable[[Kind, Task, int], FitSpec]


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            "perceptron", "one neuron: logistic, softmax or linear regression, trained until it converges", perceptron
        ),
        Recipe("mlp", "multi-layer perceptron: (Linear, BatchNorm, ReLU, Dropout) × 2, Linear; AdamW, cosine", mlp),
        Recipe("cnn", "convolutions over images, along series, or side by side over the tokens of a text", cnn),
        Recipe("rnn", "GRU both ways along series or text, the maximum over time; LSTM and Elman by model.cell", rnn),
        Recipe("transformer", "pre-norm encoder over the steps of series, the tokens of text or columns", transformer),
    ]
}


def usual_recipe(kind: Kind) -> str:
    """The recipe for data of a kind where the user names none."""
    return "cnn" if kind in ("series", "text") else "mlp"


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise SpecError(f"There is no recipe {name!r}. Known: {', '.join(RECIPES)}. See: lockstep recipes.")
    return RECIPES[name]
