"""Many steps of a stack in one call of the kernels, and its outputs in eval mode."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lockstep.engine.backprop.dropout import idle
from lockstep.engine.backprop.norms import BatchNorm
from lockstep.engine.native import structures
from lockstep.engine.native.inputs import Inputs
from lockstep.engine.native.program import (
    Chain,
    Places,
    chain_of,
    embeddings_in_c,
    layers_in_c,
    places_of,
    program_in_c,
)
from lockstep.engine.native.structures import array, pointer
from lockstep.engine.native.toolchain import library
from lockstep.engine.population import Rows
from lockstep.engine.stack import Stack, Tensors
from lockstep.engine.state import State
from lockstep.engine.step import Resident, Runner, Tables
from lockstep.errors import TrainingError
from lockstep.optim import Rule

AT_ONCE = 4e10  # operations in a call: a fraction of a second, after which an interruption is heard
LOSS_NUMBERS = ("class_weights", "label_smoothing", "delta", "quantile", "scale")


def native_runner(stack: Stack, data: Resident, loss: str, rule: Rule) -> Runner:
    """The steps and outputs of a stack that ``refusal`` has nothing against."""
    chain = chain_of(stack.originals[0], data.inputs)
    in_use = tuple(one for one in chain.layers if not idle(one[0], stack.buffers))
    kernels = Kernels(stack, data, loss, rule, replace(chain, layers=in_use))
    operations = 6 * stack.layout.total * len(stack.params)  # for a row of each member
    return Runner(kernels.steps, kernels.outputs, lambda batch: max(1, int(AT_ONCE / (operations * batch))))


@dataclass(eq=False)
class Kernels:
    """A stack in the kernels' terms."""

    stack: Stack
    data: Resident
    loss: str
    rule: Rule
    chain: Chain
    loaded: ctypes.CDLL = field(init=False)
    places: Places = field(init=False)
    inputs: Inputs = field(init=False)
    targets: Tensor = field(init=False)

    def __post_init__(self) -> None:
        dtype = self.stack.params.dtype
        self.loaded = library(dtype)
        vector = int(self.loaded.vector_length())
        self.places = places_of(self.stack.layout, self.chain, self.rule.decayed, vector)
        front = self.chain.network.preprocessing
        self.inputs = Inputs(
            self.stack.eval_form, front.name if front else "", self.chain.formulas, self.data.inputs, dtype
        )
        targets = self.data.targets
        if self.loss == "cross_entropy" and not 0 <= int(targets.min()) <= int(targets.max()) < self.chain.outputs:
            raise IndexError(f"Target {int(targets.max())} is out of bounds.")  # as torch says it
        self.targets = (targets if self.loss == "cross_entropy" else targets.to(dtype)).contiguous()

    def steps(self, state: State, rows: Tensor, tables: Tables) -> tuple[Tensor, Tensor]:
        """See ``lockstep.engine.step.Steps``."""
        S, K, B = rows.shape
        if B == 1 and any(isinstance(layer, BatchNorm) for layer, _ in self.chain.layers):
            raise ValueError("Expected more than 1 value per channel when training")
        weights = tables.loss.get("class_weights")
        if weights is not None and weights.shape[1] != self.classes:
            raise TrainingError(
                "class_weights must hold one weight per class, however: "
                f"{weights.shape[1]} weights for {self.classes} classes."
            )
        losses, norms = state.params.new_empty(S, K), state.params.new_empty(S, K, len(self.places.pieces))
        keep, program = self.program(state.buffers, K, B)
        program.places, program.factors = tables.keys.shape[2], tables.factors.shape[1]
        program.scales = tables.loss["scale"][0].numel() if "scale" in tables.loss else 1
        moments = [state.moments[name] for name in self.rule.moments]
        held = [x.contiguous() for x in (rows, tables.keys, tables.factors, tables.clip)]
        run = structures.Run(
            S, *(x.data_ptr() for x in held), self.targets.data_ptr(),
            *(self.number(tables.loss, name, keep) for name in LOSS_NUMBERS),
            state.params.data_ptr(), (ctypes.c_void_p * 4)(*(moment.data_ptr() for moment in moments)),
            losses.data_ptr(), norms.data_ptr(),
        )  # fmt: skip
        call(self.loaded.train, program, run)
        return losses, norms

    @property
    def classes(self) -> int:
        return self.chain.outputs if self.loss == "cross_entropy" else 2

    def outputs(self, params: Tensor, buffers: Tensors, rows: Sequence[Rows]) -> list[Tensor]:
        """See ``lockstep.engine.forward.outputs_on_own_rows``."""
        K = len(rows)
        _keep, program = self.program(buffers, K, 256)
        shape = self.chain.network.output
        outputs = [params.new_empty(len(own), *shape) for own in rows]
        own = [np.ascontiguousarray(each, dtype=np.int64) for each in rows]
        pointers = (ctypes.c_void_p * K)(*(each.ctypes.data for each in own))
        counts = (ctypes.c_int64 * K)(*map(len, own))
        filled = (ctypes.c_void_p * K)(*(output.data_ptr() for output in outputs))
        evaluation = structures.Evaluation(pointer(pointers), pointer(counts), params.data_ptr(), pointer(filled))
        call(self.loaded.evaluate, program, evaluation)
        return outputs

    def program(self, buffers: Tensors, members: int, batch: int) -> tuple[list[Any], structures.Program]:
        """The program for buffers as they lie now, and what must live as long as it."""
        layers = layers_in_c(self.chain, self.places, buffers, self.stack.dropouts)
        pieces = array(structures.Piece, self.places.pieces)
        embeddings = embeddings_in_c(self.chain, self.places, self.stack.layout)
        program = program_in_c(self.chain, self.places, self.stack.layout, self.loss, self.rule)
        program.members, program.batch, program.threads = members, batch, torch.get_num_threads()
        program.layer, program.piece, program.embedding = pointer(layers), pointer(pieces), pointer(embeddings)
        keep, inputs = self.inputs.in_c(buffers, members)
        program.inputs = pointer(inputs)
        return [layers, pieces, embeddings, inputs, *keep], program

    @staticmethod
    def number(numbers: Tensors, name: str, keep: list[Any]) -> int | None:
        if name not in numbers:
            return None
        keep.append(numbers[name].contiguous())
        return keep[-1].data_ptr()  # type: ignore[no-any-return]


def call(kernel: Any, program: structures.Program, with_what: ctypes.Structure) -> None:
    """Raises ``MemoryError`` where memory or threads run out."""
    kernel.restype = ctypes.c_int64
    if not kernel(ctypes.byref(program), ctypes.byref(with_what)):
        raise MemoryError(
            f"There is not enough memory for the layers' outputs of one batch, or for {program.threads} threads."
        )
