"""A wrong setting is one sentence: which setting, the rule, the value seen."""

from collections.abc import Callable
from typing import Any

import pytest

from lockstep.errors import LockstepError, SpecError
from lockstep.spec import SGD, AdamW, FitSpec, Vary
from lockstep.spec.recipes import RECIPES, find_recipe

ADAM = "name, lr, beta1, beta2, eps, weight_decay, decay_vectors"
# path, value, the sentence before "however" and, where it is not the whole value, behind a bar what is shown of it
WRONG: list[tuple[str, Any, str]] = [
    (
        "loss.name",
        "hinge",
        "loss.name must be 'auto', 'cross_entropy', 'binary_cross_entropy', 'mse', 'mae', 'huber' or 'quantile'",
    ),
    ("loss", 3, "loss must hold settings by name"),
    ("loss.label_smoothing", 1, "loss.label_smoothing must be >= 0 and < 1"),
    ("loss.class_weights", "wrong", "loss.class_weights must be 'balanced' or one number > 0 per class"),
    ("loss.class_weights", 3, "loss.class_weights must be 'balanced' or one number > 0 per class"),
    ("loss.class_weights", [1, "a"], "loss.class_weights must be 'balanced' or one number > 0 per class"),
    ("loss.class_weights", [1, -2], "loss.class_weights must be 'balanced' or one number > 0 per class"),
    ("loss.class_weights", [], "loss.class_weights must be 'balanced' or one number > 0 per class"),
    ("optimizer", 3, "optimizer must hold settings by name"),
    ("optimizer", {"lr": 1}, "optimizer must have a name among 'sgd', 'rmsprop', 'adam', 'adamw'"),
    (
        "schedule.name",
        "stairs",
        "schedule must have a name among 'constant', 'step', 'exponential', 'cosine', 'cosine_warmup', 'one_cycle', "
        "'coslog4', 'plateau'",
    ),
    ("schedule", {"name": "cosine", "T_max": 1.5}, "schedule.T_max must be a whole number | 1.5"),
    ("schedule", {"name": "cosine", "eta_min": float("nan")}, "schedule.eta_min must be >= 0 | nan"),
    ("training.epochs", 0, "training.epochs must be >= 1"),
    ("training.epochs", "many", "training.epochs must be a whole number"),
    ("training.epochs", 2.5, "training.epochs must be a whole number"),
    ("training.epochs", None, "training.epochs must be a whole number"),
    ("training.clip_norm", 0, "training.clip_norm must be > 0"),
    ("training.clip_norm", "x", "training.clip_norm must be a number"),
    ("training.monitor", "accuracy", "training.monitor must be 'valid_loss', 'valid_metric' or 'train_loss'"),
    ("training", 3, "training must hold settings by name"),
    ("population.members", "3,x", "population.members must be whole numbers"),
    ("population.members", [1.5], "population.members must be a whole number | 1.5"),
    ("population.valid_size", 1, "population.valid_size must be < 1"),
    ("population.halve", 1, "population.halve must be >= 2"),
    ("population.halve", 2.5, "population.halve must be a whole number"),
    ("population.seed", 2**32, "population.seed must be < 4294967296"),
    ("model.hidden", "wide", "model.hidden must be whole numbers"),
    ("model.hidden", [0], "model.hidden must be >= 1 | 0"),
    ("model.dropout", 1, "model.dropout must be >= 0 and < 1"),
    ("model.dropout", True, "model.dropout must be a number"),
    ("model.norm", "power", "model.norm must be 'none', 'batch', 'layer', 'group' or 'rms'"),
    (
        "model.activation",
        ["relu", "stairs"],
        "model.activation must be among relu, leaky_relu, elu, selu, gelu, silu, mish, tanh, sigmoid, softmax, "
        "identity | 'stairs'",
    ),
    ("model.slope", -0.1, "model.slope must be >= 0"),
    ("model.groups", 0, "model.groups must be >= 1"),
    ("preprocess.bins", 1, "preprocess.bins must be >= 2"),
    ("data.task", "ranking", "data.task must be 'binary', 'multiclass', 'regression' or 'forecast'"),
    ("data.header", "maybe", "data.header must be true or false"),
    ("data.target", [1], "data.target must be text"),
    ("recipe", 3, "recipe must be text"),
]


