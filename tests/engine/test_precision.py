"""Which precision the plan takes unasked: a coarser one only where it was measured to be faster and to do no harm."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planned import Setting
from torch import nn

from lockstep.engine import machine, precision
from lockstep.engine.executors import EXECUTORS
from lockstep.engine.loop import Problem
from lockstep.engine.plan import Plan
from lockstep.engine.population import make_population
from lockstep.engine.precision import Paced, judged
from lockstep.engine.stack import lift
from lockstep.engine.state import fresh_state, rule_of
from lockstep.engine.streams import epoch_rows
from lockstep.engine.tables import epoch_tables
from lockstep.engine.train import Way, train_population
from lockstep.engine.trial import paced, trial_of
from lockstep.spec import OneCycleLR

CPU = torch.device("cpu")
Rng = np.random.Generator


def regression(rng: Rng, far: float = 0.0) -> Setting:
    """Ten networks on columns around ``far``, which see at once what that hides from coarse numbers."""

    def network() -> nn.Module:
        first = nn.Linear(6, 1)
        with torch.no_grad():
            first.weight.fill_(1.0)
            first.bias.fill_(-6.0 * far)
        return nn.Sequential(first)

    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = x.sum(axis=1) + rng.normal(scale=0.5, size=200).astype(np.float32)
    inputs, targets = torch.from_numpy(x + np.float32(far)), torch.from_numpy(y[:, None])
    return Setting(network, inputs, targets, "mse", K=10, epochs=6, batch_size=16, train=150)


@pytest.fixture
def setting(rng: Rng) -> Setting:
    return regression(rng)


@pytest.fixture
def has_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "WORTH", 0.0)
    monkeypatch.setattr(precision, "SHARE", 1.0)


@pytest.fixture
def coarse_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose products in bfloat16 take half the time, whatever they take on this one."""

    def half(modules: Any, members: Any, problem: Problem, steps: int, **_: float) -> Paced:
        assert 5 <= steps <= 9
        own = paced(modules, members, problem, steps)
        return Paced(0.5 if problem.precision == "bfloat16" else 1.0, own.loss)

    monkeypatch.setattr(precision, "paced", half)


def chosen(plan: Plan) -> tuple[str, str]:
    (one,) = [choice for choice in plan.choices if choice.choice == "precision"]
    return one.value, one.reason


@pytest.mark.usefixtures("has_products", "coarse_is_fast")
def test_bfloat16_is_taken_where_it_is_faster_and_as_good_and_the_plan_says_by_how_much(setting: Setting) -> None:
    plan = setting.plan()
    value, reason = chosen(plan)
    assert value == "bfloat16"
    assert reason.startswith("measured: bfloat16: 2 × as fast as float32, loss ")
    assert reason.endswith("; weights, sums and statistics stay float32")
    assert plan.ways == (Way("eager", "bfloat16", 10),)
    trained = train_population(setting.population, setting.modules, setting.problem, CPU, plan.ways)
    assert set(trained.ended.values()) == {"finished"}


@pytest.mark.usefixtures("has_products", "coarse_is_fast")
def test_bfloat16_is_left_where_the_loss_suffers(rng: Rng) -> None:
    value, reason = chosen(regression(rng, far=100.0).plan())
    assert value == "float32"
    assert reason.startswith("that of the weights; measured: bfloat16: 2 × as fast as float32, loss ")


@pytest.mark.usefixtures("has_products")
def test_what_is_asked_for_is_not_measured(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "paced", None)
    assert chosen(setting.plan(precision="float32")) == ("float32", "asked for")
    assert chosen(setting.plan(precision="bfloat16"))[0] == "bfloat16"
    value, reason = chosen(setting.plan(executor="backprop"))
    assert value == "float32"
    assert reason == "that of the weights; executor=backprop was asked for, and it has no products in bfloat16"


@pytest.mark.usefixtures("has_products")
def test_a_run_that_is_over_soon_is_not_worth_measuring(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "WORTH", 1000.0)
    value, reason = chosen(setting.plan())
    assert (value, reason) == ("float32", "that of the weights; over too soon for another one to be worth measuring")


@pytest.mark.usefixtures("has_products")
def test_networks_that_cannot_take_a_step_keep_the_precision_of_their_weights(setting: Setting) -> None:
    setting.modules = [nn.Sequential(nn.Linear(5, 1)) for _ in setting.modules]
    value, reason = chosen(setting.plan(executor="eager"))
    assert value == "float32"
    assert reason.startswith("that of the weights; not measured: Expected size")


