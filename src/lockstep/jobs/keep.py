"""The best weights so far, on the disk: what is left after a kill."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from lockstep.engine.loop import Progress
from lockstep.engine.population import Member
from lockstep.engine.records import EpochRecord
from lockstep.engine.stack import Stack
from lockstep.runs import History, RunFolder


class Keeper:
    """An observer that stores the best weights: after the first epoch, then as often as costs little."""

    SHARE = 0.05  # of the time, at most, goes into writing

    def __init__(self, folder: RunFolder, history: History) -> None:
        self.folder, self.history = folder, history
        self.stacks: dict[int, tuple[Stack, Sequence[Member], Progress]] = {}
        self.next_at = 0.0

    def hold(self, stack: Stack, members: Sequence[Member], progress: Progress) -> None:
        self.stacks[id(stack)] = (stack, members, progress)

    def __call__(self, record: EpochRecord) -> None:
        began = time.perf_counter()
        if began < self.next_at:
            return
        if not (arrays := self.arrays()):
            return
        self.folder.write_checkpoint(record.epoch, arrays, {"elapsed": record.elapsed}, self.history.frame())
        took = time.perf_counter() - began
        self.next_at = time.perf_counter() + took / self.SHARE

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The best weights of every member that has any, as ``<member>/<name>``."""
        arrays: dict[str, NDArray[Any]] = {}
        for stack, members, reached in self.stacks.values():
            for position, done in reached.weights().items():
                if done.best_epoch > 0:
                    network = stack.taken_out(position, done.params, done.buffers)
                    arrays |= {f"{members[position].index}/{name}": a for name, a in to_arrays(network).items()}
        return arrays


def to_arrays(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}
