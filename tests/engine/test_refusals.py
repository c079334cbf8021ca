"""What cannot be stacked, or does not fit its loss, is told in the user's words."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lockstep
from lockstep.engine.refusals import explain
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


RANDOM = "The randomness of a network must come from nn.Dropout (or 1d, 2d, 3d), which draws for each member alone"
BRANCH = "The forward of a network must take the same path whatever the values are"
FORWARD = "its forward calls F.dropout or draws random numbers itself"
MAKE = "Make an nn.Dropout in __init__ and call that."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (calls(lambda m, x: m.layer(F.dropout(x, 0.5, m.training))), f"{RANDOM}, however: {FORWARD}. {MAKE}"),
        (calls(lambda m, x: m.layer(x + torch.randn_like(x))), f"{RANDOM}, however: {FORWARD}. {MAKE}"),
        (
            lambda: nn.Sequential(nn.Linear(6, 2), nn.AlphaDropout(0.1)),
            f"{RANDOM}, however: 1 (AlphaDropout). {MAKE}",
        ),
        (lambda: attention(0.1), f"{RANDOM}, however: 1.self_attn (MultiheadAttention). {MAKE}"),
        (
            calls(lambda m, x: m.layer(x) if x.sum() > 0 else m.layer(-x)),
            f"{BRANCH}, however: it calls .item() or branches on a tensor. Write it with torch.where.",
        ),
        (
            calls(lambda m, x: m.layer(x) * x.mean().item()),
            f"{BRANCH}, however: it calls .item() or branches on a tensor. Write it with torch.where.",
        ),
        (calls(lambda m, x: (m.layer(x), x)), "A network must return one tensor, however: tuple. Return the logits."),
        (calls(lambda m, x: {"a": m.layer(x)}), "A network must return one tensor, however: dict. Return the logits."),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 2))),
            "Every operation of a network must be one that vmap can batch, however: aten::div.out is not.",
        ),
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
def test_a_network_that_cannot_be_stacked_is_told_why_and_what_to_do(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        train(make)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({}, Y + 1, "A class or category code must count from 0 and be smaller than what the network has places for"),
        ({}, Y[:, None], "cross_entropy needs logits [B, C] and class codes [B] (int64), however: output [16, 2], "),
        ({}, Y.float(), "cross_entropy needs logits [B, C] and class codes [B] (int64), however: output [16, 2], "),
        (
            {"loss": Loss(name="cross_entropy", class_weights=(1, 2, 3))}, Y,
            "class_weights must hold one weight per class, however: 3 weights for 2 classes.",
        ),
        ({"loss": "mse"}, Y, "output and target must have one shape (a last axis of 1 aside), however: output [16, 2]"),
        (
            {"loss": lambda output, target: F.cross_entropy(output, target, reduction="none")}, Y,
            "The loss must be one number per batch, however: it returns several. Take their mean.",
        ),
    ],
)  # fmt: skip
def test_a_target_that_does_not_fit_is_told_with_both_shapes(settings: dict[str, Any], y: Tensor, message: str) -> None:
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


def test_a_recurrent_layer_without_a_batching_rule_is_named() -> None:
    form = nn.ModuleDict({"cells": nn.LSTM(3, 4), "out": nn.Linear(4, 2)})
    assert explain("Batching rule not implemented for aten::_cudnn_rnn; the fallback path", form) == (
        "Recurrent layers cannot be stacked yet, however: cells (LSTM). Take a network without recurrence."
    )


@pytest.mark.filterwarnings("ignore:There is a performance drop")
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
