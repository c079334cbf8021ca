"""Each rule over a stack of members with numbers of their own, against one torch optimiser per member."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lockstep.optim import Rule, averaging, clip_factors, epoch_momenta, epoch_rates, rule_for, rules, sparing
from lockstep.spec import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineAnnealingLR,
    ExponentialLR,
    OneCycleLR,
    Optimizer,
    RMSprop,
    StepLR,
)

K, SHAPES, EPOCHS, STEPS = 5, ((3, 4), (4,), ()), 10, 5
P = sum(int(np.prod(shape)) for shape in SHAPES)


def draw(kind: type, rng: np.random.Generator, **given: Any) -> Optimizer:
    numbers = {
        SGD: {"lr": rng.uniform(0.001, 0.1)},
        RMSprop: {"lr": rng.uniform(0.001, 0.02), "alpha": rng.uniform(0.8, 0.99), "eps": 10 ** rng.uniform(-8, -4)},
        Adam: {"lr": rng.uniform(0.001, 0.1)} | adam_numbers(rng),
        AdamW: {"lr": rng.uniform(0.001, 0.1)} | adam_numbers(rng),
    }[kind]
    return kind(**numbers | {name: value(rng) if callable(value) else value for name, value in given.items()})  # type: ignore[no-any-return]


def adam_numbers(rng: np.random.Generator) -> dict[str, float]:
    return {"beta1": rng.uniform(0.5, 0.95), "beta2": rng.uniform(0.9, 0.999), "eps": 10 ** rng.uniform(-10, -4)}


def uniform(low: float, high: float) -> Any:
    return lambda rng: float(rng.uniform(low, high))


def mixed(rng: np.random.Generator) -> float:
    """Zero for some members and not for others, in one stack."""
    return float(rng.choice([0.0, 0.5, 0.9]))


CASES: dict[str, tuple[type, dict[str, Any]]] = {
    "sgd": (SGD, {}),
    "sgd momentum": (SGD, {"momentum": mixed}),
    "sgd dampening": (SGD, {"momentum": mixed, "dampening": uniform(0, 1)}),
    "sgd weight decay": (SGD, {"momentum": mixed, "weight_decay": uniform(0, 0.1)}),
    "sgd nesterov": (SGD, {"momentum": uniform(0.1, 0.95), "weight_decay": uniform(0, 0.1), "nesterov": True}),
    "rmsprop": (RMSprop, {}),
    "rmsprop momentum": (RMSprop, {"momentum": mixed, "weight_decay": uniform(0, 0.1)}),
    "rmsprop centred": (RMSprop, {"momentum": mixed, "centered": True, "eps": 1e-2}),
    "adam": (Adam, {}),
    "adam weight decay": (Adam, {"weight_decay": uniform(0, 0.1)}),
    "adamw": (AdamW, {"weight_decay": uniform(0, 0.5)}),
    "adamw without decay": (AdamW, {"weight_decay": 0.0}),
}
SCHEDULES = {
    "constant": Constant(),
    "step": StepLR(step_size=3, gamma=0.5),
    "exponential": ExponentialLR(gamma=0.8),
    "cosine": CosineAnnealingLR(),
    "cosine shorter than the run": CosineAnnealingLR(T_max=4, eta_min=1e-4),
    "cosine longer than the run": CosineAnnealingLR(T_max=25),
    "one cycle, of rate and momentum": OneCycleLR(base_momentum=0.6),
}


def torch_optimizer(spec: Optimizer, parameters: list[Any]) -> torch.optim.Optimizer:
    match spec:
        case SGD():
            return torch.optim.SGD(
                parameters, spec.lr, spec.momentum, spec.dampening, spec.weight_decay, nesterov=spec.nesterov
            )
        case RMSprop():
            return torch.optim.RMSprop(
                parameters, spec.lr, spec.alpha, spec.eps, spec.weight_decay, spec.momentum, spec.centered
            )
        case Adam():
            return torch.optim.Adam(parameters, spec.lr, (spec.beta1, spec.beta2), spec.eps, spec.weight_decay)
    return torch.optim.AdamW(parameters, spec.lr, (spec.beta1, spec.beta2), spec.eps, spec.weight_decay)


def torch_schedule(spec: Any, optimizer: torch.optim.Optimizer) -> Any:
    match spec:
        case Constant():
            return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case StepLR():
            return torch.optim.lr_scheduler.StepLR(optimizer, spec.step_size, spec.gamma)
        case ExponentialLR():
            return torch.optim.lr_scheduler.ExponentialLR(optimizer, spec.gamma)
        case OneCycleLR():
            top = optimizer.param_groups[0]["lr"]
            return torch.optim.lr_scheduler.OneCycleLR(optimizer, top, EPOCHS * STEPS, base_momentum=0.6)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.T_max or EPOCHS, spec.eta_min)


def gradients(params: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Of a loss that the weights matter to, so that a wrong step shows in all that follow."""
    return torch.tanh(params - targets) + noise


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("case", CASES)
def test_over_50_steps_every_member_moves_as_its_own_torch_optimiser_moves_it(
    case: str, schedule: str, rng: np.random.Generator
) -> None:
    kind, given = CASES[case]
    specs = [draw(kind, rng, **given) for _ in range(K)]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    start, targets = torch.randn(2, K, P, generator=generator, dtype=torch.float64)
    noise = torch.randn(EPOCHS * STEPS, K, P, generator=generator, dtype=torch.float64) * 0.1

    rule, params = rule_for(specs[0]), start.clone()
    moments = {name: torch.zeros_like(params) for name in rule.moments}
    numbers = {
        name: torch.tensor([getattr(spec, name) for spec in specs], dtype=torch.float64)
        for name, value in specs[0]._fields().items()
        if isinstance(value, float)
    }
    own_numbers = {
        name: torch.full((K,), value, dtype=torch.float64)
        for name, value in SCHEDULES[schedule]._fields().items()
        if isinstance(value, float)
    }
    for epoch in range(EPOCHS):
        given_numbers = own_numbers | {"lr": numbers["lr"]}
        rates = epoch_rates(SCHEDULES[schedule], given_numbers, epoch, EPOCHS, STEPS)
        momenta = epoch_momenta(SCHEDULES[schedule], given_numbers, epoch, EPOCHS, STEPS)
        moved = {} if momenta is None else {"momentum": momenta, "beta1": momenta}
        factors = rule.coefficients(numbers | moved, rates, epoch * STEPS)
        for s in range(STEPS):
            grads = gradients(params, targets, noise[epoch * STEPS + s])
            rule.update(params, grads, moments, {name: factor[s][:, None] for name, factor in factors.items()})

    for k, spec in enumerate(specs):
        own = start[k].clone()
        optimizer = torch_optimizer(spec, [own])
        scheduler = torch_schedule(SCHEDULES[schedule], optimizer)
        for epoch in range(EPOCHS):
            for s in range(STEPS):
                own.grad = gradients(own, targets[k], noise[epoch * STEPS + s, k])
                optimizer.step()
                if isinstance(SCHEDULES[schedule], OneCycleLR):
                    scheduler.step()
            if not isinstance(SCHEDULES[schedule], OneCycleLR):
                scheduler.step()
        assert float((params[k] - own).norm() / own.norm()) < 1e-12, spec


