"""Modules go into a stack and come out of it as they were."""

import copy
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from lockstep.engine.stack import Layout, Stack, flattened, lift, lift_groups
from lockstep.engine.structure import structure
from lockstep.network.layers.dropout import KeyedDropout

CPU = torch.device("cpu")
Rng = np.random.Generator


class Tied(nn.Module):
    """An autoencoder of sorts: the same matrix forth and back."""

    def __init__(self) -> None:
        super().__init__()
        self.forth, self.back = nn.Linear(4, 4), nn.Linear(4, 4)
        self.back.weight = self.forth.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.back(torch.tanh(self.forth(x)))


class Frozen(nn.Module):
    """A fixed projection, a scalar parameter, a buffer, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Parameter(torch.randn(4, 4), requires_grad=False)
        self.gain = nn.Parameter(torch.randn(()))
        self.register_buffer("shift", torch.randn(4))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.norm(x @ self.fixed + self.shift)


class Stopped(nn.Module):
    """Where the gradient does not go back all the way, and a gradient within the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        with torch.no_grad():
            level = self.second(h).mean()
        slope = grad(lambda x: self.second(x).square().sum())(x)
        return self.second(h) * level + h.detach() * self.first.weight.sum() + slope


def twice() -> nn.Module:
    """One layer that stands in two places."""
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def dropped() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.6)))


