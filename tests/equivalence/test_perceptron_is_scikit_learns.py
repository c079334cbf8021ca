"""One neuron, trained by its recipe, has the coefficients of scikit-learn's unregularised regressions."""

from typing import Any

import numpy as np
import pytest
import torch
from every import able
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from lockstep.engine.loop import Problem
from lockstep.engine.population import make_population
from lockstep.engine.step import Resident
from lockstep.engine.tables import loss_numbers
from lockstep.engine.train import make_modules, train_population
from lockstep.network.build import build
from lockstep.network.heads import loss_for
from lockstep.network.losses import LOSSES
from lockstep.network.preprocess import TableShape
from lockstep.spec.recipes import find_recipe

Rng = np.random.Generator
ROWS, FEATURES = 400, 4
EVERY = able(nn.Linear(FEATURES, 1), "mse", Resident((torch.zeros(ROWS, FEATURES),), torch.zeros(ROWS)))


def fitted(
    task: Any, x: np.ndarray, y: np.ndarray, classes: int, dtype: torch.dtype, executor: str
) -> nn.Module:  # fmt: skip
    """The recipe's network, trained on these rows alone."""
    spec = find_recipe("perceptron").make("table", task, len(x)).replace("population.folds", 1)
    loss, rows = loss_for(task, "auto"), np.arange(len(x))
    inputs = (x.astype(np.float32), np.zeros((len(x), 0), dtype=np.int64))
    shape = TableShape((), (len(x),) * x.shape[1], np.array([], dtype=np.int64))
    population = make_population(spec, [(rows, rows[:0])])
    modules = make_modules(lambda member: build(spec, loss, classes, shape, inputs, y).to(dtype), population.training)  # noqa: ARG005
    data = Resident(
        (torch.from_numpy(inputs[0]).to(dtype), torch.from_numpy(inputs[1])),
        torch.from_numpy(y).to(dtype if task == "regression" else torch.int64),
    )
    scale = np.array([y.std()]) if task == "regression" else None
    numbers = loss_numbers(population.training, modules[0], torch.device("cpu"), scale=scale)
    trained = train_population(
        population, modules, lambda _: Problem(data, LOSSES[loss], loss, numbers, executor), torch.device("cpu")
    )
    return trained.module(0)


def table(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Correlated columns of different sizes, and the same standardised."""
    turn, _ = np.linalg.qr(rng.normal(size=(FEATURES, FEATURES)))
    x = rng.normal(size=(ROWS, FEATURES)) * [0.5, 1, 1, 3] @ turn
    x = (x * [1, 10, 0.1, 3] + [0, 5, 1, -20]).astype(np.float32)
    return x, StandardScaler().fit_transform(x.astype(np.float64))


def close(found: np.ndarray, expected: np.ndarray, dtype: torch.dtype) -> None:
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < (1e-5 if dtype == torch.float64 else 1e-3), error


@pytest.mark.parametrize("executor", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_linear_regression(rng: Rng, dtype: torch.dtype, executor: str) -> None:
    x, z = table(rng)
    y = z @ rng.uniform(1, 3, FEATURES) * 100 + rng.normal(size=ROWS) * 100 + 1000
    head = fitted("regression", x, y, 0, dtype, executor).head
    theirs = LinearRegression().fit(z, y)
    close((head.output.weight * head.spread).detach().numpy()[0], theirs.coef_, dtype)
    close((head.output.bias * head.spread + head.centre).detach().numpy(), np.array([theirs.intercept_]), dtype)


@pytest.mark.parametrize("executor", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logistic_regression(rng: Rng, dtype: torch.dtype, executor: str) -> None:
    x, z = table(rng)
    y = (z @ rng.uniform(0.2, 1, FEATURES) + 0.3 + rng.logistic(size=ROWS) > 0).astype(np.int64)
    head = fitted("binary", x, y, 2, dtype, executor).head
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(z, y)
    own = np.append(head.weight.detach().numpy()[0], head.bias.detach().numpy())
    close(own, np.append(theirs.coef_[0], theirs.intercept_), dtype)


@pytest.mark.parametrize("executor", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_softmax_regression_up_to_what_all_classes_share(rng: Rng, dtype: torch.dtype, executor: str) -> None:
    x, z = table(rng)
    y = (z @ rng.normal(size=(FEATURES, 3)) + rng.gumbel(size=(ROWS, 3))).argmax(1)
    head = fitted("multiclass", x, y, 3, dtype, executor).head
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(z, y)
    own = np.hstack([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]])
    expected = np.hstack([theirs.coef_, theirs.intercept_[:, None]])
    close(own - own.mean(0), expected - expected.mean(0), dtype)
