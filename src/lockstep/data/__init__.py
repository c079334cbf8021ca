"""Files, frames and arrays to a typed dataset: what it holds, what is wrong with it, and which rows train."""

from lockstep.data.encode import Encoded, encode
from lockstep.data.infer import drop_unlabelled, infer_schema
from lockstep.data.raw import Raw, RawArrays, RawTable, concat, take
from lockstep.data.read import read
from lockstep.data.schema import Column, Schema
from lockstep.data.splits import Fold, Splits, make_splits

__all__ = [
    "Column",
    "Encoded",
    "Fold",
    "Raw",
    "RawArrays",
    "RawTable",
    "Schema",
    "Splits",
    "concat",
    "drop_unlabelled",
    "encode",
    "infer_schema",
    "make_splits",
    "read",
    "take",
]