def settings(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: settings(rest, value) if rest else value}


def message(make: Callable[[], object]) -> str:
    with pytest.raises(SpecError) as caught:
        make()
    assert isinstance(caught.value, LockstepError)
    return str(caught.value)


@pytest.mark.parametrize(("path", "value", "rule"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_a_wrong_value_is_told_with_its_path_the_rule_and_the_value_seen(path: str, value: Any, rule: str) -> None:
    rule, equals, shown = rule.partition(" | ")
    given = settings(path, value)
    if "model" in given:
        given["model"]["family"] = "mlp"
    assert message(lambda: FitSpec.parse(given)) == f"{rule}, however: {shown if equals else repr(value)}."


@pytest.mark.parametrize(("path", "kind"), [("optimizer", "name"), ("model", "family"), ("loss", "name")])
def test_a_piece_given_as_one_word_is_told_where_the_word_belongs(path: str, kind: str) -> None:
    said = message(lambda: FitSpec().override({path: "adam"}))
    assert said == f"{path} must hold settings by name, however: 'adam'. For example: {path}.{kind}=adam."


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("modl", 3, "There is no setting modl. Did you mean model?"),
        ("lr", 0.1, "There is no setting lr. Did you mean optimizer.lr?"),
        ("optimiser.name", "adam", "There is no setting optimiser. Did you mean optimizer?"),
        ("training.epoch", 3, "There is no setting training.epoch. Did you mean training.epochs?"),
        ("data.targt", "y", "There is no setting data.targt. Did you mean data.target?"),
        ("optimizer.momentun", 0.9, f"There is no setting optimizer.momentun. Known in adamw: {ADAM}."),
        (
            "model.zebra",
            3,
            "There is no setting model.zebra. Known in mlp: family, hidden, activation, slope, norm, groups, dropout, "
            "residual, init.",
        ),
    ],
)
def test_an_unknown_setting_is_told_with_the_nearest_or_all_that_there_are(
    path: str, value: Any, expected: str
) -> None:
    assert message(lambda: FitSpec().override(settings(path, value))) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: AdamW(lr=0), "lr must be > 0, however: 0."),
        (lambda: AdamW(lr=[1e-3, "a"]), "lr must be a number, however: 'a'."),
        (lambda: AdamW(lr=float("inf")), "lr must be > 0, however: inf."),
        (lambda: AdamW(betas=(0.9,)), "betas must be a pair of numbers, however: (0.9,). Set beta1 and beta2."),
        (lambda: AdamW(betas=(0.9, 2)), "beta2 must be >= 0 and < 1, however: 2."),
        (
            lambda: SGD(nesterov=True),
            "nesterov needs momentum > 0 and dampening 0, however: momentum=0.0, dampening=0.0. "
            "Set optimizer.momentum.",
        ),
        (
            lambda: SGD(nesterov=True, momentum=[0.9, 0.0]),
            "nesterov needs momentum > 0 and dampening 0, however: momentum=0.0, dampening=0.0. "
            "Set optimizer.momentum.",
        ),
        (Vary, "Vary needs at least one value, however: Vary(). Give the values to try: Vary(1e-3, 3e-3)."),
        (
            lambda: FitSpec().override({"optimizer": {"name": "adamx"}}),
            "optimizer must have a name among 'sgd', 'rmsprop', 'adam', 'adamw', however: 'adamx'.",
        ),
        (lambda: find_recipe("gnn"), f"There is no recipe 'gnn'. Known: {', '.join(RECIPES)}. See: lockstep recipes."),
    ],
)
def test_an_error_in_python_reads_as_the_one_of_a_file(make: Callable[[], object], expected: str) -> None:
    assert message(make) == expected
