"""Which networks have a written-out form, what is said of those that have none, and which executor a stack takes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lockstep
from lockstep.engine.backprop import NotWritten, written
from lockstep.engine.backprop.linear import Linear
from lockstep.engine.executors import Objective, by_chain_rule, pick
from lockstep.engine.plan import Choice, counted
from lockstep.engine.stack import lift
from lockstep.engine.step import Resident
from lockstep.errors import SpecError
from lockstep.network.losses import LOSSES

Rng = np.random.Generator


class Own(nn.Module):
    """A user's module with this forward."""

    def __init__(self, forward: Callable[["Own", Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 6), nn.Linear(6, 2), nn.BatchNorm1d(6)
        self.drop, self.gain = nn.Dropout(0.5), nn.Parameter(torch.ones(6))
        self.register_buffer("seen", torch.zeros(()))
        self.body = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    net[1].weight = net[0].weight
    return net


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    net[1].register_forward_hook(lambda _module, _inputs, output: 2 * output)
    return net


def twice(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 6), module, nn.Linear(6, 6), module, nn.Linear(6, 2))


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


REFUSED = {
    "a branch": (lambda: Own(lambda m, x: m.second(x + m.first(x))), "takes more than what the layer before gives"),
    "a value twice": (lambda: Own(lambda m, x: m.second((h := m.first(x)) + h)), "no chain: add"),
    "a choice by value": (lambda: Own(lambda m, x: m.second(x) if x.sum() > 0 else m.first(x)), "cannot be followed"),
    "F.dropout": (lambda: Own(lambda m, x: m.second(F.dropout(x, 0.1))), "dropout has no written-out form"),
    "a bare parameter": (lambda: Own(lambda m, x: m.second(x * m.gain)), "gain is no parameter of a layer"),
    "a change in place": (lambda: Own(lambda m, x: (m.seen.add_(1), m.second(x))[1]), "no chain: add_"),
    "nothing to learn": (lambda: Own(lambda _, x: torch.relu(x)), "none of its layers has anything to learn"),
    "two outputs": (lambda: Own(lambda m, x: (m.second(x), x)), "returns more"),
    "a layer called twice": (lambda: Own(lambda m, x: m.second(m.first(m.first(x)))), "first is called twice"),
    "a module in two places": (lambda: twice(nn.BatchNorm1d(6)), "two layers share a parameter"),
    "a dropout in two places": (lambda: twice(nn.Dropout(0.1)), "one dropout stands in several places"),
    "tied weights": (tied, "two layers share a parameter"),
    "a hook": (hooked, "a hook may change"),
    "a layer of another kind": (lambda: nn.Sequential(nn.Linear(6, 2), nn.PReLU()), r"1 \(PReLU\) has no written-out"),
    "a subclass": (lambda: nn.Sequential(Doubled(6, 2)), "mul|no written-out form"),
    "a cumulative average": (
        lambda: nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2, momentum=None)), "1 .BatchNorm1d.* no written-out form"
    ),
    "a shape that does not fit": (lambda: nn.Sequential(nn.Linear(5, 2)), r"shape \[6\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_chain_of_known_layers_is_refused_with_the_reason(case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(NotWritten, match=reason):
        written(make(), (torch.zeros(4, 6),))


def test_two_inputs_are_refused() -> None:
    with pytest.raises(NotWritten, match="it has 2 inputs"):
        written(nn.Linear(6, 2), (torch.zeros(4, 6), torch.zeros(4, 6)))


def test_following_a_forward_leaves_the_users_module_as_it_is() -> None:
    module = Own(lambda m, x: setattr(m, "kept", x) or m.second(x))  # type: ignore[func-returns-value]
    before = set(vars(module))
    written(module, (torch.zeros(4, 6),))
    assert set(vars(module)) == before


def test_a_class_that_nests_sequentials_is_a_chain_and_only_its_lowest_layer_sends_nothing_down() -> None:
    inner = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU())
    network = written(nn.Sequential(inner, nn.Dropout(0.1), nn.Linear(4, 3)), (torch.zeros(5, 3, 4),))
    linears = [layer for layer in network.layers if isinstance(layer, Linear)]
    assert linears == [Linear("0.1.weight", "0.1.bias", lowest=True), Linear("2.weight", "2.bias")]
    assert network.output == (3,)


