"""Each schedule for members with numbers of their own, against one of torch's per member, at every step of 1,000."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torchs

from lockstep.errors import SpecError
from lockstep.optim import Plateau, after_epoch, epoch_momenta, epoch_rates, fresh_plateau, unfinished
from lockstep.spec import (
    SGD,
    Adam,
    Constant,
    CosineAnnealingLR,
    CosineWarmup,
    Coslog4,
    ExponentialLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
    TrainSpec,
)

K, EPOCHS, STEPS = 3, 40, 25
TOTAL = EPOCHS * STEPS
Rng = np.random.Generator
Numbers = dict[str, torch.Tensor]


def one_cycle(rng: Rng, **given: Any) -> OneCycleLR:
    most, base = rng.uniform(0.9, 0.99), rng.uniform(0.5, 0.9)
    return OneCycleLR(
        pct_start=rng.uniform(0, 0.5), div_factor=rng.uniform(2, 50), final_div_factor=10 ** rng.uniform(0, 5),
        max_momentum=most, base_momentum=base, **given,
    )  # fmt: skip


MAKE: dict[str, Callable[[Rng], Schedule]] = {
    "constant": lambda _: Constant(),
    "step": lambda rng: StepLR(step_size=7, gamma=rng.uniform(0.1, 1.5)),
    "exponential": lambda rng: ExponentialLR(gamma=rng.uniform(0.7, 1.1)),
    "cosine": lambda rng: CosineAnnealingLR(eta_min=rng.uniform(0, 1e-3)),
    "cosine shorter than the run": lambda rng: CosineAnnealingLR(T_max=9, eta_min=rng.uniform(0, 1e-3)),
    "cosine with warm-up": lambda rng: CosineWarmup(warmup=rng.uniform(0, 0.5), eta_min=rng.uniform(0, 1e-3)),
    "one cycle": lambda rng: one_cycle(rng),
    "one cycle, a rate of its own": lambda rng: one_cycle(rng, max_lr=rng.uniform(0.1, 1)),
    "one cycle, linear": lambda rng: one_cycle(rng, anneal_strategy="linear"),
    "one cycle, three phases": lambda rng: one_cycle(rng, three_phase=True),
    "one cycle, three linear phases": lambda rng: one_cycle(rng, three_phase=True, anneal_strategy="linear"),
    "one cycle longer than the run": lambda rng: one_cycle(rng, total_steps=1700),
    "one cycle, momentum its own": lambda rng: one_cycle(rng, cycle_momentum=False),
}


def numbers_of(schedules: list[Schedule], lrs: list[float]) -> Numbers:
    names = [name for name, value in schedules[0]._fields().items() if isinstance(value, float)]
    columns: dict[str, list[float]] = {name: [getattr(one, name) for one in schedules] for name in names}
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in (columns | {"lr": lrs}).items()}


def curve(schedule: Schedule, lr: float) -> Any:
    """The rates of one member at all 1,000 steps."""
    numbers = numbers_of([schedule], [lr])
    return torch.cat([epoch_rates(schedule, numbers, e, EPOCHS, STEPS) for e in range(EPOCHS)])[:, 0].numpy()


def torchs_own(spec: Schedule, lr: float, optimizer: torch.optim.Optimizer) -> tuple[Any, bool]:
    """torch's scheduler of one member, and whether it is stepped by step and not by epoch."""
    match spec:
        case Constant():
            return torchs.ConstantLR(optimizer, factor=1.0), False
        case StepLR():
            return torchs.StepLR(optimizer, spec.step_size, spec.gamma), False  # type: ignore[arg-type]
        case ExponentialLR():
            return torchs.ExponentialLR(optimizer, spec.gamma), False  # type: ignore[arg-type]
        case CosineAnnealingLR():
            return torchs.CosineAnnealingLR(optimizer, spec.T_max or EPOCHS, spec.eta_min), False  # type: ignore[arg-type]
        case CosineWarmup(warmup=float(warmup)):
            rising = round(warmup * TOTAL)
            first = torchs.LinearLR(optimizer, 1 / (rising + 1), total_iters=rising)
            then = torchs.CosineAnnealingLR(optimizer, TOTAL - rising, spec.eta_min)  # type: ignore[arg-type]
            return torchs.SequentialLR(optimizer, [first, then], [rising]), True
        case OneCycleLR():
            fields = spec._fields() | {"max_lr": spec.max_lr or lr, "total_steps": spec.total_steps or TOTAL}
            return torchs.OneCycleLR(optimizer, **{k: v for k, v in fields.items() if k != "name"}), True
    raise AssertionError(spec)


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")  # torch's own, in SequentialLR
@pytest.mark.parametrize(
    ("case", "kind"), [(case, SGD) for case in MAKE] + [(case, Adam) for case in MAKE if case.startswith("one cycle")]
)
def test_every_rate_and_momentum_of_1000_steps_is_torchs(case: str, kind: type, rng: Rng) -> None:
    schedules, lrs = [MAKE[case](rng) for _ in range(K)], rng.uniform(0.01, 0.5, K).tolist()
    numbers = numbers_of(schedules, lrs)
    when = [(epoch, EPOCHS, STEPS) for epoch in range(EPOCHS)]
    rates = torch.cat([epoch_rates(schedules[0], numbers, *at) for at in when])
    momenta = [epoch_momenta(schedules[0], numbers, *at) for at in when]
    assert rates.shape == (TOTAL, K)
    assert rates.dtype == torch.float64
    for k, (spec, lr) in enumerate(zip(schedules, lrs, strict=True)):
        weight = [torch.zeros(1, requires_grad=True)]
        optimizer = (
            torch.optim.SGD(weight, lr, momentum=0.7) if kind is SGD else torch.optim.Adam(weight, lr, (0.7, 0.9))
        )
        scheduler, by_step = torchs_own(spec, lr, optimizer)
        (group,) = optimizer.param_groups
        for step in range(TOTAL):
            assert float(rates[step, k]) == pytest.approx(group["lr"], rel=1e-9, abs=1e-12), (spec, step)
            momentum = group["momentum"] if kind is SGD else group["betas"][0]
            ours = momenta[step // STEPS]
            assert (0.7 if ours is None else float(ours[step % STEPS, k])) == pytest.approx(momentum, rel=1e-12)
            optimizer.step()
            if by_step or (step + 1) % STEPS == 0:
                scheduler.step()


def test_only_a_cycle_that_moves_momentum_has_momenta(rng: Rng) -> None:
    for case, make in MAKE.items():
        schedule = make(rng)
        momenta = epoch_momenta(schedule, numbers_of([schedule], [0.1]), 0, EPOCHS, STEPS)
        assert (momenta is not None) == (case.startswith("one cycle") and case != "one cycle, momentum its own")


def test_a_cycle_that_is_over_stays_at_its_last_rate() -> None:
    schedule = OneCycleLR(total_steps=30)
    rates = curve(schedule, 1.0)
    np.testing.assert_allclose(rates[29:], 1 / 25 / 1e4)
    assert rates[28] > rates[29]


@pytest.mark.parametrize("pct_start", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("three_phase", [False, True])
def test_a_phase_without_length_has_no_rate_that_is_no_number(pct_start: float, three_phase: bool) -> None:
    schedule = OneCycleLR(pct_start=pct_start, three_phase=three_phase)
    numbers = numbers_of([schedule], [1.0])
    assert epoch_rates(schedule, numbers, 0, 1, 10).isfinite().all()
    assert epoch_rates(schedule, numbers, 0, 1, 1).isfinite().all()


def test_coslog4_is_the_formula_and_has_four_humps(rng: Rng) -> None:
    lr = rng.uniform(0.01, 1)
    rates, t = curve(Coslog4(), lr), np.arange(TOTAL) / TOTAL
    np.testing.assert_allclose(rates, lr * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))), atol=1e-12)
    tops = 1 + np.flatnonzero((rates[1:-1] > rates[:-2]) & (rates[1:-1] >= rates[2:]))
    np.testing.assert_allclose(tops / TOTAL, (2 ** np.array([0.5, 1.5, 2.5, 3.5]) - 1) / 15, atol=1 / TOTAL)
    np.testing.assert_allclose(rates[tops], lr, rtol=1e-3)


