"""The random streams of a member: which rows its batches hold. Keyed, so that they do not depend on who else trains.

Everything random is a pure function of (member's seed, epoch or step, place); anyone can draw it again.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lockstep.engine.population import Member


def batch_rows(member: Member, epoch: int, steps: int, batch_size: int) -> NDArray[np.int64]:
    """The rows ``[S, B]`` of the member's batches in epoch ``epoch`` (from 0).

    A fresh shuffle of its training rows; what does not fill a batch is left for another epoch's shuffle.
    """
    stream = np.random.Generator(np.random.Philox(key=np.array([member.seed, epoch], dtype=np.uint64)))
    return stream.permutation(member.train_rows)[: steps * batch_size].reshape(steps, batch_size)


def epoch_rows(members: Sequence[Member], epoch: int, steps: int, batch_size: int) -> NDArray[np.int64]:
    """The rows ``[S, K, B]`` of one epoch of several members; candidates on one fold and seed share a shuffle."""
    drawn: dict[tuple[int, int], NDArray[np.int64]] = {}
    for member in members:
        key = (member.fold, member.seed)
        if key not in drawn:
            drawn[key] = batch_rows(member, epoch, steps, batch_size)
    return np.stack([drawn[member.fold, member.seed] for member in members], axis=1)
