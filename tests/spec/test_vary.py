"""Any field may be an axis: each value checked by the field's own rule, written, read back, and tried in turn."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lockstep.errors import SpecError
from lockstep.spec import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineAnnealingLR,
    DataSpec,
    FitSpec,
    Loss,
    Mlp,
    Population,
    RMSprop,
    StepLR,
    Training,
    Vary,
    candidates,
    read_settings,
)
from lockstep.spec.names import names


def axis(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3).map(lambda several: Vary(*several))


rates = st.floats(1e-6, 10, allow_nan=False)
counts = st.integers(1, 1000)
pieces = st.one_of(
    st.builds(SGD, lr=axis(rates), momentum=axis(st.floats(0.1, 0.9)), nesterov=axis(st.booleans())),
    st.builds(RMSprop, lr=axis(rates), centered=axis(st.booleans())),
    st.builds(AdamW, lr=axis(rates), weight_decay=axis(st.floats(0, 1))),
)
specs = st.builds(
    FitSpec,
    optimizer=axis(pieces),
    schedule=axis(st.builds(Constant) | st.builds(CosineAnnealingLR, T_max=axis(st.none() | counts))),
    loss=st.builds(
        Loss,
        name=axis(st.sampled_from(["auto", "mse", "mae"])),
        class_weights=axis(st.none() | st.just("balanced") | st.lists(rates, min_size=1, max_size=3).map(tuple)),
    ),
    training=axis(
        st.builds(
            Training,
            epochs=axis(counts),
            batch_size=axis(counts),
            patience=axis(st.none() | counts),
            clip_norm=st.none() | axis(rates),
            monitor=axis(st.sampled_from(["valid_loss", "valid_metric"])),
        )
    ),
    model=st.builds(
        Mlp,
        hidden=axis(st.lists(counts, min_size=1, max_size=3).map(tuple)),
        activation=axis(st.sampled_from(["relu", "gelu", "tanh"])),
        norm=axis(st.sampled_from(["none", "batch", "layer"])),
    ),
)


@given(spec=specs)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_axes_of_any_kind_are_written_and_read_back(spec: FitSpec, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(spec.to_toml(), encoding="utf-8")
    assert FitSpec.parse(read_settings(path)) == spec
    assert FitSpec().override(read_settings(path)) == spec


def count(piece: Any) -> int:
    """How many candidates a piece, a value or an axis stands for."""
    if isinstance(piece, Vary):
        return sum(map(count, piece.values))
    if hasattr(piece, "_fields"):
        product = 1
        for value in piece._fields().values():
            product *= count(value)
        return product
    return 1


@given(spec=specs)
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_candidates_are_every_combination_once_in_order_and_nothing_varies_in_them(spec: FitSpec) -> None:
    if count(spec) > 300:
        return
    found = candidates(spec)
    assert len(found) == count(spec)
    assert not any(list(one.axes()) for _, one in found)
    for path, axis_ in list(spec.axes())[:1]:
        sizes = [count(spec.replace(path, value)) for value in axis_.values]
        slowest = [name for name, size in zip(names(axis_), sizes, strict=True) for _ in range(size)]
        assert [choices[path] for choices, _ in found] == slowest


def test_the_first_axis_varies_slowest_and_axes_inside_a_piece_are_that_pieces_alone() -> None:
    spec = FitSpec(optimizer=Vary(SGD(lr=[0.1, 0.2]), AdamW()), model=Mlp(activation=Vary("relu", "tanh")))
    assert [choices for choices, _ in candidates(spec)] == [
        {"optimizer": "sgd", "optimizer.lr": 0.1, "model.activation": "relu"},
        {"optimizer": "sgd", "optimizer.lr": 0.1, "model.activation": "tanh"},
        {"optimizer": "sgd", "optimizer.lr": 0.2, "model.activation": "relu"},
        {"optimizer": "sgd", "optimizer.lr": 0.2, "model.activation": "tanh"},
        {"optimizer": "adamw", "model.activation": "relu"},
        {"optimizer": "adamw", "model.activation": "tanh"},
    ]


def test_pieces_are_called_by_their_names_and_namesakes_by_what_sets_them_apart() -> None:
    several = Vary(SGD(), SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True), Adam(lr=0.1), Adam(lr=0.2), RMSprop())
    assert [choices["optimizer"] for choices, _ in candidates(FitSpec(optimizer=several))] == [
        "sgd", "momentum", "nesterov", "adam(lr=0.1)", "adam(lr=0.2)", "rmsprop",
    ]  # fmt: skip


def test_each_value_of_an_axis_is_made_what_the_field_makes_of_it() -> None:
    assert Mlp(hidden=Vary([256, 256], 512, "8,4")).hidden == Vary((256, 256), (512,), (8, 4))
    assert Training(patience=Vary("none", 5)).patience == Vary(None, 5)
    assert AdamW(lr=Vary(1, 2)) == AdamW(lr=[1.0, 2.0])


def test_replacing_below_an_axis_of_pieces_replaces_in_each() -> None:
    spec = FitSpec(optimizer=Vary(SGD(), AdamW())).replace("optimizer.lr", [0.1, 0.2])
    assert spec.optimizer == Vary(SGD(lr=[0.1, 0.2]), AdamW(lr=[0.1, 0.2]))


def test_settings_laid_over_an_axis_go_into_each_of_its_pieces() -> None:
    varied = FitSpec().override({"optimizer": {"vary": [{"name": "sgd"}, {"name": "adamw"}]}})
    assert varied.optimizer == Vary(SGD(), AdamW())
    assert varied.override({"optimizer": {"lr": 0.5}}).optimizer == Vary(SGD(lr=0.5), AdamW(lr=0.5))
    assert varied.override({"optimizer": {"name": "adam"}}).optimizer == Adam()


def test_a_rule_over_several_fields_holds_in_every_combination() -> None:
    assert SGD(nesterov=Vary(True, False), momentum=[0.5, 0.9])
    with pytest.raises(SpecError, match="nesterov needs momentum > 0"):
        SGD(nesterov=Vary(True, False), momentum=[0.0, 0.9])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.activation", Vary("relu", "stairs"), "model.activation must be "),
        ("model.hidden", Vary((8, 8), (0,)), "model.hidden must be >= 1, however: 0."),
        ("model.dropout", Vary(0.1, 1), "model.dropout must be >= 0 and < 1, however: 1."),
        ("optimizer", Vary({"name": "sgd", "lr": -1}), "optimizer.lr must be > 0, however: -1."),
        ("optimizer", Vary(AdamW(), {"name": "adamx"}), "optimizer must have a name among "),
        ("training.batch_size", Vary(8, 0), "training.batch_size must be >= 1, however: 0."),
        ("optimizer", {"name": "sgd", "lr": Vary((0.1, 0.2), 0.3)},
         "optimizer.lr must be one value at each place of an axis, however: Vary((0.1, 0.2), 0.3)."),
        ("population.folds", Vary(3, 5), "population.folds must be one for all candidates (they are compared on the "
         "same folds and seeds), however: Vary(3, 5)."),
        ("data.test_size", Vary(0.1, 0.2), "data.test_size must be one for all candidates (they are compared on the "
         "same data), however: Vary(0.1, 0.2)."),
        ("data", Vary(DataSpec(), DataSpec(task="binary")), "data must be one for all candidates"),
        ("population", Vary(Population(), Population(folds=3)), "population must be one for all candidates"),
        ("recipe", Vary("mlp", "cnn"), "recipe must be one for all candidates (it is what all their settings start "
         "from; vary model instead), however: Vary('mlp', 'cnn')."),
        ("preprocess", Vary({"bins": 8}, {"bins": 16}), "preprocess must be one for all candidates (vary its settings "
         "one by one, as in preprocess.numbers), however: "),
        ("preprocess.vocabulary", Vary(8, 16), "preprocess.vocabulary must be one for all candidates (the text is read "
         "once for all of them), however: Vary(8, 16)."),
        ("ensemble", Vary({"method": "mean"}, {"method": "greedy"}), "ensemble must be one for all candidates"),
        ("schedule", Vary({"name": "step"}), "schedule.step_size must be given, however: {'name': 'step'}."),
    ],
)  # fmt: skip
def test_a_wrong_value_of_an_axis_is_told_as_it_would_be_alone(path: str, value: Any, message: str) -> None:
    head, _, rest = path.partition(".")
    start = {"model": {"family": "mlp"}, "optimizer": {"name": "adamw"}}.get(head, {}) if rest else None
    with pytest.raises(SpecError) as caught:
        FitSpec.parse({head: {**start, rest: value} if start is not None else value})
    assert str(caught.value).startswith(message)


def test_step_schedules_of_several_lengths_are_an_axis() -> None:
    spec = FitSpec(schedule=Vary(StepLR(step_size=2), StepLR(step_size=5)))
    assert [choices["schedule"] for choices, _ in candidates(spec)] == ["step(step_size=2)", "step(step_size=5)"]
