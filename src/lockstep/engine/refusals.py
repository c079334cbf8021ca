"""What torch refuses, said in the user's words: what keeps networks out of a stack, and what is wrong in any case."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lockstep.engine.alone import SEVERAL
from lockstep.errors import TrainingError

# These draw from torch's own stream, which has no place for a member's key.
_RANDOM = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
DROPOUT = "They stack with an nn.Dropout made in __init__, which draws for each network alone."
_NOT_THE_USERS = (Path(torch.__file__).parent, Path(__file__).parents[1])


@dataclass(frozen=True)
class Reason:
    """Why networks can't be one stack (``why``, a clause), and what would let them (``remedy``, a sentence)."""

    why: str
    remedy: str

    def __str__(self) -> str:
        return f"What trains in a stack must do the same for every network, however: {self.why}. {self.remedy}"


@contextmanager
def in_stack(form: nn.Module) -> Iterator[None]:
    """Around anything that runs ``form`` for all members at once; a ``TrainingError`` for what we know better than
    torch how to say."""
    try:
        yield
    except (RuntimeError, IndexError, ValueError) as error:
        reason = " ".join(str(error).split())
        if sentence := wrong(reason):
            raise TrainingError(sentence) from error
        if known := unstackable(error, form):
            raise TrainingError(str(known)) from error
        raise


def wrong(reason: str) -> str | None:
    """Our sentence for what is wrong in a stack as well as alone; None where torch's own is the better one."""
    if "to return a scalar" in reason:
        return SEVERAL
    if "does not require grad and does not have a grad_fn" in reason:
        return (
            "The loss must follow from the network's parameters, however: nothing leads back to them (a .detach(), "
            ".item() or torch.no_grad() on the way cuts it off)."
        )
    if re.search("is out of bounds for dimension|index out of range in self|Target .* is out of bounds", reason):
        return (
            "A class or category code must count from 0 and be smaller than what the network has places for, "
            f"however: {reason}."
        )
    if "more than 1 value per channel" in reason:
        return (
            "Batch norm must have at least 2 rows in a batch, however: 1. Set training.batch_size higher, have fewer "
            "folds so that each has more rows, or do without batch norm (model.norm=none)."
        )
    return None


def unstackable(error: Exception, form: nn.Module) -> Reason | None:
    """What of ``form`` ``vmap`` refused with ``error``; None where it was not ``vmap``."""
    reason = " ".join(str(error).split())
    place = own_line(error)
    match reason:
        case _ if "random operation" in reason:
            return Reason(
                random_places(form) or f"the forward draws random numbers itself{place}",
                DROPOUT,
            )
        case _ if any(words in reason for words in ("control flow", "doesn't have storage", "calling .item()")):
            if averages := [name for name, m in form.named_modules() if getattr(m, "momentum", 0) is None]:
                return Reason(
                    f"{averages[0] or 'the network'} divides by its count of batches (momentum=None)",
                    "They stack with a number for momentum.",
                )
            return Reason(f"the forward looks at a tensor's values{place}", "They stack with torch.where in its place.")
        case _ if "dynamic shape" in reason:
            return Reason(
                f"the values decide a tensor's shape{place}",
                "They stack with a mask to multiply by in place of an index.",
            )
        case _ if "with `.data`" in reason or "`data` under vmap" in reason:
            return Reason(
                f"the forward sets a tensor's .data{place}",
                "They stack with copy_() under torch.no_grad() in place of .data.",
            )
        case _ if "setup_context" in reason or "generate_vmap_rule" in reason:
            return Reason(
                f"a torch.autograd.Function has no form for torch.func{place}",
                "They stack if it has setup_context and generate_vmap_rule = True.",
            )
        case _ if "inplace arithmetic" in reason or "match the broadcast shape" in reason:
            return Reason(
                f"a tensor that is one for all is changed in place{place}",
                "They stack with y = y + x in place of y += x.",
            )
        case _ if "batching rule" in reason.lower():
            return no_rule(reason, form, place)
        case _ if "functorch" in reason or "torch.func" in reason or reason.startswith("vmap: "):
            return Reason(f"{first_sentence(reason.removeprefix('vmap: '))}{place}", "They stack without it.")
    return None


def no_rule(reason: str, form: nn.Module, place: str = "") -> Reason:
    """torch has no batching rule for an operation."""
    if cells := named(form, nn.RNNBase):
        return Reason(
            f"torch cannot run {cells} of several networks at once, and in turn they are faster outside a stack",
            "They stack with nn.GRU on a CPU, and with cells of nn.Linear anywhere.",
        )
    return Reason(
        f"torch cannot run {operation(reason)} of several networks at once{place}",
        "They stack with another operation in its place.",
    )


def first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def own_line(error: Exception) -> str:
    """`` (net.py, line 7: if x.sum() > 0)``: where in the user's own code ``error`` came from, if anywhere."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _NOT_THE_USERS)
    ]
    if not frames:
        return ""
    code = f": {frames[-1].line.rstrip(':')}" if frames[-1].line else ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}{code})"


def random_places(form: nn.Module) -> str:
    """The layers of ``form`` that draw from torch's own stream."""
    drops = [(name, m) for name, m in form.named_modules() if isinstance(m, _RANDOM) or own_rate(m) > 0]
    return " and ".join(f"{name or 'the network'} ({type(m).__name__}) draws for all at once" for name, m in drops)


def own_rate(module: nn.Module) -> float:
    """The rate of a dropout that is not a module of its own (in attention, between recurrent layers)."""
    rate = getattr(module, "dropout", 0.0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def named(form: nn.Module, kind: type[nn.Module]) -> str:
    return ", ".join(
        f"{name or 'the network'} ({type(m).__name__})" for name, m in form.named_modules() if isinstance(m, kind)
    )


def operation(reason: str) -> str:
    found = re.search(r"aten::\w+(\.\w+)?", reason)
    return found.group() if found else "one of its operations"