def objective(rng: Rng, loss: str = "cross_entropy", targets: Tensor | None = None) -> Objective:
    x = torch.from_numpy(rng.normal(size=(40, 6))).float()
    own = torch.from_numpy(rng.integers(2, size=40)) if targets is None else targets
    return Objective(loss, LOSSES.get(loss, lambda output, target, _: (output - target).mean()), Resident((x,), own))


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def test_auto_takes_kernels_for_a_chain_and_eager_for_anything_else(rng: Rng) -> None:
    assert pick("auto", chain(), objective(rng))[0] == "compiled"
    name, reason = pick("auto", nn.Sequential(nn.Linear(6, 2), nn.PReLU()), objective(rng))
    assert (name, "PReLU" in reason) == ("eager", True)
    assert pick("auto", chain(), objective(rng, loss=""))[0] == "eager"
    assert pick("auto", chain(), objective(rng), mapped=False)[0] == "eager"
    assert pick("eager", chain(), objective(rng))[0] == "eager"


def test_backprop_asked_for_where_it_cannot_be_is_an_error_that_says_why(rng: Rng) -> None:
    with pytest.raises(SpecError, match=r"executor=backprop needs .* however: 1 \(PReLU\).* Take executor=auto\."):
        pick("backprop", nn.Sequential(nn.Linear(6, 2), nn.PReLU()), objective(rng))
    with pytest.raises(SpecError, match="a function of your own"):
        pick("backprop", chain(), objective(rng, loss=""))
    with pytest.raises(SpecError, match=r"cross_entropy does not take an output of shape \[2\] with such targets"):
        pick("backprop", chain(), objective(rng, targets=torch.zeros(40)))
    with pytest.raises(SpecError, match=r"executor must be auto, eager, .*, compiled or cudagraph, however: 'fast'"):
        pick("fast", chain(), objective(rng))


def test_a_plan_lists_each_executor_once_with_how_many_stacks_it_has() -> None:
    one, other = Choice("executor", "backprop", "why"), Choice("executor", "eager", "for")
    assert counted([one, one]) == [one]
    several = counted([one, other, one])
    assert [(c.value, c.reason) for c in several] == [
        ("backprop for 2 of 3 stacks", "why"), ("eager for 1 of 3 stacks", "for")
    ]  # fmt: skip


def test_gradients_come_by_name_in_each_parameters_shape(rng: Rng) -> None:
    modules = [chain() for _ in range(3)]
    stack, own = lift(modules, torch.device("cpu")), objective(rng)
    inputs, target = own.data.batch(torch.arange(40).expand(3, -1))
    gradients = by_chain_rule(stack, own)
    flat, losses, _ = gradients(stack.params, {}, torch.zeros(3, 0), inputs, target, {})
    for k, module in enumerate(modules):
        loss = F.cross_entropy(module(own.data.inputs[0]), own.data.targets)
        loss.backward()
        torch.testing.assert_close(losses[k], loss.detach())
        for name, p in module.named_parameters():
            torch.testing.assert_close(stack.layout.views(flat)[name][k], p.grad)


def test_train_refuses_before_anything_is_trained_and_trains_alike_by_either(rng: Rng) -> None:
    x = torch.from_numpy(rng.normal(size=(60, 6)))
    y = (x[:, 0] > 0).long()
    with pytest.raises(SpecError, match="executor=backprop needs"):
        lockstep.train(chain, (x, y), loss=F.cross_entropy, executor="backprop", quiet=True)
    ends = [
        lockstep.train(lambda: chain().double(), (x, y), epochs=3, folds=3, executor=executor, quiet=True)
        for executor in ("eager", "backprop", "auto")
    ]
    for other in ends[1:]:
        np.testing.assert_allclose(other.predict(x), ends[0].predict(x), rtol=1e-9, atol=1e-12)
