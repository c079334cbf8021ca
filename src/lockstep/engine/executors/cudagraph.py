"""Many steps as one launch on a GPU: recorded once as a CUDA graph, then replayed.

A step of small networks is hundreds of kernels of a few microseconds, which take Python longer to launch than the GPU
to run; a graph is launched whole. It reads and writes the memory that it was recorded on and no other: what changes
from call to call (rows, keys, factors) is copied there before a replay, losses and norms are copied out after it.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from lockstep.engine.alone import seeded
from lockstep.engine.refusals import first_sentence, own_line
from lockstep.engine.stack import Stack, Tensors, lift
from lockstep.engine.state import State
from lockstep.engine.step import Gradients, Resident, Runner, Steps, Tables

AT_ONCE = 25  # steps in a replay: what a replay costs beside them is then a few microseconds each
WARM_UP = 3  # steps before any is recorded, in which torch makes ready what it may not make ready in a recording
WORTH_IT = 8 * AT_ONCE  # steps of a run: recording takes about as long as taking the steps eagerly, and they may be two

Results = tuple[Tensor, Tensor]
Work = Callable[[], Results]


@dataclass(frozen=True, eq=False)
class Recording:
    """What ``replay`` does, with its ``results`` always in the same place; ``release`` gives its memory back."""

    results: Results
    replay: Callable[[], None]
    release: Callable[[], None]


class Capture(Protocol):
    """How work is recorded. ``warm_up`` does it once, where it is going to be recorded; ``record`` does none of it, and
    raises ``RuntimeError`` if it cannot be recorded."""

    def warm_up(self, work: Work) -> Results: ...

    def record(self, work: Work) -> Recording: ...


class CudaGraphs:
    """By torch (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). Each recording has memory of its
    own. Warm-up and recording share a stream, as cuBLAS has a workspace for each."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def warm_up(self, work: Work) -> Results:
        with self.aside():
            return work()

    def record(self, work: Work) -> Recording:
        graph = torch.cuda.CUDAGraph()
        with self.aside(), torch.cuda.graph(graph, stream=self.stream):
            results = work()
        return Recording(results, graph.replay, graph.reset)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """On our own stream, which begins where the caller's is; the caller's goes on where ours has ended, and is the
        current one again whatever happens: ``torch.cuda.graph`` leaves its own where a capture fails."""
        with torch.cuda.device(self.device):
            callers = torch.cuda.current_stream()
            self.stream.wait_stream(callers)
            with torch.cuda.stream(self.stream):
                yield
            callers.wait_stream(self.stream)


@dataclass(frozen=True, eq=False)
class Graph:
    """A recording and the inputs that it reads."""

    inputs: list[Tensor]
    recording: Recording

    def replay(self, rows: Tensor, tables: Tables) -> Results:
        copy_into(self.inputs, inputs_of(rows, tables))
        self.recording.replay()
        losses, norms = self.recording.results
        return losses.clone(), norms.clone()


@dataclass(eq=False)
class Recorded:
    """What is recorded of the steps of one state, by their number. Parameters and moments change where they lie; so do,
    here, the buffers."""

    params: Tensor
    moments: Tensors
    buffers: Tensors
    warm: int = 0
    graphs: dict[int, Graph] = field(default_factory=dict)

    def belongs_to(self, state: State) -> bool:
        """Whether ``state`` lies where it was recorded. A packed stack does not."""
        return state.params is self.params and all(state.moments[name] is own for name, own in self.moments.items())

    def take(self, state: State, rows: Tensor, tables: Tables) -> Results:
        """The steps, by the graph of as many."""
        copy_into(self.buffers.values(), (state.buffers[name] for name in self.buffers))
        results = self.graphs[len(rows)].replay(rows, tables)
        state.buffers = dict(self.buffers)
        return results

    def record(self, steps: Steps, rows: Tensor, tables: Tables, capture: Capture) -> None:
        """Record ``steps`` of as many rows. An epoch is calls of one length and one of what is left: two graphs."""
        rows, tables = rows.clone(), cloned(tables)

        def work() -> Results:
            state = State(self.params, self.buffers, self.moments)
            results = steps(state, rows, tables)
            copy_into(self.buffers.values(), (state.buffers[name] for name in self.buffers))
            return results

        self.graphs[len(rows)] = Graph(inputs_of(rows, tables), capture.record(work))

    def release(self) -> None:
        for graph in self.graphs.values():
            graph.recording.release()
        self.graphs.clear()


