"""``--vary``: short names, lists, sweeps, and optimisers by name, each at a rate of its own."""

from typing import Any

import numpy as np
import pytest

from lockstep.errors import SpecError
from lockstep.spec import SGD, Adam, AdamW, CosineAnnealingLR, FitSpec, Mlp, RMSprop, StepLR, Training, Vary, candidates
from lockstep.spec.axes import parse_axes, resolve, with_axes
from lockstep.spec.choices import own_rates


def varied(*axes: str, spec: FitSpec | None = None, given: dict[str, Any] | None = None) -> FitSpec:
    return with_axes(spec or FitSpec(), parse_axes(list(axes)), given or {})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("activation=relu,gelu", ["relu", "gelu"]),
        ("hidden=256x256,512", [[256, 256], 512]),
        ("optimizer.lr=1e-3, 3e-3", [1e-3, 3e-3]),
        ("clip_norm=none,1", [None, 1]),
        ("residual=true,false", [True, False]),
        ("lr=log:1e-4:1e-1:4", [1e-4, 1e-3, 1e-2, 1e-1]),
        ("lr=log:1e-4:1e-1:7", [1e-4, 3.162e-4, 1e-3, 3.162e-3, 1e-2, 3.162e-2, 1e-1]),
        ("dropout=lin:0:0.5:6", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("batch_size=log:16:256:5", [16, 32, 64, 128, 256]),
    ],
)
def test_a_text_says_the_values(text: str, values: list[Any]) -> None:
    key = text.partition("=")[0]
    assert parse_axes([text]) == {key: values}
    assert parse_axes({key: text.partition("=")[2]}) == {key: values}


def test_python_says_them_as_lists_axes_arrays_and_pieces() -> None:
    axes = parse_axes(
        {"lr": np.array([0.1, 0.2]), "hidden": [(8, 8), 4], "dropout": Vary(0.1, 0.2), "optimizer": [SGD(lr=3), "adam"]}
    )
    spec = with_axes(FitSpec(), {key: axes[key] for key in ("hidden", "dropout", "optimizer")}, {})
    assert spec.model == Mlp(hidden=Vary((8, 8), (4,)), dropout=[0.1, 0.2])
    assert spec.optimizer == Vary(SGD(lr=3), Adam(lr=1e-3))
    assert axes["lr"] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("activation", "model.activation"),
        ("lr", "optimizer.lr"),
        ("norm", "model.norm"),
        ("loss", "loss.name"),
        ("optimizer", "optimizer"),
        ("optimizer.name", "optimizer"),
        ("schedule.name", "schedule"),
        ("model", "model"),
        ("family", "model"),
        ("model.family", "model"),
        ("epochs", "training.epochs"),
        ("model.dropout", "model.dropout"),
    ],
)
def test_a_setting_is_found_by_its_path_or_its_last_part(key: str, path: str) -> None:
    assert resolve(key, FitSpec()) == path


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["activaton=relu,gelu"], "There is no setting activaton to vary. Did you mean activation?"),
        (["optimizer.lrr=1,2"], "There is no setting optimizer.lrr. Did you mean optimizer.lr?"),
        (["zebra=1,2"], "There is no setting zebra to vary. Known in this model: "),
        (
            ["patience=1,2"],
            "patience must name one setting, however: schedule.patience and training.patience.",
        ),
        (["activation"], "An axis is key=value,value, however: 'activation'. For example: activation=relu,gelu"),
        (["lr=0.1,,0.2"], "An axis is key=value,value, however: 'lr=0.1,,0.2'."),
        (["lr=0.1,0.1"], "An axis must hold each value once, however: lr has 0.1 twice."),
        (["hidden=8x8,4,8x8"], "An axis must hold each value once, however: hidden has [8, 8] twice."),
        (["lr=0.1", "lr=0.2"], "A setting must be varied once, however: lr twice. Give all its values together."),
        (["lr=0.1,1", "optimizer.lr=2,3"], "A setting must be varied once, however: optimizer.lr twice."),
        (
            ["lr=log:0:1:3"],
            "A sweep is log:from:to:count (both ends above 0) or lin:from:to:count, with a count of 2 or more, "
            "however: lr=log:0:1:3.",
        ),
        (["lr=log:1e-4:1e-1"], "A sweep is log:from:to:count"),
        (["lr=lin:0:1:1"], "A sweep is log:from:to:count"),
        (
            ["optimizer=sgd,adamx"],
            "optimizer must be among sgd, momentum, nesterov, rmsprop, adam, adamw, however: ",
        ),
        (["schedule=stairs,step"], "schedule must have a name among 'constant', 'step', "),
        (["activation=relu,stairs"], "activation must be "),
        (
            ["folds=3,5"],
            "folds must be one for all candidates (they are compared on the same folds and seeds), ",
        ),
        (["model=mlp,forest"], "model must have a family among "),
        (
            ["family=perceptron,mlp", "activation=relu,tanh"],
            "model.activation must be a setting of every model that is compared, however: perceptron has no "
            "activation. Compare perceptron by itself, or leave activation out.",
        ),
        (
            ["momentum=0,0.9", "optimizer=adam,sgd,adamw"],
            "optimizer.momentum must be a setting of every optimizer that is compared, however: adam and adamw have no "
            "momentum. Compare adam and adamw by themselves, or leave momentum out.",
        ),
        (["family=perceptron,mlp", "activaton=relu,tanh"], "There is no setting activaton to vary. Did you mean "),
    ],
)
def test_what_is_wrong_is_said_with_the_setting_and_the_value(axes: list[str], message: str) -> None:
    plateau = FitSpec().override({"schedule": {"name": "plateau"}})
    with pytest.raises(SpecError) as caught:
        varied(*axes, spec=plateau)
    assert str(caught.value).startswith(message)