def test_a_machine_without_such_products_says_so(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda _: False)
    assert chosen(setting.plan()) == ("float32", "that of the weights; this cpu has no products in bfloat16")


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ({"bfloat16": Paced(0.8, 0.6931)}, "bfloat16"),
        ({"bfloat16": Paced(0.95, 0.6931)}, "float32"),  # as fast but for noise
        ({"bfloat16": Paced(0.5, 0.75)}, "float32"),
        ({"bfloat16": Paced(0.5, float("nan"))}, "float32"),
        ({"bfloat16": Paced(0.5, float("inf"))}, "float32"),
        ({"bfloat16": Paced(0.5, 0.1)}, "bfloat16"),
        ({"tf32": Paced(0.6, 0.6931), "bfloat16": Paced(0.5, 0.75)}, "tf32"),
        ({"tf32": Paced(0.6, 0.6931), "bfloat16": Paced(0.5, 0.6931)}, "bfloat16"),
    ],
)
def test_the_fastest_that_does_no_harm_is_taken(found: dict[str, Paced], taken: str) -> None:
    assert judged(Paced(1.0, 0.693), found)[0] == taken


@pytest.mark.usefixtures("has_products", "coarse_is_fast")
def test_one_precision_is_taken_for_all_stacks_as_measured_on_the_largest(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = [nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 1)) for _ in setting.modules[:3]]
    setting.modules = [*wide, *setting.modules[3:]]
    half, measured = precision.paced, []

    def noted(modules: Any, members: Any, problem: Problem, *rest: Any, **limit: float) -> Paced:
        measured.append((len(modules), len(modules[0]), problem.precision))
        return half(modules, members, problem, *rest, **limit)

    monkeypatch.setattr(precision, "paced", noted)
    plan = setting.plan(at_once=2)
    assert chosen(plan)[0] == "bfloat16"
    assert plan.ways == (Way("eager", "bfloat16", 2), Way("eager", "bfloat16", 2))
    assert measured == [(2, 3, "float32"), (2, 3, "bfloat16")]  # no more than train at once


@pytest.mark.usefixtures("has_products")
def test_what_fails_in_one_precision_leaves_the_others(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "coarser", lambda _: ("tf32", "bfloat16"))

    def some(_modules: Any, _members: Any, problem: Problem, _steps: int, **_: float) -> Paced:
        if problem.precision == "bfloat16":
            raise RuntimeError("no such product. At all.")
        return Paced(1.0 if problem.precision == "float32" else 0.7, 0.5)

    monkeypatch.setattr(precision, "paced", some)
    value, reason = chosen(setting.plan())
    assert value == "tf32"
    assert reason == (
        "measured: tf32: 1.4 × as fast as float32, loss 0.5 where it was 0.5; "
        "bfloat16 cannot be measured: no such product; weights, sums and statistics stay float32"
    )


def test_a_first_pass_that_takes_too_long_is_the_only_one(setting: Setting) -> None:
    own = replace(setting.problem([]), executor="eager")
    passes = []

    class Counted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            passes.append(1)
            return super().forward(x)

    modules, members = [Counted(6, 1)], setting.population.training[:1]
    paced(modules, members, own, 4)
    assert len(passes) == 3 * 4
    paced(modules, members, own, 4, limit=0.0)
    assert len(passes) == 3 * 4 + 4


def test_steps_are_those_that_training_begins_with(rng: Rng) -> None:
    setting = regression(rng)
    spec = setting.population.members[0].spec.replace("schedule", OneCycleLR())
    population = make_population(spec, [(np.arange(150), np.arange(150, 200))])
    members, own = population.training[:2], replace(setting.problem([]), executor="eager")
    trial = trial_of(setting.modules[:2], members, own, 4)
    _, first = trial.steps()
    stack = lift(setting.modules[:2], CPU)
    rule = rule_of(spec, stack)
    state, runner = fresh_state(stack, rule), EXECUTORS["eager"].runner(stack, own.objective, rule)
    rows = torch.from_numpy(epoch_rows(members, 0, members[0].steps, 16))
    tables, _ = epoch_tables(members, rule, 0, {}, 0, members[0].steps, stack.params)
    losses = runner.steps(state, rows, tables)[0]
    assert torch.equal(first, losses[:4])


def test_steps_are_taken_in_the_precision_of_the_problem_and_change_no_network(setting: Setting) -> None:
    before = [p.clone() for module in setting.modules for p in module.parameters()]
    own = replace(setting.problem([]), executor="eager")
    members = setting.population.training
    exact = paced(setting.modules[:2], members[:2], own, 3)
    again = paced(setting.modules[:2], members[:2], own, 3)
    coarse = paced(setting.modules[:2], members[:2], replace(own, precision="bfloat16"), 3)
    assert exact.loss == again.loss
    assert exact.loss != coarse.loss
    assert exact.seconds > 0
    after = [p for module in setting.modules for p in module.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
