"""Files, frames and arrays to a typed dataset: what it holds, what is wrong with it, and which rows train."""

from lockstep.data.distinct import split_distinct
from lockstep.data.encode import blank, cut_rows, encode, raw_texts, shuffled
from lockstep.data.encoded import Encoded
from lockstep.data.free_text import hash_texts, same_text, with_vocabulary
from lockstep.data.infer import drop_unlabelled, infer_schema
from lockstep.data.keys import split_keys
from lockstep.data.leaks import find_leaks
from lockstep.data.raw import Raw, RawArrays, RawSeries, RawTable, take
from lockstep.data.read import read, reading
from lockstep.data.rows import check_rows, hash_rows
from lockstep.data.schema import Column, Schema
from lockstep.data.splits import Fold, Splits, make_splits

__all__ = [
    "Column",
    "Encoded",
    "Fold",
    "Raw",
    "RawArrays",
    "RawSeries",
    "RawTable",
    "Schema",
    "Splits",
    "blank",
    "check_rows",
    "cut_rows",
    "drop_unlabelled",
    "encode",
    "find_leaks",
    "hash_rows",
    "hash_texts",
    "infer_schema",
    "make_splits",
    "raw_texts",
    "read",
    "reading",
    "same_text",
    "shuffled",
    "split_distinct",
    "split_keys",
    "take",
    "with_vocabulary",
]
