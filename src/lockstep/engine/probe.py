"""Whether modules of one structure can be one stack, found by trying two of them before training."""

import random
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lockstep.engine.alone import seeded
from lockstep.engine.executors import by_autograd
from lockstep.engine.forward import outputs_on_all_rows
from lockstep.engine.loop import Problem
from lockstep.engine.population import Member
from lockstep.engine.refusals import DROPOUT, Reason, first_sentence, in_stack, no_rule, operation, unstackable
from lockstep.engine.stack import Stack, lift
from lockstep.engine.streams import epoch_rows
from lockstep.network.layers.dropout import dropout_keys

SLOW = "There is a performance drop"  # torch's warning where vmap runs an operation network by network


def reason_to_part(stack: Stack, members: Sequence[Member], problem: Problem) -> Reason | None:
    """Why the ``members`` of ``stack`` must train one after another; None where they can be the stack that they are.

    Losses and gradients of the first two members on two batches, and their outputs, are worked out alone:
    what is wrong with network, loss or data is raised from there. Then those of both (or of one twice) under ``vmap``:
    what is raised there, or comes out otherwise for either, is the reason; the second one's own form shows what the
    first one's lacks. Two batches, because what a forward keeps from one to the next shows in the second. Nothing is
    changed, random states included.
    """
    pair = [0, min(1, len(members) - 1)]
    rows = torch.from_numpy(epoch_rows([members[k] for k in pair], 0, 1, members[0].batch_size)[0]).to(
        stack.params.device
    )
    with seeded(0, stack.params.device):
        each = [tried_alone(stack, k, members[k], rows[k : k + 1], problem, rows[0]) for k in dict.fromkeys(pair)]
        drawn = streams()
        try:
            with fallbacks() as slow:
                two = [members[k] for k in pair]
                both = tried(stack.part(pair, mapped=True), two, rows, problem, pair, rows[0])
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            return unstackable(cause, stack.train_form) or Reason(f"torch says: {first_sentence(str(cause))}", "")
        alone = (torch.cat(part) for part in zip(*each, strict=True))
        same = all(alike(one, other[: len(one)]) for one, other in zip(alone, both, strict=True))
        return judged(same, slow, drawn != streams(), stack)


def judged(same: bool, slow: Sequence[str], drew: bool, stack: Stack) -> Reason | None:
    """Why a stack that runs is still none; ``same`` says whether its members give in it what they give alone."""
    if drew:
        return Reason(
            "the forward draws from Python's or numpy's random numbers, which would be the same for all", DROPOUT
        )
    if any(re.search("rnn|lstm|gru", name) for name in slow):
        return no_rule(slow[0], stack.train_form)
    if not same:
        return Reason(
            "in a stack they give other losses, gradients or outputs than alone",
            "Look for what the forward keeps outside tensors.",
        )
    return None


def alike(alone: Tensor, stacked: Tensor) -> bool:
    """Whether what members gave alone and in a stack ``[K, …]`` is the same but for rounding, each by its own size."""
    alone, stacked = alone.flatten(1), stacked.flatten(1)
    size = alone.abs().amax(dim=1, keepdim=True)
    close = torch.isclose(stacked / size, alone / size, rtol=0.05, atol=1e-3, equal_nan=True)
    return bool((close | (alone == stacked)).all())


def tried_alone(
    stack: Stack, place: int, member: Member, rows: Tensor, problem: Problem, shown: Tensor
) -> tuple[Tensor, ...]:
    """``tried`` of one member as it would train by itself: by its own module's form."""
    own = lift([stack.originals[place]], stack.params.device, mapped=False)
    return tried(own, [member], rows, problem, [place], shown)


def tried(
    stack: Stack, members: Sequence[Member], rows: Tensor, problem: Problem, places: list[int], shown: Tensor
) -> tuple[Tensor, ...]:
    """The losses ``[K, 2]`` of two batches of ``rows`` ``[K, B]``, the gradients ``[K, 2, P]``, and then the outputs
    ``[K, B, …]`` in eval mode on the rows ``shown`` ``[B]``."""
    gradients = by_autograd(stack, problem.objective)
    params, buffers = stack.params.clone(), {name: buffer.clone() for name, buffer in stack.buffers.items()}
    own = {name: number[places] for name, number in problem.loss_numbers.items()}
    keys = dropout_keys(np.array([member.seed for member in members]), np.arange(2), stack.places)
    losses, grads = [], []
    with in_stack(stack.train_form):
        for now in torch.from_numpy(keys).to(params.device):
            grads_now, losses_now, buffers = gradients(params, buffers, now, *problem.data.batch(rows), own)
            losses.append(losses_now)
            grads.append(grads_now)
    outputs = outputs_on_all_rows(stack, params, buffers, tuple(x[shown] for x in problem.data.inputs))
    return torch.stack(losses, dim=1), torch.stack(grads, dim=1), outputs


def streams() -> tuple[object, ...]:
    """Where Python's and numpy's random streams are."""
    _, keys, place, *_ = np.random.get_state()
    return random.getstate(), np.asarray(keys).tobytes(), place


@contextmanager
def fallbacks() -> Iterator[list[str]]:
    """Yield a list that afterwards names the operations that ``vmap`` ran network by network."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield found
    found += [operation(str(one.message)) for one in said if str(one.message).startswith(SLOW)]
