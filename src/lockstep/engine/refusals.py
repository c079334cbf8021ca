"""What torch refuses to run in a stack, said in the user's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lockstep.errors import TrainingError

# These draw from torch's own stream, which has no place for a member's key.
_RANDOM = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


@contextmanager
def in_stack(form: nn.Module) -> Iterator[None]:
    """Around anything that runs ``form`` for all members at once; a ``TrainingError`` for what cannot be stacked."""
    try:
        yield
    except (RuntimeError, IndexError, ValueError) as error:
        if sentence := explain(" ".join(str(error).split()), form):
            raise TrainingError(sentence) from error
        raise


def explain(reason: str, form: nn.Module) -> str | None:
    """Our sentence for torch's ``reason``; None where torch's own is the better one."""
    if "random operation" in reason:
        return (
            "The randomness of a network must come from nn.Dropout (or 1d, 2d, 3d), which draws for each member alone, "
            f"however: {_random_places(form)}. Make an nn.Dropout in __init__ and call that."
        )
    if "data-dependent control flow" in reason:
        return (
            "The forward of a network must take the same path whatever the values are, however: it calls .item() or "
            "branches on a tensor. Write it with torch.where."
        )
    if "batching rule" in reason.lower():
        if places := _named(form, nn.RNNBase):
            return f"Recurrent layers cannot be stacked yet, however: {places}. Take a network without recurrence."
        return f"Every operation of a network must be one that vmap can batch, however: {_operation(reason)} is not."
    if "to return a scalar" in reason:
        return "The loss must be one number per batch, however: it returns several. Take their mean."
    if "is out of bounds for dimension" in reason or "index out of range in self" in reason:
        return (
            "A class or category code must count from 0 and be smaller than what the network has places for, "
            f"however: {reason}."
        )
    if "more than 1 value per channel" in reason:
        return (
            "Batch norm must have at least 2 rows in a batch, however: 1. Set training.batch_size higher, have fewer "
            "folds so that each has more rows, or do without batch norm (model.norm=none)."
        )
    if reason.startswith("vmap: "):
        return f"The network cannot be stacked: {reason.removeprefix('vmap: ').partition('. ')[0].rstrip('.')}."
    return None


def _random_places(form: nn.Module) -> str:
    drops = [name for name, m in form.named_modules() if isinstance(m, _RANDOM) or _own_rate(m) > 0]
    if not drops:
        return "its forward calls F.dropout or draws random numbers itself"
    return " and ".join(f"{name or 'the network'} ({type(form.get_submodule(name)).__name__})" for name in drops)


def _own_rate(module: nn.Module) -> float:
    """The rate of a dropout that is not a module of its own (in attention, between recurrent layers)."""
    rate = getattr(module, "dropout", 0.0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def _named(form: nn.Module, kind: type[nn.Module]) -> str:
    return ", ".join(
        f"{name or 'the network'} ({type(m).__name__})" for name, m in form.named_modules() if isinstance(m, kind)
    )


def _operation(reason: str) -> str:
    found = re.search(r"aten::\w+(\.\w+)?", reason)
    return found.group() if found else "one of them"