def recurrent(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = kind(2, 4, num_layers=2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cells(x.unflatten(1, (2, 2)))[0][:, -1]

    return Last


MODULES: dict[str, Callable[[], nn.Module]] = {
    "tied": Tied, "frozen": Frozen, "twice": twice, "dropped": dropped, "stopped": Stopped
}  # fmt: skip


def modules(name: str, count: int = 3) -> list[nn.Module]:
    return [MODULES[name]().double() for _ in range(count)]


def test_views_and_join_are_inverse(rng: Rng) -> None:
    shapes = tuple(torch.Size(shape) for shape in [(3, 2), (), (4,), (1, 1, 2)])
    layout = Layout(("a", "b.c", "d", "e"), shapes)
    flat = torch.from_numpy(rng.normal(size=(5, layout.total)))
    views = layout.views(flat)
    assert layout.sizes == [6, 1, 4, 2]
    assert {name: view.shape for name, view in views.items()} == {
        name: torch.Size([5, *shape]) for name, shape in zip(layout.names, shapes, strict=True)
    }
    assert torch.equal(layout.join(views), flat)
    assert all(view.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr() for view in views.values())
    for name, view in layout.views(flat[2]).items():
        assert torch.equal(view, views[name][2])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("rng")
def test_what_is_taken_out_of_a_stack_is_what_went_in(name: str) -> None:
    originals = modules(name)
    stack = lift(originals, CPU)
    for k, original in enumerate(originals):
        buffers = {key: buffer[k] for key, buffer in stack.buffers.items()}
        out = stack.taken_out(k, stack.params[k], buffers)
        held = stack.state_dict(k, stack.params[k], buffers)
        assert type(out) is type(original)
        assert out is not original
        assert not out.training
        assert original.training
        assert [type(m) for m in out.modules()] == [type(m) for m in original.modules()]
        assert [m.p for m in out.modules() if isinstance(m, nn.Dropout)] == [
            m.p for m in original.modules() if isinstance(m, nn.Dropout)
        ]
        expected = original.state_dict()
        assert list(out.state_dict()) == list(expected)
        assert all(torch.equal(value, expected[key]) for key, value in out.state_dict().items())
        assert list(held) == list(expected)
        assert all(torch.equal(value, expected[key]) for key, value in held.items())
        assert [p.requires_grad for p in out.parameters()] == [p.requires_grad for p in original.parameters()]
        assert torch.equal(flattened(original, stack.layout), stack.params[k])


@pytest.mark.usefixtures("rng")
def test_what_is_taken_out_has_the_weights_it_is_given_and_still_shares_what_was_shared() -> None:
    stack = lift(modules("tied"), CPU)
    params = torch.randn(stack.layout.total, dtype=torch.float64)
    out = stack.taken_out(1, params, {})
    assert isinstance(out, Tied)
    assert out.back.weight is out.forth.weight
    assert torch.equal(flattened(out, stack.layout), params)
    held = stack.state_dict(1, params, {})
    assert list(held) == list(out.state_dict())
    assert all(torch.equal(value, held[key]) for key, value in out.state_dict().items())


@pytest.mark.usefixtures("rng")
def test_lifting_leaves_the_modules_alone() -> None:
    originals = modules("dropped")
    before = [copy.deepcopy(module.state_dict()) for module in originals]
    lift(originals, CPU).params.zero_()
    for module, state in zip(originals, before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
        assert not any(isinstance(part, KeyedDropout) for part in module.modules())


def gradients(stack: Stack, x: Tensor, *, training: bool) -> tuple[dict[str, Tensor], Tensor]:
    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        return stack.call(params, buffers, (x,), training=training).square().mean(), x.sum()

    grads, (losses, _) = stack.backward(loss, plain=True)(stack.layout.views(stack.params), stack.buffers, x)
    return grads, losses


@pytest.mark.parametrize("name", ["tied", "frozen", "twice", "stopped"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("rng")
def test_a_stack_has_the_losses_and_gradients_of_its_modules(name: str, training: bool) -> None:
    originals = modules(name)
    stack, x = lift(originals, CPU), torch.randn(3, 6, 4, dtype=torch.float64)
    grads, losses = gradients(stack, x, training=training)
    for k, module in enumerate(originals):
        loss = module.train(training)(x[k]).square().mean()
        loss.backward()
        torch.testing.assert_close(losses[k], loss.detach(), rtol=1e-12, atol=0)
        own = {key: p.grad for key, p in module.named_parameters() if p.requires_grad}
        assert set(own) == set(grads)
        for key, gradient in own.items():
            torch.testing.assert_close(grads[key][k], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.usefixtures("rng")
def test_recurrent_layers_have_the_gradients_that_they_have_alone(kind: type[nn.Module]) -> None:
    """torch runs the LSTM of each member in turn, and says so; the numbers are right."""
    originals = [recurrent(kind)().double() for _ in range(3)]
    stack, x = lift(originals, CPU), torch.randn(3, 6, 4, dtype=torch.float64)
    grads, _ = gradients(stack, x, training=True)
    for k, module in enumerate(originals):
        module(x[k]).square().mean().backward()
        for key, p in module.named_parameters():
            torch.testing.assert_close(grads[key][k], p.grad, rtol=1e-10, atol=1e-12)


class StraightThrough(torch.autograd.Function):
    """Its own rule for all members is made of operations that have no gradient."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 3 * gradient

    @staticmethod
    def vmap(_: Any, dims: Any, x: Tensor) -> tuple[Tensor, int]:
        return x.round(), dims[0]


class Between(nn.Module):
    """A user's layers, with something of his own between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(4, 4), nn.Linear(4, 4), between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))


def hooked(h: Tensor) -> Tensor:
    if h.requires_grad:
        h.register_hook(lambda gradient: 2 * gradient)
    return 1 * h


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 3, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.words((x > 0).long() + (x > 1).long())


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.norm = nn.GRU(2, 4, batch_first=True), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.cells(x.unflatten(1, (2, 2)))[0][:, -1])


@pytest.mark.parametrize(("make", "plain"), [
    (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 4)), True),
    (lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3), nn.GroupNorm(2, 2), nn.Flatten()), True),
    (lambda: Between(torch.tanh), False),
    (lambda: Between(hooked), False),
    (lambda: Between(StraightThrough.apply), False),
    (Embedded, False),
    (lambda: nn.Sequential(nn.Linear(4, 4), Embedded()), False),
    (Normed, False),
])  # fmt: skip
@pytest.mark.usefixtures("rng")
def test_whatever_a_user_does_with_gradients_they_are_those_of_the_network_alone(
    make: Callable[[], nn.Module], plain: bool
) -> None:
    originals = [make().double() for _ in range(3)]
    stack, x = lift(originals, CPU), torch.randn(3, 6, 4, dtype=torch.float64)
    assert stack.plain == plain
    grads, _ = gradients(stack, x, training=True)
    for k, module in enumerate(originals):
        module.train()(x[k]).square().mean().backward()
        for key, p in module.named_parameters():
            torch.testing.assert_close(grads[key][k], torch.zeros_like(p) if p.grad is None else p.grad)


@pytest.mark.parametrize("change", ["class", "hook", "forward", "function"])
def test_a_network_that_runs_code_of_its_users_is_not_plain(change: str) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert lift([network], CPU).plain
    assert not lift([nn.Sequential(network, nn.TransformerEncoderLayer(4, 1, 4))], CPU).plain
    match change:
        case "class":
            network[1] = Tied()
        case "hook":
            network[0].register_forward_hook(lambda *seen: seen[-1])
        case "forward":
            network[1].forward = lambda x: x
        case "function":
            network[1].extra = lambda x: 1 * x
    assert not lift([network], CPU).plain


def test_plain_gradients_do_not_load_torchs_compiler() -> None:
    code = """
import sys, torch
from torch import nn
from lockstep.engine.executors.eager import autograd_gradients
from lockstep.engine.stack import lift
from lockstep.network.losses import LOSSES
stack = lift([nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)) for _ in range(2)],
             torch.device("cpu"))
gradients = autograd_gradients(stack, LOSSES["cross_entropy"], plain=True)
keys = torch.zeros(2, 0, dtype=torch.int32)
found, *_ = gradients(stack.params, {}, keys, (torch.randn(2, 5, 1, 6),), torch.zeros(2, 5, dtype=torch.int64), {})
assert found.abs().sum() > 0
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def slope(alpha: float) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(alpha))


class Own(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor], sizes: tuple[int, ...] = (4,)) -> None:
        super().__init__()
        self.act, self.sizes, self.layer = act, list(sizes), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x))


@pytest.mark.parametrize(
    "pair",
    [
        (lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 5)),
        (lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4, bias=False)),
        (lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4).double()),
        (lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4).requires_grad_(False)),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh())),
        (lambda: slope(0.1), lambda: slope(0.9)),
        (lambda: nn.Conv2d(1, 2, 3, padding=1), lambda: nn.Conv2d(1, 2, 3, padding=0)),
        (lambda: nn.GELU("none"), lambda: nn.GELU("tanh")),
        (lambda: Own(torch.tanh), lambda: Own(torch.relu)),
        (lambda: Own(lambda x: x + 1), lambda: Own(lambda x: x + 2)),
        (lambda: Own(torch.tanh, (4,)), lambda: Own(torch.tanh, (4, 4))),
        (twice, lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))),
    ],
)
def test_modules_that_differ_in_more_than_numbers_have_another_structure(
    pair: tuple[Callable[[], nn.Module], Callable[[], nn.Module]],
) -> None:
    a, b = pair
    assert structure(a()) == structure(a())
    assert structure(b()) == structure(b())
    assert structure(a()) != structure(b())


def test_each_structure_is_a_stack_with_its_members_in_order() -> None:
    made = [slope(alpha) for alpha in (0.1, 0.9, 0.1, 0.5, 0.9)]
    groups = list(lift_groups(made, CPU))
    assert [positions for _, positions in groups] == [[0, 2], [1, 4], [3]]
    for stack, positions in groups:
        assert [flattened(made[k], stack.layout).tolist() for k in positions] == stack.params.tolist()


@pytest.mark.parametrize("make", [dropped, Tied, Frozen, twice, lambda: Own(lambda x: x + 1), lambda: Own(torch.tanh)])
def test_modules_of_one_structure_are_one_stack(make: Callable[[], nn.Module]) -> None:
    assert [positions for _, positions in lift_groups([make() for _ in range(4)], CPU)] == [[0, 1, 2, 3]]


def test_modules_that_differ_in_their_dropout_rate_alone_are_one_stack() -> None:
    rates = itertools.count(1)
    made = [nn.Sequential(nn.Linear(4, 4), nn.Dropout(next(rates) / 10)) for _ in range(3)]
    (stack, positions), = lift_groups(made, CPU)  # fmt: skip
    assert positions == [0, 1, 2]
    torch.testing.assert_close(stack.buffers["1.scale"], 1 / (1 - torch.tensor([0.1, 0.2, 0.3])))


def test_kinds_that_differ_are_different_stacks() -> None:
    made = [nn.Linear(2, 2) for _ in range(4)]
    assert [positions for _, positions in lift_groups(made, CPU, ["a", "b", "a", "b"])] == [[0, 2], [1, 3]]


class Moving(nn.Module):
    """Centres its input by running means: one changed in place, one set anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
            self.mean = 0.9 * self.mean + 0.1 * self.layer(x).mean(0).detach()
        return self.layer(x) - self.mean


@pytest.mark.usefixtures("rng")
def test_buffers_move_whether_they_are_changed_in_place_or_set_anew() -> None:
    originals = [Moving().double() for _ in range(3)]
    stack, x = lift(originals, CPU), torch.randn(5, 3, 6, 4, dtype=torch.float64)

    def forward(params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        stack.call(params, buffers, (x,), training=True)
        return buffers

    buffers = stack.buffers
    for batch in x:
        buffers = vmap(forward)(stack.layout.views(stack.params), buffers, batch)
    for k, module in enumerate(originals):
        for batch in x:
            module.train()(batch[k])
        assert float(buffers["count"][k]) == 5
        torch.testing.assert_close(buffers["mean"][k], module.mean, rtol=1e-12, atol=0)


class Fourier(nn.Module):
    """Random features in a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self._frequencies = torch.randn(5, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sin(x @ self._frequencies))


def test_a_tensor_that_is_no_buffer_stays_its_own_members() -> None:
    torch.manual_seed(0)
    modules = [Fourier(), Fourier()]
    stacks = list(lift_groups(modules, torch.device("cpu")))
    assert [positions for _, positions in stacks] == [[0], [1]]
    shared = [Fourier(), Fourier()]
    shared[1]._frequencies = shared[0]._frequencies.clone()
    assert len(list(lift_groups(shared, torch.device("cpu")))) == 1


def test_a_parameter_in_a_plain_list_stays_its_own_members() -> None:
    def gained(by: float) -> nn.Module:
        module = nn.Linear(2, 2)
        module.gains = [nn.Parameter(torch.tensor([by]))]  # type: ignore[assignment]
        return module

    assert structure(gained(2.0)) == structure(gained(2.0))
    assert structure(gained(2.0)) != structure(gained(3.0))


def test_functions_compare_by_what_they_close_over() -> None:
    def scaled(by: float) -> nn.Module:
        module = nn.Linear(2, 2)
        module.scale = lambda x: x * by  # type: ignore[assignment]
        return module

    assert structure(scaled(2.0)) == structure(scaled(2.0))
    assert structure(scaled(2.0)) != structure(scaled(3.0))


def test_functions_compare_by_the_defaults_of_what_goes_by_name_alone() -> None:
    def scaled(by: float) -> nn.Module:
        module = nn.Linear(2, 2)
        module.scale = lambda x, *, by=by: x * by  # type: ignore[assignment]
        return module

    assert structure(scaled(2.0)) == structure(scaled(2.0))
    assert structure(scaled(2.0)) != structure(scaled(3.0))


def test_recurrent_layers_share_a_stack() -> None:
    assert structure(nn.LSTM(3, 4)) == structure(nn.LSTM(3, 4))


def test_a_class_made_anew_in_each_call_is_one_class_if_it_says_the_same() -> None:
    def make(power: int) -> nn.Module:
        class Local(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Linear(2, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.head(x**power)

        return Local()

    assert structure(make(2)) == structure(make(2))
    assert structure(make(2)) != structure(make(3))
