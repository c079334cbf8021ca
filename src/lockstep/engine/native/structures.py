"""What the kernels are handed, field by field as ``kernels/layers.h``, ``inputs.h``, ``train.cpp`` and ``parts.cpp``
have it."""

import ctypes
from collections.abc import Sequence
from ctypes import Structure, c_double, c_int32, c_int64, c_void_p
from enum import IntEnum
from typing import Any

Kind = IntEnum(
    "Kind",
    "LINEAR ACTIVATION BATCH_NORM FEATURE_NORM ROOT_MEAN_SQUARE AFFINE DROPOUT SCALE SHIFT "
    "ATTENTION CONVOLUTION RECURRENCE SUM",
    start=0,
)
Function = IntEnum("Function", "RELU LEAKY_RELU ELU GELU GELU_TANH SILU MISH SIGMOID TANH", start=0)
Cell = IntEnum("Cell", "ELMAN_TANH ELMAN_RELU LSTM GRU", start=0)
Loss = IntEnum("Loss", "CROSS_ENTROPY BINARY_CROSS_ENTROPY MSE MAE HUBER QUANTILE", start=0)
Rule = IntEnum("Rule", "SGD NESTEROV RMSPROP RMSPROP_CENTRED ADAM ADAMW", start=0)
PieceKind = IntEnum("PieceKind", "VECTOR MATRIX TABLE", start=0)
FormulaKind = IntEnum("FormulaKind", "WHOLE BYTES PIXELS NUMBERS GAPS ONE_HOT", start=0)


def fields(kind: type[Any], names: str) -> list[tuple[str, type[Any]]]:
    return [(name, kind) for name in names.split()]


def array(kind: type[Structure], items: Sequence[Any]) -> Any:
    return (kind * max(1, len(items)))(*items)


def pointer(items: Any) -> int:
    return ctypes.addressof(items)


class Layer(Structure):
    _fields_ = [
        *fields(c_int32, "kind function"),
        *fields(c_int64, "inputs outputs weight bias lowest by_places asked groups place"),
        *fields(c_double, "eps momentum a s"),
        *fields(c_void_p, "first second count"),
        *fields(c_int64, "stride wide"),
    ]


class Piece(Structure):
    _fields_ = fields(c_int64, "kind rows cols flat place size decayed")


class Embedding(Structure):
    _fields_ = fields(c_int64, "place size width category start")


class Formula(Structure):
    _fields_ = [
        *fields(c_int64, "kind start width category"),
        ("rows", c_void_p),
        ("apart", c_int64),
        *fields(c_void_p, "columns centre spread"),
        ("stride", c_int64),
        *fields(c_double, "low high"),
    ]


class Inputs(Structure):
    _fields_ = [*fields(c_int64, "formulas categories all_codes"), *fields(c_void_p, "formula codes offsets known")]


class Program(Structure):
    _fields_ = [
        *fields(c_int64, "members batch features outputs flat size layers pieces embeddings lowest"),
        *fields(c_int64, "hot_begin hot_end hots"),
        *fields(c_int64, "loss rule moments factors places averaged scales threads"),
        *fields(c_void_p, "layer piece embedding inputs"),
    ]


class Run(Structure):
    _fields_ = [
        ("steps", c_int64),
        *fields(c_void_p, "rows keys factors clip targets"),
        *fields(c_void_p, "weights smoothing delta quantile scale"),
        ("params", c_void_p),
        ("moments", c_void_p * 4),
        *fields(c_void_p, "losses norms"),
    ]


class Evaluation(Structure):
    _fields_ = fields(c_void_p, "rows counts params outputs")


class Step(Structure):
    _fields_ = [("layer", Layer), *fields(c_int64, "rows rows_out height width kernel pool unpadded")]


class Part(Structure):
    _fields_ = [
        *fields(c_int64, "members samples inputs outputs flat size steps pieces places together training threads"),
        *fields(c_void_p, "step piece x params keys mask y to_x to_params"),
    ]


IN_SOURCE = {
    "train": (Layer, Piece, Embedding, Formula, Inputs, Program, Run, Evaluation),
    "parts": (Layer, Piece, Step, Part),
}


def check(loaded: ctypes.CDLL, source: str) -> None:
    """That both sides mean the same: a structure of another size would be read wrongly."""
    loaded.size_of.restype = loaded.vector_length.restype = c_int64
    mine = [ctypes.sizeof(kind) for kind in IN_SOURCE[source]]
    theirs = [int(loaded.size_of(c_int64(which))) for which in range(len(mine))]
    assert mine == theirs, f"structures of {mine} bytes, the kernels' are of {theirs}"