@dataclass(eq=False)
class Replaying:
    """Steps that are first taken as they are, and recorded when that has made them warm."""

    eager: Steps
    capture: Capture
    recorded: Recorded | None = None
    failed: bool = False

    def steps(self, state: State, rows: Tensor, tables: Tables) -> Results:
        """See ``lockstep.engine.step.Steps``."""
        if self.failed:
            return self.eager(state, rows, tables)
        own = self.of(state)
        if own.warm < WARM_UP:
            own.warm += len(rows)
            return self.capture.warm_up(lambda: self.eager(state, rows, tables))
        if len(rows) not in own.graphs:
            try:
                own.record(self.eager, rows, tables, self.capture)
            except RuntimeError as error:
                self.give_up(error)
                return self.eager(state, rows, tables)
        return own.take(state, rows, tables)

    def of(self, state: State) -> Recorded:
        """What is recorded of ``state``, in place of what was recorded of another."""
        if self.recorded is None or not self.recorded.belongs_to(state):
            self.forget()
            self.recorded = Recorded(state.params, dict(state.moments), copies(state.buffers))
        return self.recorded

    def forget(self) -> None:
        if self.recorded is not None:
            self.recorded.release()
        self.recorded = None

    def give_up(self, error: RuntimeError) -> None:
        self.failed = True
        self.forget()
        reason = first_sentence(" ".join(str(error).split()))
        warnings.warn(
            f"Steps are taken one by one and not as a CUDA graph, which could not be recorded: {reason}.",
            RuntimeWarning,
            stacklevel=2,
        )


def replaying(runner: Runner, capture: Capture) -> Runner:
    """``runner`` with its steps recorded by ``capture`` and replayed."""
    return replace(runner, steps=Replaying(runner.steps, capture).steps, at_once=lambda _: AT_ONCE)


def inputs_of(rows: Tensor, tables: Tables) -> list[Tensor]:
    """All tensors that change from call to call."""
    return [rows, tables.keys, tables.factors, tables.clip, *(tables.loss[name] for name in sorted(tables.loss))]


def cloned(tables: Tables) -> Tables:
    loss, keys, factors, clip = copies(tables.loss), tables.keys.clone(), tables.factors.clone(), tables.clip.clone()
    return replace(tables, loss=loss, keys=keys, factors=factors, clip=clip)


def copies(tensors: Tensors) -> Tensors:
    """Each in memory of its own, also where ``vmap`` gave all members the same."""
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def copy_into(places: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for place, value in zip(places, values, strict=True):
        if place is not value:
            place.copy_(value)


def refusal(gradients: Callable[[Stack], Gradients], module: nn.Module, data: Resident) -> str | None:
    """Why the steps of such networks cannot be recorded, or None. ``gradients`` are those of a stack of them."""
    device = data.targets.device
    if not torch.cuda.is_available():
        return "torch sees none"
    if device.type != "cuda":
        return f"the networks are on device={device.type}"
    return waits(gradients, module, data)


def waits(gradients: Callable[[Stack], Gradients], module: nn.Module, data: Resident) -> str | None:
    """Where a step waits for the GPU, as a graph cannot, or None: found by working gradients out twice, the second time
    with whatever waits as an error. Anything else that is wrong shows in training, and is said there."""
    device = data.targets.device
    stack = lift([module], device)
    own = gradients(stack)
    batch = data.batch(torch.arange(min(8, len(data.targets)), device=device)[None])
    keys = torch.zeros(1, stack.places, dtype=torch.int32, device=device)
    try:
        with seeded(0, device), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own(stack.params, stack.buffers, keys, *batch, {})  # this may wait, to make ready what it needs
            with nothing_waiting():
                own(stack.params, stack.buffers, keys, *batch, {})
    except Exception as error:
        return f"a step waits for it{own_line(error)}" if "synchronizing" in str(error) else None
    return None


@contextmanager
def nothing_waiting() -> Iterator[None]:
    """Where whatever waits for the GPU is an error."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
