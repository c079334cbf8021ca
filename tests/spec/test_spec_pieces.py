"""Pieces of a spec are values: frozen, hashable, equal by content, and each combination of their axes in order."""

import pytest
from pydantic import ValidationError

from lockstep.errors import SpecError
from lockstep.spec import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineAnnealingLR,
    FitSpec,
    Mlp,
    Training,
    TrainSpec,
    Vary,
    candidates,
)


def test_a_spec_cannot_be_changed() -> None:
    spec = FitSpec()
    with pytest.raises(ValidationError, match="frozen"):
        spec.recipe = "other"
    with pytest.raises(AttributeError):
        Vary(1, 2).values = (3,)  # type: ignore[misc]


def test_two_specs_with_equal_fields_are_equal_and_hash_alike() -> None:
    a = FitSpec(optimizer=AdamW(lr=[1e-3, 3e-3]), model=Mlp(hidden=(3, 4)))
    b = FitSpec(optimizer=AdamW(lr=Vary(1e-3, 3e-3)), model=Mlp(hidden=[3, 4]))
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, FitSpec()}) == 2


def test_another_kind_of_optimiser_is_another_spec_although_its_numbers_are_equal() -> None:
    same = {"lr": 0.1, "weight_decay": 0.2}
    assert Adam(**same) != AdamW(**same)


def test_whole_numbers_are_taken_where_numbers_belong() -> None:
    assert AdamW(lr=1) == AdamW(lr=1.0)
    assert isinstance(AdamW(lr=1).lr, float)


def test_the_pair_betas_sets_both() -> None:
    assert Adam(betas=(0.8, 0.95)) == Adam(beta1=0.8, beta2=0.95)
    assert AdamW(betas=[[0.8, 0.9], 0.95]).beta1 == Vary(0.8, 0.9)


def test_replace_sets_one_field_and_leaves_the_rest_and_the_original() -> None:
    spec = FitSpec()
    other = spec.replace("optimizer.lr", 0.5).replace("model.hidden", "8,4")
    assert other.optimizer == AdamW(lr=0.5)
    assert other.model == Mlp(hidden=(8, 4))
    assert spec == FitSpec()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.hiden", 3, "There is no setting hiden. Did you mean hidden?"),
        ("zebra.x", 3, "There is no setting zebra. Known here: loss, "),
        ("model.hidden.x", 3, "There is no setting hidden.x: hidden is a single value, however: 'x' in it."),
        ("optimizer.lr", -1, "lr must be > 0, however: -1."),
    ],
)
def test_replace_says_what_is_wrong(path: str, value: object, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        FitSpec().replace(path, value)
    assert str(caught.value).startswith(message)


def test_axes_are_found_in_the_order_of_the_fields() -> None:
    spec = FitSpec(
        training=Training(clip_norm=[0.5, 1.0]), model=Mlp(dropout=[0.1, 0.2]), optimizer=SGD(momentum=[0.0, 0.9])
    )
    assert [path for path, _ in spec.axes()] == ["optimizer.momentum", "training.clip_norm", "model.dropout"]


def test_candidates_are_all_combinations_with_the_first_axis_slowest() -> None:
    spec = FitSpec(optimizer=AdamW(lr=[1e-3, 3e-3], weight_decay=[0.0, 0.1, 0.2]))
    found = candidates(spec)
    expected = [(lr, decay) for lr in (1e-3, 3e-3) for decay in (0.0, 0.1, 0.2)]
    assert [choices for choices, _ in found] == [
        {"optimizer.lr": lr, "optimizer.weight_decay": decay} for lr, decay in expected
    ]
    assert [one for _, one in found] == [FitSpec(optimizer=AdamW(lr=lr, weight_decay=d)) for lr, d in expected]
    assert not any(list(one.axes()) for _, one in found)


def test_a_spec_without_axes_is_its_own_candidate() -> None:
    assert candidates(TrainSpec()) == [({}, TrainSpec())]


def test_an_axis_of_one_value_is_a_choice_too() -> None:
    assert candidates(TrainSpec(optimizer=SGD(lr=[0.1]))) == [({"optimizer.lr": 0.1}, TrainSpec(optimizer=SGD(lr=0.1)))]


def test_nesterov_with_momentum_in_every_candidate_is_taken() -> None:
    assert SGD(nesterov=True, momentum=[0.5, 0.9]).nesterov


def test_a_vary_shows_its_values() -> None:
    assert repr(Vary(1e-3, (3, 4))) == "Vary(0.001, (3, 4))"
    assert Vary([3, 4]) == Vary((3, 4))


def test_none_in_words_is_none_where_the_field_allows_it() -> None:
    assert Training(clip_norm="none").clip_norm is None
    assert CosineAnnealingLR(T_max="none").T_max is None
    assert Mlp(norm="none").norm == "none"
    assert Constant() == Constant(name="constant")


def test_no_norm_can_be_said_by_a_flag_too() -> None:
    assert Mlp.parse({"norm": None}).norm == Mlp.parse({"norm": "none"}).norm == "none"
