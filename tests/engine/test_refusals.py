"""What cannot be stacked trains member by member, and what cannot be trained is refused: in the user's words."""

import itertools
import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lockstep
import lockstep.jobs.progress  # an import may draw random numbers, a training may not
from lockstep.engine.refusals import unstackable
from lockstep.errors import TrainingError
from lockstep.spec import Loss

X, Y = torch.randn(40, 6), torch.arange(40) % 2


class Calls(nn.Module):
    """A linear layer behind some function of its input."""

    def __init__(self, change: Callable[["Calls", Tensor], Any]) -> None:
        super().__init__()
        self.change, self.layer = change, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Any:
        return self.change(self, x)


def calls(change: Callable[[Calls, Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Calls(change)


def attention(dropout: float) -> nn.Module:
    layer = nn.TransformerEncoderLayer(3, 1, 4, dropout=dropout, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (2, 3)), layer, nn.Flatten(), nn.Linear(6, 2))


def train(make: Callable[[], Any], y: Tensor = Y, **settings: Any) -> lockstep.Result:
    return lockstep.train(make, (X, y), epochs=1, batch_size=16, seeds=2, quiet=True, device="cpu", **settings)


class Doubled(torch.autograd.Function):
    """Of the older form, which torch.func does not take."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * gradient


def branches(m: Calls, x: Tensor) -> Tensor:
    if x.sum() > 0:
        return m.layer(x)
    return m.layer(-x)


def adds_in_place(m: Calls, x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 2)
    y += m.layer(x)
    return y


def sets_data(m: Calls, x: Tensor) -> Tensor:
    m.layer.weight.data = m.layer.weight.data.clamp(-0.2, 0.2)
    return m.layer(x)


DROPOUT = "They stack with an nn.Dropout made in __init__, which draws for each network alone."
DRAWS = "the forward draws random numbers itself (test_refusals.py, line "
LOOKS = "the forward looks at a tensor's values (test_refusals.py, line "
PYTHONS = "the forward draws from Python's or numpy's random numbers, which would be the same for all"
UNSTACKABLE: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "F.dropout": (calls(lambda m, x: m.layer(F.dropout(x, 0.5, m.training))), DRAWS, DROPOUT),
    "noise": (calls(lambda m, x: m.layer(x + torch.randn_like(x))), DRAWS, DROPOUT),
    "one draw": (calls(lambda m, x: m.layer(x) * torch.rand(2)), DRAWS, DROPOUT),
    "random": (calls(lambda m, x: m.layer(x) * random.random()), PYTHONS, DROPOUT),
    "numpy": (calls(lambda m, x: m.layer(x) * float(np.random.rand())), PYTHONS, DROPOUT),
    "alpha": (lambda: nn.Sequential(nn.Linear(6, 2), nn.AlphaDropout(0.1)), "1 (AlphaDropout) draws", DROPOUT),
    "attention": (lambda: attention(0.1), "1.self_attn (MultiheadAttention) draws for all at once", DROPOUT),
    "branch": (calls(branches), LOOKS, "They stack with torch.where in its place."),
    "item": (calls(lambda m, x: m.layer(x) * x.mean().item()), LOOKS, "They stack with torch.where in its place."),
    "numpy value": (calls(lambda m, x: m.layer(x) * float(x.numpy().mean())), LOOKS, "They stack with torch.where"),
    "mean of batches": (
        lambda: nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2, momentum=None)),
        "1 divides by its count of batches (momentum=None)", "They stack with a number for momentum.",
    ),
    "mask": (calls(lambda m, x: m.layer(x) * len(x[x > 0])), "the values decide a tensor's shape (", "They stack with"),
    "function": (
        calls(lambda m, x: m.layer(Doubled.apply(x))),
        "a torch.autograd.Function has no form for torch.func (", "They stack if it has setup_context",
    ),
    "in place": (
        calls(adds_in_place), "a tensor that is one for all is changed in place (", "They stack with y = y + x",
    ),
    "data": (calls(sets_data), "the forward sets a tensor's .data (", "They stack with copy_() under torch.no_grad()"),
    "no rule": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 2))),
        "torch cannot run aten::div.out of several networks at once", "They stack with another operation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSTACKABLE)
def test_what_cannot_be_stacked_trains_member_by_member_and_says_why_and_what_would_stack(name: str) -> None:
    make, why, remedy = UNSTACKABLE[name]
    result = train(make, valid=(X, Y))
    assert [len(stack.originals) for stack in result.trained.stacks] == [1, 1]
    (finding,) = result.findings
    assert (finding.severity, finding.code, finding.subject) == ("warning", "not-stacked", "2 networks")
    assert finding.what == "2 networks train one after another, and not as one stack"
    assert finding.evidence.startswith(why)
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize("name", UNSTACKABLE)
def test_what_cannot_be_stacked_has_the_same_weights_alone_and_leaves_the_callers_random_state(name: str) -> None:
    make, *_ = UNSTACKABLE[name]
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    both, alone = train(make, valid=(X, Y)), train(make, valid=(X, Y), members=[1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # type: ignore[index, union-attr]
    for one, same in zip(both.member(1).parameters(), alone.member(1).parameters(), strict=True):
        assert torch.equal(one, same)
    assert np.array_equal(both.predict(X)[1], alone.predict(X)[0])


class Factor:
    def __init__(self, value: float) -> None:
        self.value = value


class Elsewhere(nn.Module):
    """What it holds by a weak reference says nothing of itself, so two of it look the same."""

    def __init__(self, factor: Factor) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(6, 2), weakref.ref(factor)

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factor()
        assert factor is not None
        return factor.value * self.layer(x)


@pytest.mark.parametrize(("factors", "stacks"), [((1.0, 3.0), False), ((3.0, 3.0), True)])
def test_a_second_network_that_does_otherwise_in_a_stack_than_alone_is_found(
    factors: tuple[float, float], stacks: bool
) -> None:
    kept = [Factor(value) for value in factors]

    def settings(which: tuple[int, ...]) -> dict[str, Any]:
        made = iter(which)
        return {"make": lambda: Elsewhere(kept[next(made)]), "members": list(which), "optimizer": "sgd"}

    together = train(**settings((0, 1)))
    assert [finding.evidence for finding in together.findings] == (
        [] if stacks else ["in a stack they give other losses, gradients or outputs than alone"]
    )
    alone = train(**settings((1,)))
    np.testing.assert_allclose(together.predict(X)[1], alone.predict(X)[0], atol=1e-5)


def test_gradients_that_are_others_in_a_stack_than_alone_are_found() -> None:
    """A network whose outputs are the same, and whose gradient grows with every way back."""
    ways = iter(range(1, 1000))

    def grows(m: Calls, x: Tensor) -> Tensor:
        y = m.layer(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: next(ways) * gradient)
        return y

    (finding,) = train(calls(grows)).findings
    assert finding.evidence == "in a stack they give other losses, gradients or outputs than alone"


def test_the_reason_names_the_line_in_the_users_code() -> None:
    (finding,) = train(calls(branches)).findings
    assert finding.evidence.endswith(": if x.sum() > 0)")


def test_a_network_alone_that_would_not_stack_is_told_so_in_passing() -> None:
    (finding,) = train(calls(branches), members=[0]).findings
    assert finding.severity == "info"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (calls(lambda m, x: (m.layer(x), x)), "A network must return one tensor, however: tuple. Return the logits."),
        (calls(lambda m, x: {"a": m.layer(x)}), "A network must return one tensor, however: dict. Return the logits."),
        (nn.Identity, "A network must have parameters that need a gradient, however: Identity has none."),
        (
            lambda: nn.Linear(6, 2).requires_grad_(False),
            "A network must have parameters that need a gradient, however: Linear has none.",
        ),
        (
            lambda: nn.LazyLinear(2),
            "A network's shapes must be known, however: LazyLinear is lazy. Call it once in make_module.",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 6).double(), nn.Linear(6, 2)),
            "The parameters of a network must be of one type, however: torch.float32 and torch.float64 in Sequential.",
        ),
        (lambda: 3, "make_module must return an nn.Module, however: int."),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_trained_is_told_why_and_what_to_do(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        train(make)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        (
            {"loss": lambda output, target: F.nll_loss(output, target)}, Y + 1,
            "A class or category code must count from 0 and be smaller than what the network has places for, however: "
            "Target ",
        ),
        (
            {"loss": Loss(name="cross_entropy", class_weights=(1, 2, 3))}, Y,
            "class_weights must hold one weight per class, however: 3 weights for 2 classes.",
        ),
        (
            {"loss": lambda output, target: F.cross_entropy(output, target, reduction="none")}, Y,
            "The loss must be one number per batch, however: it returns several. Take their mean.",
        ),
    ],
)  # fmt: skip
def test_a_target_that_does_not_fit_is_told(settings: dict[str, Any], y: Tensor, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        train(lambda: nn.Linear(6, 2), y, **settings)
    assert str(caught.value).startswith(message)


def test_batch_norm_of_one_row_is_told() -> None:
    with pytest.raises(TrainingError, match="Batch norm must have at least 2 rows in a batch, however: 1"):
        lockstep.train(lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), (X[:1], Y[:1]), epochs=1, quiet=True)


def test_a_batch_that_the_network_cannot_take_is_said_in_torchs_plain_words() -> None:
    refused = r"batch of the data, \[2, 6\], however it raises RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    with pytest.raises(TrainingError, match=refused):
        lockstep.train(lambda: nn.Linear(5, 2), (torch.randn(8, 6), torch.zeros(8).long()), epochs=1, quiet=True)


def test_a_loss_that_does_not_follow_from_the_parameters_is_told() -> None:
    with pytest.raises(TrainingError, match="must follow from the network's parameters, however: nothing leads back"):
        train(calls(lambda m, x: m.layer(x).detach()))


def test_a_recurrent_layer_without_a_batching_rule_is_named() -> None:
    form = nn.ModuleDict({"cells": nn.LSTM(3, 4), "out": nn.Linear(4, 2)})
    reason = unstackable(RuntimeError("Batching rule not implemented for aten::_cudnn_rnn; the fallback path"), form)
    assert reason is not None
    assert reason.why.startswith("torch cannot run cells (LSTM) of several networks at once")


def test_attention_without_dropout_of_its_own_can_be_stacked() -> None:
    assert len(train(lambda: attention(0.0)).members) == 2


def test_networks_of_several_structures_train_side_by_side() -> None:
    widths = itertools.cycle([3, 5])

    def make() -> nn.Module:
        width = next(widths)
        return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2))

    result = lockstep.train(make, (X, Y), epochs=2, batch_size=16, seeds=4, quiet=True, device="cpu")
    assert len(result.trained.stacks) == 2
    assert [result.member(index)[0].out_features for index in range(4)] == [3, 5, 3, 5]  # type: ignore[index, union-attr]
    assert result.predict(X).shape == (4, 40, 2)
    assert sorted(result.history["member"].unique()) == [0, 1, 2, 3]
    for index in range(4):
        with torch.no_grad():
            own = result.member(index)(X).numpy()
        assert abs(result.predict(X)[index] - own).max() < 1e-5