def test_a_setting_of_pieces_that_are_all_varied_is_theirs_whatever_the_recipe_had() -> None:
    spec = varied("layers=1,2", "family=rnn,transformer")
    assert [(type(one.model).__name__, one.model.layers) for _, one in candidates(spec)] == [  # type: ignore[union-attr]
        ("Rnn", 1), ("Rnn", 2), ("Transformer", 1), ("Transformer", 2),
    ]  # fmt: skip


def test_a_setting_over_an_axis_of_pieces_says_which_of_them_lacks_it() -> None:
    spec = varied("family=perceptron,mlp")
    with pytest.raises(SpecError, match=r"^There is no setting model\.activation\. Known in perceptron: family\.$"):
        spec.override({"model": {"activation": "tanh"}})


def test_each_optimiser_has_a_rate_of_its_own_and_the_one_of_the_recipe_stays_as_it_is() -> None:
    recipes = FitSpec(optimizer=AdamW(lr=2e-3, weight_decay=0.05))
    spec = varied("optimizer=sgd,momentum,nesterov,rmsprop,adam,adamw", spec=recipes)
    assert spec.optimizer == Vary(
        SGD(lr=0.6),
        SGD(lr=0.2, momentum=0.9),
        SGD(lr=0.2, momentum=0.9, nesterov=True),
        RMSprop(lr=2e-3),
        Adam(lr=2e-3),
        AdamW(lr=2e-3, weight_decay=0.05),
    )
    (finding,) = own_rates(spec)
    assert finding.evidence == "sgd 0.6, momentum 0.2, nesterov 0.2, rmsprop 0.002, adam 0.002, adamw 0.002"


def test_a_rate_that_is_given_or_varied_is_every_optimisers() -> None:
    given = FitSpec().override({"optimizer": {"lr": 0.01}})
    spec = varied("optimizer=sgd,adamw", spec=given, given={"optimizer": {"lr": 0.01}})
    assert spec.optimizer == Vary(SGD(lr=0.01), AdamW(lr=0.01))
    assert own_rates(spec) == []
    swept = varied("lr=0.1,0.2", "optimizer=sgd,adamw")
    assert swept.optimizer == Vary(SGD(lr=[0.1, 0.2]), AdamW(lr=[0.1, 0.2]))
    assert own_rates(swept) == []
    assert len(candidates(swept)) == 4


def test_plain_sgd_stays_without_momentum_where_the_recipe_has_some() -> None:
    spec = varied("optimizer=sgd,momentum", spec=FitSpec(optimizer=SGD(lr=0.05, momentum=0.9)))
    assert spec.optimizer == Vary(SGD(lr=0.3), SGD(lr=0.05, momentum=0.9))


def test_schedules_have_lengths_that_suit_the_run() -> None:
    spec = varied("schedule=cosine,step,exponential", spec=FitSpec(training=Training(epochs=30)))
    assert isinstance(spec.schedule, Vary)
    cosine, step, exponential = spec.schedule.values
    assert cosine == CosineAnnealingLR()
    assert step == StepLR(step_size=10)
    assert exponential.gamma**30 == pytest.approx(0.01, rel=0.01)
