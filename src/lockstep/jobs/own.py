"""A user's own function that makes a module, and own loss, checked before they are used."""

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lockstep.engine.alone import seeded
from lockstep.engine.forward import as_input
from lockstep.engine.population import Member
from lockstep.errors import SpecError, TrainingError
from lockstep.network.checks import check_logits
from lockstep.network.losses import LOSSES, LossFunction
from lockstep.network.targets import check_targets
from lockstep.spec import Loss, Vary

OwnLoss = Callable[[Tensor, Tensor], Tensor]


def check_factory(make_module: Any, arguments: Mapping[str, Any]) -> None:
    """Whether ``make_module`` is a function that takes ``arguments`` by name. Raises ``SpecError``."""
    if isinstance(make_module, nn.Module) or not callable(make_module):
        what = "a module" if isinstance(make_module, nn.Module) else type(make_module).__name__
        raise SpecError(
            f"make_module must be a function that makes a new module for each member, however: {what}. "
            "Give lambda: Net(…)."
        )
    try:
        takes = inspect.signature(make_module).parameters.values()
    except ValueError:  # some built-in that does not say
        return
    if any(one.kind is one.VAR_KEYWORD for one in takes):
        return
    known = [one.name for one in takes if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    for name in arguments:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It takes: {', '.join(known) or 'nothing'}."
            raise SpecError(f"module must hold arguments of make_module, however: {name}. {hint}")
    needed = [one.name for one in takes if one.name in known and one.default is one.empty]
    if missing := [name for name in needed if name not in arguments]:
        raise SpecError(
            f"make_module must be callable without more than module holds, however: it needs {', '.join(missing)}. "
            f"Give module={{{missing[0]!r}: …}}."
        )


def try_alone(
    modules: Sequence[nn.Module], members: Sequence[Member], inputs: Sequence[Tensor], targets: Tensor, named: bool
) -> None:
    """Let one network of each candidate see two rows by itself: what is wrong, torch then says plainly.

    Raises ``TrainingError`` for that; with a ``named`` loss also ``SpecError`` where the network gives probabilities to
    one that takes logits, and ``DataError`` where output, targets and loss do not fit together.
    """
    seen: set[int] = set()
    for module, member in zip(modules, members, strict=True):
        if member.candidate not in seen:
            seen.add(member.candidate)
            like = next(module.parameters())
            output = output_of(module, [as_input(x[:2], like, torch.device("cpu")) for x in inputs])
            if named and isinstance(output, Tensor):
                check_logits(output, member.spec.loss.name)
                check_targets(output, targets, member.spec.loss.name)


def output_of(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    try:
        with torch.enable_grad(), seeded(0, torch.device("cpu")):
            return copy.deepcopy(module).eval()(*inputs)
    except Exception as error:
        shapes = ", ".join(str(list(x.shape)) for x in inputs)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        whole = any(not x.is_floating_point() for x in inputs) and "dtype" in reason
        hint = " Whole numbers reach the network as such, as an embedding needs; else give x.float()." if whole else ""
        raise TrainingError(
            f"The network must take a batch of the data, {shapes}, however it raises {reason}.{hint}"
        ) from error


def understood(loss: Any) -> Loss | Vary:
    """A loss as data, or an axis of such; a user's own function is none, and its ``Loss`` says nothing."""
    match loss:
        case type():
            raise SpecError(f"loss must be a function, however: the class {loss.__name__}. Give {loss.__name__}().")
        case Vary(values=values):
            if any(map(callable, values)):
                raise SpecError("loss may vary among names and Loss(…), however: a function. Train once with each.")
            return Vary(*map(understood, values))
        case Loss(name=Vary(values=values)):
            return Vary(*(understood(loss.replace("name", name)) for name in values))
        case str() if loss in LOSSES:
            return Loss.parse({"name": loss})
        case Loss() if loss.name in LOSSES:
            return loss
        case _ if callable(loss):
            return Loss()
    name = loss.name if isinstance(loss, Loss) else loss
    close = difflib.get_close_matches(name, LOSSES, n=1, cutoff=0.6) if isinstance(name, str) else []
    hint = f" Did you mean {close[0]}?" if close else ""
    raise SpecError(f"loss must be one of {', '.join(LOSSES)} or a function, however: {name!r}.{hint}")


def function_of(loss: Any, spec: Loss) -> tuple[str, LossFunction]:
    """What is minimised, by name and as a function; the user's own has no name."""
    if callable(loss):
        return "", lambda output, target, _: loss(output, target)
    return spec.name, LOSSES[spec.name]


def own_weights(members: Sequence[Member]) -> NDArray[np.float64] | None:
    """The class weights ``[K, C]`` of the members of one stack."""
    wanted = members[0].spec.loss.class_weights
    if wanted == "balanced":
        raise SpecError("class_weights must be one number per class here, however: 'balanced'. Count the classes.")
    return None if wanted is None else np.tile(wanted, (len(members), 1))
