"""What the kernels make features of: the rows as they lie, once for all members, and each member's preprocessing.

Preprocessing is worked out for every batch anew: features of all rows would have to be kept, and for every fold. Only
what the kernels have no formula for (ranks, a smooth clip) is worked out before, for each fold.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lockstep.engine.backprop import NotWritten
from lockstep.engine.backprop.network import Written
from lockstep.engine.native import structures
from lockstep.engine.native.structures import FormulaKind, array, pointer
from lockstep.engine.stack import Tensors
from lockstep.network.preprocess.images import Pixels
from lockstep.network.preprocess.table import BinnedNumbers, StandardNumbers, Table

ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Formula:
    """Some of the features: their formula as ``kernels/inputs.h`` has it, with the names of its buffers.

    ``module`` works out what there is no formula for.
    """

    kind: FormulaKind
    width: int
    columns: Tensor | None = None
    centre: str = ""
    spread: str = ""
    low: float = 0.0
    high: float = 0.0
    category: int = 0
    module: str = ""


def formulas_of(module: nn.Module, network: Written, inputs: Sequence[Tensor]) -> list[Formula]:
    """The features of a written-out network, one part beside the other, but for its embeddings, which are the last.
    Raises ``NotWritten``."""
    if network.preprocessing is None:
        return [Formula(FormulaKind.WHOLE, prod(inputs[0].shape[1:]))]
    name, dtype = network.preprocessing.name, next(module.parameters()).dtype
    front = module.get_submodule(name)
    for buffer in front.buffers():
        if buffer.is_floating_point() and buffer.dtype != dtype:
            raise NotWritten(f"its preprocessing is {str(buffer.dtype)[6:]}, and its weights {str(dtype)[6:]}")
    if isinstance(front, Table):
        return formulas_of_table(front, name)
    assert isinstance(front, Pixels)
    width = prod(inputs[0].shape[1:])
    return [Formula(FormulaKind.PIXELS, width, centre=f"{name}.centre", spread=f"{name}.spread")]


def formulas_of_table(table: Table, name: str) -> list[Formula]:
    formulas = [formula_of(part, f"{name}.numbers.{place}") for place, part in enumerate(table.numbers)]
    formulas.append(Formula(FormulaKind.GAPS, len(table.gaps), table.gaps.int()))
    if table.categories is not None:
        owners, values = table.categories.columns.unique(return_counts=True)
        formulas += [
            Formula(FormulaKind.ONE_HOT, width, category=category)
            for category, width in zip(owners.tolist(), values.tolist(), strict=True)
        ]
    return formulas


def formula_of(part: nn.Module, name: str) -> Formula:
    match part:
        case StandardNumbers(clip=False):
            most = torch.finfo(part.centre.dtype).max
            return Formula(FormulaKind.NUMBERS, part.width, None, f"{name}.centre", f"{name}.spread", -most, most)
        case BinnedNumbers():
            return Formula(FormulaKind.NUMBERS, part.width, part.columns.int(), f"{name}.edges", f"{name}.widths", 0, 1)
    return Formula(FormulaKind.WHOLE, part.width, module=name)  # type: ignore[arg-type]


def kept(formulas: Sequence[Formula], inputs: Sequence[Tensor]) -> int:
    """How many numbers the kernels keep of all rows beside the rows themselves, some of them for every fold."""
    worked_out = sum(formula.width for formula in formulas if formula.module)
    return (0 if in_line(inputs[0]) else inputs[0].numel()) + worked_out * len(inputs[0])


def in_line(x: Tensor) -> bool:
    """Whether the numbers of each row lie side by side."""
    return x[:1].is_contiguous()


@dataclass(eq=False)
class Inputs:
    """The rows of a stack in the kernels' terms. ``form`` is its module in eval mode, ``front`` the name of the
    preprocessing in it; what that works out before is so once for members that share it."""

    form: nn.Module
    front: str
    formulas: Sequence[Formula]
    inputs: Sequence[Tensor]
    dtype: torch.dtype
    rows: Tensor = field(init=False)  # [N, D]
    made: dict[tuple[str, bytes], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x = self.inputs[0] if self.inputs[0].dtype == torch.uint8 else self.inputs[0].to(self.dtype)
        x = x if in_line(x) else x.contiguous()
        self.rows = x.as_strided((len(x), prod(x.shape[1:])), (x.stride(0), 1))

    def in_c(self, buffers: Tensors, members: int) -> tuple[list[Any], structures.Inputs]:
        """For buffers as they lie now, and what must live as long as it."""
        keep: list[Any] = []
        starts = accumulate((formula.width for formula in self.formulas), initial=0)
        formulas = array(structures.Formula, [
            self.formula_in_c(formula, start, buffers, members, keep)
            for formula, start in zip(self.formulas, starts, strict=False)
        ])  # fmt: skip
        made = structures.Inputs(formulas=len(self.formulas), formula=pointer(formulas))
        if (known := buffers.get(f"{self.front}.categories.known")) is not None:
            codes, offsets = self.inputs[1].contiguous(), buffers[f"{self.front}.categories.offsets"]
            made.categories, made.all_codes = codes.shape[1], known.shape[1]
            made.codes, made.offsets, made.known = codes.data_ptr(), offsets.data_ptr(), known.data_ptr()
            keep.append(codes)
        return [formulas, *keep], made

    def formula_in_c(
        self, formula: Formula, start: int, buffers: Tensors, members: int, keep: list[Any]
    ) -> structures.Formula:
        each = [self.worked_out(formula, buffers, k) if formula.module else self.rows for k in range(members)]
        rows = (ctypes.c_void_p * members)(*(x.data_ptr() for x in each))
        keep += [each, rows]
        made = structures.Formula(formula.kind, start, formula.width, formula.category, pointer(rows))
        made.apart, made.low, made.high = each[0].stride(0), formula.low, formula.high
        if formula.kind == FormulaKind.PIXELS and self.rows.dtype == torch.uint8:
            made.kind = FormulaKind.BYTES
        if formula.columns is not None:
            made.columns = formula.columns.data_ptr()
        if formula.centre:
            centre, spread = buffers[formula.centre], buffers[formula.spread]
            made.centre, made.spread, made.stride = centre.data_ptr(), spread.data_ptr(), centre.stride(0)
        return made

    @torch.no_grad()
    def worked_out(self, formula: Formula, buffers: Tensors, member: int) -> Tensor:
        """The features ``[N, width]`` of one member."""
        prefix = f"{formula.module}."
        own = {name.removeprefix(prefix): x[member] for name, x in buffers.items() if name.startswith(prefix)}
        key = (formula.module, b"".join(x.contiguous().view(-1).numpy().tobytes() for x in own.values()))
        if key not in self.made:
            form = self.form.get_submodule(formula.module)
            made = self.rows.new_empty(len(self.rows), formula.width)
            for start in range(0, len(made), ROWS_AT_ONCE):
                part = self.rows[start : start + ROWS_AT_ONCE]
                made[start : start + ROWS_AT_ONCE] = functional_call(form, own, part)
            self.made[key] = made
        return self.made[key]
