"""The best weights so far, on the disk: what is left after a kill."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockstep.engine.loop import Progress
from lockstep.engine.population import Member
from lockstep.engine.records import EpochRecord
from lockstep.engine.stack import Stack, Tensors
from lockstep.jobs.job import Job
from lockstep.jobs.manifest import manifest
from lockstep.runs import History, RunFolder


class Keeper:
    """An observer that stores the best weights: after the first epoch, then as often as costs little."""

    SHARE = 0.05  # of the time, at most, goes into writing

    def __init__(self, job: Job, folder: RunFolder, history: History) -> None:
        self.job, self.folder, self.history = job, folder, history
        self.stacks: dict[int, tuple[Stack, Sequence[Member], Progress]] = {}
        self.begun = False
        self.next_at = 0.0

    def hold(self, stack: Stack, members: Sequence[Member], progress: Progress) -> None:
        self.stacks[id(stack)] = (stack, members, progress)

    def __call__(self, record: EpochRecord) -> None:
        began = time.perf_counter()
        if began < self.next_at or not (arrays := self.arrays()):
            return

        def write(folder: RunFolder) -> None:
            history = self.history.frame(self.ended())
            folder.write_checkpoint(record.epoch, arrays, {"elapsed": record.elapsed}, history)

        if self.begun:
            write(self.folder)
        else:
            self.begin(write)
        took = time.perf_counter() - began
        self.next_at = time.perf_counter() + took / self.SHARE

    def begin(self, first: Callable[[RunFolder], None]) -> None:
        """Only now is there something to load, and only now does a run that was here before have to go."""
        prepared = self.job.prepared
        folds = prepared.splits.folds
        rows = np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.valid)]))
        hashes = prepared.hashes(rows)
        schema = prepared.schema.model_dump_json(indent=1)
        self.folder.begin(prepared.spec, schema, hashes, manifest(self.job), first)
        self.begun = True

    def ended(self) -> dict[int, str]:
        """Why the members ended that train no more."""
        held = [(members, reached.finished) for _, members, reached in self.stacks.values()]
        return {members[place].index: done.ended for members, finished in held for place, done in finished.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The best weights of every member that has any, as ``<member>/<name>``."""
        arrays: dict[str, NDArray[Any]] = {}
        for stack, members, reached in self.stacks.values():
            for position, done in reached.weights().items():
                if done.best_epoch > 0:
                    own = to_arrays(stack.state_dict(position, done.params, done.buffers))
                    arrays |= {f"{members[position].index}/{name}": array for name, array in own.items()}
        return arrays


def to_arrays(state_dict: Tensors) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in state_dict.items()}
