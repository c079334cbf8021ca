"""A CUDA graph's ways on a CPU, for tests: ``Tape`` records the operations that some work comes to, below vmap and
autograd, and plays them again on the very tensors that they were recorded on, without any Python of that work.

As on a GPU, recording does none of the work: what it changes is put back, and what it makes is nonsense until played.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lockstep.engine.executors import Executor, by_autograd, stepping
from lockstep.engine.executors.cudagraph import Recording, Results, Work, cloned, inputs_of, replaying
from lockstep.engine.step import Runner
from lockstep.optim import rules

NONSENSE = 255  # in every byte: NaN as a float, -1 as an integer
WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select")


class Recorder(TorchDispatchMode):
    """Every operation with what it was given and gave; ``before`` is what the memory held that they changed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.made: dict[int, torch.UntypedStorage] = {}
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in WAITING:
            raise RuntimeError("operation not permitted when stream is capturing")
        for tensor in written(func, args, kwargs):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.made:
                self.before.setdefault(storage._cdata, (storage, storage.clone()))
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs))  # as they are now: an operation may change a shape
        out = func(*args, **kwargs)
        self.made |= {own._cdata: own for own in map(Tensor.untyped_storage, fresh(func, out))}
        self.calls.append((func, *given, tree_map_only(Tensor, Tensor.detach, out)))
        return out


@dataclass
class Tape:
    """A ``Capture``. ``held`` counts the recordings that have not been released."""

    warm_ups: int = 0
    records: int = 0
    replays: int = 0
    held: int = 0

    def warm_up(self, work: Work) -> Results:
        self.warm_ups += 1
        return work()

    def record(self, work: Work) -> Recording:
        try:
            with (recorder := Recorder()):
                results = work()
        finally:
            for storage, before in recorder.before.values():
                storage.copy_(before)
        for storage in recorder.made.values():
            storage.fill_(NONSENSE)
        self.records += 1
        self.held += 1

        def replay() -> None:
            self.replays += 1
            play(recorder.calls)

        def release() -> None:
            self.held -= 1
            recorder.calls.clear()

        return Recording(results, replay, release)


def play(calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]]) -> None:
    for func, args, kwargs, out in calls:
        if is_view(func) or torch.Tag.inplace_view in func.tags or func._schema.name == "aten::empty":
            continue
        new = func(*args, **kwargs)
        for place, value in zip(fresh(func, out), fresh(func, new), strict=True):
            place.copy_(value)


def tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that an operation changes."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors(args[place] if place < len(args) else kwargs.get(argument.name))


def fresh(func: Any, out: Any) -> Iterator[Tensor]:
    """Of what an operation gave, what lies in memory of its own."""
    each = out if isinstance(out, tuple) else (out,)
    for returned, own in zip(func._schema.returns, each, strict=True):
        if returned.alias_info is None:
            yield from tensors(own)


def is_view(func: Any) -> bool:
    """Whether all that an operation gives lies in what it was given, unchanged."""
    return not func._schema.is_mutable and all(own.alias_info is not None for own in func._schema.returns)


def on_tape(tape: Tape) -> Executor:
    """The executor ``cudagraph`` with ``tape`` in a GPU's place. What it is given is nonsense after each call, so that
    whatever was not copied shows, and must stay so, as it is not the executor's to write to."""

    def runner(*given: Any) -> Runner:
        own = replaying(stepping(by_autograd)(*given), tape)
        gone: deque[Tensor] = deque(maxlen=24)

        def steps(state: Any, rows: Tensor, tables: Any) -> Results:
            passing = rows.clone(), cloned(tables)
            with patch.object(rules, "numbers_at_hand", lambda _: False):  # as on a GPU
                results = own.steps(state, *passing)
            assert all((x.contiguous().view(torch.uint8) == NONSENSE).all() for x in gone if x.numel())
            for tensor in inputs_of(*passing):
                tensor.untyped_storage().fill_(NONSENSE)
                gone.append(tensor)
            return results

        return Runner(steps, own.outputs, own.at_once)

    return Executor("nothing", runner, lambda *_: None)