def test_without_warm_up_the_first_rate_is_the_highest_and_with_one_it_comes_at_its_end() -> None:
    for warmup, top in ((0.0, 0), (0.25, 250), (0.999, 999)):
        rates = curve(CosineWarmup(warmup=warmup), 0.3)
        assert int(rates.argmax()) == top
        assert float(rates.max()) == pytest.approx(0.3)
        assert float(rates.min()) > 0


def plateaus(specs: list[ReduceLROnPlateau], lrs: list[float], values: torch.Tensor) -> list[Plateau]:
    """What is remembered after each row of ``values`` ``[T, K]``."""
    numbers, now, after = numbers_of([*specs], lrs), fresh_plateau(torch.tensor(lrs, dtype=torch.float64)), []
    for value in values:
        now = after_epoch(specs[0], numbers, now, value)
        after.append(now)
    return after


@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_is_torchs_over_1000_epochs(mode: Any, threshold_mode: Any, rng: Rng) -> None:
    shared = {
        "patience": int(rng.integers(0, 8)), "cooldown": int(rng.integers(0, 5)), "threshold_mode": threshold_mode
    }  # fmt: skip
    specs = [
        ReduceLROnPlateau(
            factor=rng.uniform(0.5, 0.95), threshold=10 ** rng.uniform(-5, -2), min_lr=float(rng.choice([0.0, 1e-3])),
            eps=10 ** rng.uniform(-9, -5), **shared,
        )
        for _ in range(K)
    ]  # fmt: skip
    lrs = rng.uniform(0.01, 0.5, K).tolist()
    values = 0.3 + 0.6 * np.exp(-np.arange(1000)[:, None] / rng.uniform(20, 400, K)) + rng.normal(0, 0.01, (1000, K))
    values[rng.random((1000, K)) < 0.01] = np.nan
    if mode == "max":  # an accuracy, told to the schedule with its sign changed
        values = 1.2 - values
    after = plateaus(specs, lrs, torch.from_numpy(values if mode == "min" else -values))
    cuts = 0
    for k, (spec, lr) in enumerate(zip(specs, lrs, strict=True)):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        fields = {name: value for name, value in spec._fields().items() if name != "name"}
        scheduler = torchs.ReduceLROnPlateau(optimizer, mode, **fields)
        for epoch in range(1000):
            before = optimizer.param_groups[0]["lr"]
            scheduler.step(values[epoch, k])
            assert float(after[epoch].rate[k]) == optimizer.param_groups[0]["lr"], (spec, epoch)
            assert int(after[epoch].bad[k]) == scheduler.num_bad_epochs
            assert int(after[epoch].cooldown[k]) == scheduler.cooldown_counter
            cuts += before > optimizer.param_groups[0]["lr"]
    assert cuts >= K