@pytest.mark.parametrize("case", [case for case, (_, given) in CASES.items() if "weight_decay" in given])
def test_a_spared_parameter_is_in_a_group_of_torchs_without_weight_decay(case: str, rng: np.random.Generator) -> None:
    kind, given = CASES[case]
    specs = [draw(kind, rng, **given) for _ in range(K)]
    start, targets, noise = drawn(rng)
    decayed = torch.from_numpy(rng.integers(0, 2, P)).double()
    moved, _ = moved_by(sparing(rule_for(specs[0]), decayed), specs, start, targets, noise)
    for k, spec in enumerate(specs):
        groups = [
            {"params": [start[k, decayed == on].clone()]} | ({} if on else {"weight_decay": 0.0}) for on in (1, 0)
        ]
        optimizer = torch_optimizer(spec, groups)
        for step in range(50):
            for on, group in zip((1, 0), groups, strict=True):
                (own,) = group["params"]
                own.grad = gradients(own, targets[k, decayed == on], noise[step, k, decayed == on])
            optimizer.step()
        for on, group in zip((1, 0), groups, strict=True):
            torch.testing.assert_close(moved[k, decayed == on], group["params"][0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_the_average_beside_the_weights_is_torchs_averaged_model(case: str, rng: np.random.Generator) -> None:
    kind, given = CASES[case]
    specs, decays = [draw(kind, rng, **given) for _ in range(K)], torch.from_numpy(rng.uniform(0, 0.999, K))
    start, targets, noise = drawn(rng)
    moved, moments = moved_by(averaging(rule_for(specs[0])), specs, start, targets, noise, ema=decays)
    for k, spec in enumerate(specs):
        own = torch.nn.Parameter(start[k].clone())
        module = torch.nn.ParameterList([own])
        average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(float(decays[k])))
        optimizer = torch_optimizer(spec, list(module.parameters()))
        for step in range(50):
            own.grad = gradients(own.detach(), targets[k], noise[step, k])
            optimizer.step()
            average.update_parameters(module)
        torch.testing.assert_close(moved[k], own.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(moments["average"][k], next(average.parameters()).detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", [case for case, (kind, _) in CASES.items() if kind in (Adam, AdamW)])
def test_the_passes_of_a_gpu_move_members_as_torchs_kernel_for_a_cpu_does(
    case: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, given = CASES[case]
    specs = [draw(kind, rng, **given) for _ in range(K)]
    specs[0] = specs[0].model_copy(update={"lr": 0.0})
    begin = drawn(rng)
    by_kernel, kept = moved_by(rule_for(specs[0]), specs, *begin)
    monkeypatch.setattr(rules, "numbers_at_hand", lambda _: False)
    by_passes, kept_too = moved_by(rule_for(specs[0]), specs, *begin)
    torch.testing.assert_close(by_kernel, by_passes, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept, kept_too, rtol=1e-12, atol=1e-12)


def drawn(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights to start from and to go to ``[K, P]``, and what keeps 50 steps ``[50, K, P]`` from settling there."""
    start, targets = torch.from_numpy(rng.normal(size=(2, K, P)))
    return start, targets, torch.from_numpy(rng.normal(0, 0.1, (50, K, P)))


def moved_by(
    rule: Rule,
    specs: list[Optimizer],
    start: torch.Tensor,
    targets: torch.Tensor,
    noise: torch.Tensor,
    **more: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The weights after 50 steps of one rate, told to the rule in two parts as two epochs would be; the moments."""
    params, moments = start.clone(), {name: torch.zeros_like(start) for name in rule.moments}
    numbers = {
        name: torch.tensor([getattr(spec, name) for spec in specs], dtype=torch.float64)
        for name, value in specs[0]._fields().items()
        if isinstance(value, float)
    }
    for taken in (0, 25):
        factors = rule.coefficients(numbers | more, numbers["lr"].expand(25, -1), taken)
        for s in range(25):
            grads = gradients(params, targets, noise[taken + s])
            rule.update(params, grads, moments, {name: factor[s][:, None] for name, factor in factors.items()})
    return params, moments


def test_members_of_different_optimisers_have_different_rules() -> None:
    rules = {rule_for(spec) for spec in (SGD(), SGD(momentum=0.9, nesterov=True), Adam(), AdamW())}
    assert len(rules) == 4
    assert rule_for(SGD()) == rule_for(SGD(momentum=0.9))


@pytest.mark.parametrize("T_max", [None, 1, 3, 7, 40])
def test_cosine_rates_follow_torchs_over_the_whole_run_and_beyond_T_max(
    T_max: int | None, rng: np.random.Generator
) -> None:
    lrs, etas = rng.uniform(1e-4, 1, K), rng.uniform(0, 1e-4, K)
    etas[0] = 0.0
    epochs, numbers = 20, {"lr": torch.from_numpy(lrs), "eta_min": torch.from_numpy(etas)}
    ours = [epoch_rates(CosineAnnealingLR(T_max=T_max), numbers, epoch, epochs, 3) for epoch in range(epochs)]
    for k in range(K):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lrs[k])
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max or epochs, etas[k])
        for epoch in range(epochs):
            assert ours[epoch].shape == (3, K)
            np.testing.assert_allclose(ours[epoch][:, k], scheduler.get_last_lr()[0], rtol=1e-12, atol=1e-12 * lrs[k])
            optimizer.step()
            scheduler.step()


def test_a_constant_rate_stays() -> None:
    rates = epoch_rates(Constant(), {"lr": torch.tensor([0.1, 0.2], dtype=torch.float64)}, 7, 10, 4)
    assert rates.tolist() == [[0.1, 0.2]] * 4


def test_clipping_is_torchs_clip_grad_norm_per_member(rng: np.random.Generator) -> None:
    grads = torch.from_numpy(rng.normal(size=(K, P)) * 10.0 ** rng.integers(-3, 3, (K, 1)))
    limits = torch.from_numpy(10 ** rng.uniform(-2, 2, K))
    clipped = grads * clip_factors(grads.norm(dim=1), limits)[:, None]
    for k in range(K):
        own = torch.zeros(P, dtype=torch.float64, requires_grad=True)
        own.grad = grads[k].clone()
        torch.nn.utils.clip_grad_norm_([own], float(limits[k]))
        torch.testing.assert_close(clipped[k], own.grad, rtol=1e-12, atol=0)


def test_an_infinite_limit_clips_nothing_and_no_gradient_stays_none() -> None:
    norms = torch.tensor([1e30, 0.0, 5.0], dtype=torch.float64)
    assert clip_factors(norms, torch.full((3,), float("inf"), dtype=torch.float64)).tolist() == [1.0, 1.0, 1.0]


def test_a_clipped_gradient_is_never_longer_than_its_limit(rng: np.random.Generator) -> None:
    norms, limits = torch.from_numpy(rng.uniform(0, 10, 100)), torch.from_numpy(rng.uniform(0, 10, 100))
    assert (norms * clip_factors(norms, limits) <= limits).all()
