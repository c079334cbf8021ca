"""``lockstep.train``: any ``nn.Module``, a whole population of it, in one stack."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lockstep.engine.forward import as_input
from lockstep.engine.loop import Problem
from lockstep.engine.machine import on_threads
from lockstep.engine.plan import Forced, make_plan
from lockstep.engine.population import Member, make_population
from lockstep.engine.population import Population as Members
from lockstep.engine.step import Resident
from lockstep.engine.tables import loss_numbers
from lockstep.engine.train import Trained, Way, make_modules, pick_device, train_population
from lockstep.errors import SpecError
from lockstep.findings import Finding
from lockstep.jobs.interrupt import stop_on_interrupt
from lockstep.jobs.own import check_factory, function_of, own_weights, try_alone, understood
from lockstep.jobs.prepare import long_schedules, not_halved
from lockstep.jobs.progress import progress
from lockstep.jobs.result import Result, with_choices
from lockstep.jobs.tensors import joined, split_rows, unpack
from lockstep.runs import History
from lockstep.spec import AdamW, Constant, CosineAnnealingLR, Loss, Optimizer, Population, Schedule, Training, Vary
from lockstep.spec.choices import by_name
from lockstep.spec.module import Arguments, ModuleSpec

BATCH_SIZE = 128  # unless given
EPOCH_LINES = 200  # a line for each of so many, as a loop of one's own would print; then fewer


def train(
    make_module: Callable[..., nn.Module],
    data: Any,
    valid: Any = None,
    *,
    module: Mapping[str, Any] | None = None,
    loss: str | Loss | Vary | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    optimizer: Optimizer | str | Vary = AdamW(),  # noqa: B008  (frozen)
    schedule: Schedule | str | Vary | None = CosineAnnealingLR(),  # noqa: B008
    epochs: int | Sequence[int] | Vary = 100,
    batch_size: int | Sequence[int] | Vary | None = None,
    clip_norm: Any = None,
    ema: Any = None,
    patience: int | Sequence[int] | Vary | None = None,
    folds: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    members: Any = None,
    halve: int | None = None,
    device: str = "auto",
    executor: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    at_once: int | None = None,
    quiet: bool = False,
) -> Result:
    """Train a population of ``make_module(**module)``: candidates × folds × seeds, stacked, in one fused step.

    ``make_module`` is called once per member under ``torch.manual_seed(that member's seed)``. ``data`` is ``(x, y)``
    of tensors or arrays (``x`` a tuple for several inputs), a map-style ``Dataset`` or its ``DataLoader`` (whose batch
    size it then is; 128 otherwise); ``valid`` likewise. ``Vary(…)`` in place of a value is an axis of candidates, in
    ``module`` too: ``module={"width": Vary(64, 128)}``; so is a list where a number belongs, but not in ``module``.
    Networks that cannot be stacked are trained one after another, with the reason among the result's ``findings``.
    Without ``valid``, ``folds=n`` cross-validates. ``loss`` is a name, a ``Loss`` or a function (output, target) → mean
    loss. ``optimizer`` and ``schedule`` may go by name, ``"adamw"``, with their defaults; ``schedule=None`` keeps the
    rate. Each member keeps the weights of its best epoch by validation loss (the last epoch without validation rows)
    and stops after ``patience`` epochs without a better one. With ``halve=3`` the best third of the candidates go on
    after E/27, E/9 and E/3 of E epochs (for 27 candidates), by the mean of their members' best so far. ``ema`` is the
    decay of a moving average of the weights, which is then what is judged and kept. ``executor`` is ``eager``
    (autograd), ``backprop`` (the chain rule written out, for chains of layers), ``compiled`` (the same in C++, on a CPU
    with a compiler), ``fused`` (autograd, with the families' own layers in C++), ``cudagraph`` (autograd, many steps
    per launch on a GPU) or ``auto``; ``precision`` (of products: ``float32``, ``bfloat16``, ``tf32``), ``threads`` and
    ``at_once`` (networks of a stack that train together) are the plan's to choose unless given.

    Raises ``SpecError`` for settings, ``DataError`` for data.
    """
    forced = Forced(device, executor, precision, threads, at_once)
    check_factory(make_module, module or {})
    rows = unpack(data, "data")
    if batch_size is None:
        batch_size = data.batch_size if isinstance(data, DataLoader) and data.batch_size else BATCH_SIZE
    spec = settings_of(
        module, loss, optimizer, schedule,
        {"epochs": epochs, "batch_size": batch_size, "patience": patience, "clip_norm": clip_norm, "ema": ema},
        {"folds": 1 if folds is None else folds, "seeds": seeds, "seed": seed, "members": members, "halve": halve},
    )  # fmt: skip
    inputs, targets = rows if valid is None else joined(rows, unpack(valid, "valid"))
    population = make_population(spec, split_rows(len(rows[1]), targets, folds, spec.population))
    if patience is not None and len(population.members[0].valid_rows) == 0:
        raise SpecError(f"patience needs validation rows, however: patience={patience}. Give valid=(x, y) or folds=5.")

    where = pick_device(device)
    modules = make_modules(lambda member: make_module(**arguments_of(member)), population.training)
    try_alone(modules, population.training, inputs, targets, named=not callable(loss))
    like = next(modules[0].parameters())
    resident = Resident(tuple(as_input(x, like, where) for x in inputs), as_input(targets, like, where))
    problem = partial(problem_of, resident=resident, loss=loss, like=modules[0], executor=executor)
    with on_threads(threads):
        plan = make_plan(forced, where, population, modules, resident, problem)
        trained, history, found = trained_with_display(population, modules, problem, where, plan.ways, quiet=quiet)
    choices = with_choices(history.frame(trained.ended), population.training)
    return Result(population.training, choices, trained, partial(loss_of, loss), found)


def settings_of(
    module: Mapping[str, Any] | None, loss: Any, optimizer: Any, schedule: Any, length: dict[str, Any],
    who: dict[str, Any],
) -> ModuleSpec:  # fmt: skip
    """The keywords as a spec: names become pieces, and lists of numbers axes. Raises ``SpecError``."""
    axes = {name: Vary(*value) for name, value in length.items() if isinstance(value, list | tuple)}
    training = Training.parse(length | axes)
    return ModuleSpec.parse(
        {
            "module": Arguments(**(module or {})),
            "loss": understood(loss),
            "optimizer": by_name("optimizer", optimizer, training.epochs),
            "schedule": Constant() if schedule is None else by_name("schedule", schedule, training.epochs),
            "training": training,
            "population": Population.parse(who),
        }
    )


def problem_of(members: Sequence[Member], *, resident: Resident, loss: Any, like: nn.Module, executor: str) -> Problem:
    """What the members of one stack are trained on."""
    name, function = function_of(loss, members[0].spec.loss)
    numbers = loss_numbers(members, like, resident.targets.device, class_weights=own_weights(members))
    return Problem(resident, function, name, numbers, executor=executor)


def trained_with_display(
    population: Members, modules: Sequence[nn.Module], problem: Callable[[Sequence[Member]], Problem],
    where: torch.device, ways: Sequence[Way], *, quiet: bool,
) -> tuple[Trained, History, tuple[Finding, ...]]:  # fmt: skip
    """Train, and show how it goes; Ctrl-C ends it with the best so far. What was noticed comes back too."""
    history, found = History(population.identities), list[Finding]()
    with progress(quiet=quiet, epoch_lines=EPOCH_LINES) as show, stop_on_interrupt(show.say) as stop:

        def notice(finding: Finding) -> None:
            found.append(finding)
            show.finding(finding)

        for finding in [*long_schedules(population), *not_halved(population)]:
            notice(finding)
        trained = train_population(
            population, modules, problem, where, ways, observers=[history, show], at_rung=show.rung, stop=stop,
            notice=notice,
        )  # fmt: skip
    return trained, history, tuple(found)


def arguments_of(member: Member) -> dict[str, Any]:
    """What ``make_module`` is called with for this member."""
    assert isinstance(member.spec, ModuleSpec)
    return member.spec.module.values()


def loss_of(loss: Any, member: Member, module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A member's loss of (output, target) of its own network, on the CPU."""
    _, function = function_of(loss, member.spec.loss)
    numbers = loss_numbers([member], module, torch.device("cpu"), class_weights=own_weights([member]))
    own = {name: number[0] for name, number in numbers.items()}
    return lambda output, target: function(output, target, own)