def test_the_plateaus_of_some_members_are_theirs_alone(rng: Rng) -> None:
    specs = [ReduceLROnPlateau(factor=factor, patience=1) for factor in (0.5, 0.6, 0.7)]
    values = torch.from_numpy(rng.uniform(1, 2, (6, 3)))
    (*_, among), (*_, alone) = plateaus(specs, [1.0] * 3, values), plateaus(specs[1:], [1.0] * 2, values[:, 1:])
    picked = among.rows(torch.tensor([1, 2]))
    assert all(torch.equal(getattr(picked, name), getattr(alone, name)) for name in ("rate", "best", "bad", "cooldown"))


@pytest.mark.parametrize(
    ("schedule", "evidence"),
    [
        (CosineAnnealingLR(T_max=200), "T_max=200, and the run has 100 epochs"),
        (StepLR(step_size=100), "step_size=100, and the run has 100 epochs"),
        (OneCycleLR(total_steps=1001), "total_steps=1001, and the run has 1,000 steps"),
        (ReduceLROnPlateau(patience=98), "patience=98, and the run has 100 epochs"),
    ],
)
def test_a_schedule_that_the_run_will_not_finish_is_named(schedule: Schedule, evidence: str) -> None:
    assert unfinished(schedule, 100, 10) == evidence


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(), CosineAnnealingLR(), CosineAnnealingLR(T_max=100), StepLR(step_size=99), ExponentialLR(gamma=0.9),
        OneCycleLR(), OneCycleLR(total_steps=1000), CosineWarmup(), Coslog4(), ReduceLROnPlateau(patience=97),
    ],
)  # fmt: skip
def test_a_schedule_that_fits_is_not(schedule: Schedule) -> None:
    assert unfinished(schedule, 100, 10) is None


@pytest.mark.parametrize("patience", [97, 98])
def test_the_patience_that_is_named_is_the_one_with_which_the_rate_never_falls(patience: int) -> None:
    spec = ReduceLROnPlateau(patience=patience)
    used = [1.0, *(float(now.rate) for now in plateaus([spec], [1.0], torch.ones(100, 1, dtype=torch.float64)))][:100]
    assert (min(used) == 1.0) == (unfinished(spec, 100, 1) is not None)


def test_what_a_one_cycle_schedule_sets_cannot_be_an_axis_of_the_optimiser() -> None:
    with pytest.raises(
        SpecError, match=r"optimizer.lr must be one value .*Vary\(0.1, 0.2\). Leave schedule.max_lr out."
    ):
        TrainSpec(optimizer=SGD(lr=[0.1, 0.2]), schedule=OneCycleLR(max_lr=0.1))
    with pytest.raises(SpecError, match=r"optimizer.beta1 must be one value .*Set schedule.cycle_momentum=false."):
        TrainSpec(optimizer=Adam(beta1=[0.8, 0.9]), schedule=OneCycleLR())
    TrainSpec(optimizer=Adam(lr=[0.1, 0.2]), schedule=OneCycleLR())
    TrainSpec(optimizer=SGD(momentum=[0.8, 0.9]), schedule=OneCycleLR(cycle_momentum=False))
