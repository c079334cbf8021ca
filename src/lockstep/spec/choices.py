"""Optimisers, schedules and models by one word, each with numbers that suit it."""

from collections.abc import Mapping
from typing import Any, get_args

from lockstep.errors import SpecError
from lockstep.findings import Finding
from lockstep.spec.base import Frozen, Vary
from lockstep.spec.fit import TAGS, FitSpec
from lockstep.spec.names import called, names, say
from lockstep.spec.optimizers import Optimizer
from lockstep.spec.schedules import Schedule

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "momentum": 0.0, "nesterov": False},
    "momentum": {"name": "sgd", "momentum": 0.9, "nesterov": False},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "rmsprop": {"name": "rmsprop"},
    "adam": {"name": "adam"},
    "adamw": {"name": "adamw"},
}
# A rate means another thing to each optimiser, and a comparison at one shared rate is a comparison of rates. Against
# the rate of Adam: RMSprop and AdamW divide by the gradient's size as it does, and take the same. SGD does not: its
# step is the gradient itself, well below 1, and needs some hundred times the rate. Momentum 0.9 adds up ten steps, and
# so takes less. The best of five on adult and on digits: benchmarks/compare.py --rates.
RATES = {"sgd": 300.0, "momentum": 100.0, "nesterov": 100.0, "rmsprop": 1.0, "adam": 1.0, "adamw": 1.0}
ADAPTIVE = ("rmsprop", "adam", "adamw")


def chosen(path: str, value: Any, spec: FitSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """One value of an axis of pieces as settings to lay over ``spec``: from its name, its settings or the piece."""
    if isinstance(value, Frozen):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, str):
        raise SpecError(f"{path} must be chosen by name, however: {value!r}.")
    match path:
        case "optimizer":
            return named_optimizer(value, spec, given)
        case "schedule":
            return named_schedule(value, spec.training.epochs)
    return {TAGS[path]: value}


def by_name(path: str, said: Any, epochs: int | Vary) -> Any:
    """An ``optimizer`` or ``schedule`` of a run of so many ``epochs``, or an axis of such; a name as settings.

    Raises ``SpecError`` for what is neither name, piece nor settings.
    """
    match said:
        case Vary(values=values):
            return Vary(*(by_name(path, one, epochs) for one in values))
        case str() if path == "optimizer":
            return known_optimizer(said)
        case str():
            return named_schedule(said, epochs)
        case Frozen() | Mapping():
            return said
    raise SpecError(not_a_piece(path, said))


def not_a_piece(path: str, said: Any) -> str:
    """The sentence for something else, such as torch's own optimiser, where a piece belongs."""
    known = [piece.__name__ for piece in get_args(get_args({"optimizer": Optimizer, "schedule": Schedule}[path])[0])]
    kind = said.__name__ if isinstance(said, type) else type(said).__name__
    what, remedy = kind, "Give one of these."
    if isinstance(said, list | tuple):
        remedy = f"To try each of several: {path}=lockstep.Vary(…, …)."
    elif kind in known:
        what, remedy = f"{kind} of another library", f"Give lockstep.{kind}(…)."
    return f"{path} must be lockstep's {', '.join(known)}, or a name, however: {what}. {remedy}"


def named_optimizer(name: str, spec: FitSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The optimiser of that name at the rate given by the user, or the recipe's, or one of its own."""
    settings = known_optimizer(name)
    wanted = given.get("optimizer", {})
    if isinstance(wanted, Mapping) and "lr" in wanted:
        return settings | {"lr": wanted["lr"]}
    base = spec.optimizer
    if isinstance(base, Vary) or called(base) == name:
        return settings
    adaptive = base.lr if base.name in ADAPTIVE and not isinstance(base.lr, Vary) else 1e-3
    return settings | {"lr": float(f"{RATES[name] * adaptive:.6g}")}


def known_optimizer(name: str) -> dict[str, Any]:
    """The optimiser of that name at its default rate. Raises ``SpecError``."""
    if name not in OPTIMIZERS:
        raise SpecError(f"optimizer must be among {', '.join(OPTIMIZERS)}, however: {name!r}.")
    return dict(OPTIMIZERS[name])


def named_schedule(name: str, epochs: int | Vary) -> dict[str, Any]:
    """The schedule of that name; where it has no length of its own, one that suits a run of so many epochs."""
    length = max(epochs.values) if isinstance(epochs, Vary) else epochs
    match name:
        case "step":  # two cuts, to a hundredth
            return {"name": name, "step_size": max(1, length // 3), "gamma": 0.1}
        case "exponential":  # to a hundredth, too
            return {"name": name, "gamma": float(f"{0.01 ** (1 / length):.4g}")}
    return {"name": name}


def own_rates(spec: FitSpec) -> list[Finding]:
    """What is to be said where optimisers are compared, each at a rate of its own."""
    axis = spec.optimizer
    if not isinstance(axis, Vary) or len({say(piece.lr) for piece in axis.values}) < 2:
        return []
    said = ", ".join(f"{name} {say(piece.lr)}" for name, piece in zip(names(axis), axis.values, strict=True))
    return [
        Finding(
            severity="info", code="own-rates", subject="optimizer.lr",
            what="Each optimiser trains at a rate of its own: one shared rate would compare rates, not optimisers.",
            evidence=said,
            remedy="One rate for all: --set optimizer.lr=1e-3. The best of several for each: "
            "--vary optimizer.lr=log:1e-4:1e-1:4.",
        )
    ]  # fmt: skip
